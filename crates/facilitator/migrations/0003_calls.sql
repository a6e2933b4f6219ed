-- A settlement is any call that must have a certain effect once, several may share one transaction, and what was mined is looked at again
-- until it is deep enough.

ALTER TABLE settlements DROP CONSTRAINT settlements_method_check;
ALTER TABLE settlements
    ADD COLUMN target BYTEA NOT NULL DEFAULT '',
    ADD COLUMN input BYTEA NOT NULL DEFAULT '',
    ADD COLUMN gas BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN expected JSONB NOT NULL DEFAULT '"transfer"',
    ADD COLUMN pinned BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN is_final BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE settlements SET is_final = state <> 'sent';
ALTER TABLE settlements
    ALTER COLUMN target DROP DEFAULT, ALTER COLUMN input DROP DEFAULT, ALTER COLUMN gas DROP DEFAULT,
    ALTER COLUMN expected DROP DEFAULT, ALTER COLUMN pinned DROP DEFAULT;
COMMENT ON TABLE settlements IS 'One row per payment, or other call, that was ever sent to the chain.';
COMMENT ON COLUMN settlements.method IS 'By what the chain tells two settlements of one payer apart.';
COMMENT ON COLUMN settlements.nonce IS '32 bytes that are unique for method, token and payer.';
COMMENT ON COLUMN settlements.target IS 'What settles it when it goes alone: the contract called, the input, the gas. Empty before the columns were.';
COMMENT ON COLUMN settlements.expected IS 'What the receipt must show.';
COMMENT ON COLUMN settlements.pinned IS 'Only this signer''s transaction is accepted by the chain.';
COMMENT ON COLUMN settlements.tx_nonce IS 'Of the signer''s transaction, which may hold other settlements too.';
COMMENT ON COLUMN settlements.is_final IS 'Deep enough in the chain to be looked at no more.';
DROP INDEX settlements_unended;
CREATE INDEX settlements_open ON settlements (chain_id, signer, tx_nonce) WHERE NOT is_final;

ALTER TABLE attempts ADD COLUMN chain_id BIGINT, ADD COLUMN signer BYTEA, ADD COLUMN tx_nonce BIGINT;
UPDATE attempts SET chain_id = s.chain_id, signer = s.signer, tx_nonce = s.tx_nonce FROM settlements s WHERE s.id = settlement_id;
ALTER TABLE attempts
    DROP COLUMN settlement_id, ALTER COLUMN chain_id SET NOT NULL, ALTER COLUMN signer SET NOT NULL, ALTER COLUMN tx_nonce SET NOT NULL;
COMMENT ON TABLE attempts IS 'Signed transactions of a signer''s nonce: the first, and its replacements with higher fees. At most one is ever mined.';
CREATE INDEX attempts_slot ON attempts (chain_id, signer, tx_nonce);
