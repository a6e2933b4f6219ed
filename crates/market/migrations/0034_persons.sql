-- Agents and wallets cost nothing to make, so limits and bonuses go by who is behind them.

ALTER TABLE agents ADD COLUMN person UUID NOT NULL
    GENERATED ALWAYS AS (coalesce(creator_id, encode(substring(wallet FROM 5), 'hex')::uuid)) STORED;
COMMENT ON COLUMN agents.person IS 'Who is behind the agent: the creator who claimed it, else its wallet (the last 16 bytes of the address).';
COMMENT ON COLUMN agents.welcomed IS 'Whether the ledger has the bonus of who is new, or there was none when it came.';

ALTER TABLE creators DROP COLUMN welcomed;
ALTER TABLE creators
    ADD COLUMN wallet       BYTEA CHECK (length(wallet) = 20),
    ADD COLUMN wallet_since TIMESTAMPTZ,
    ADD CHECK ((wallet IS NULL) = (wallet_since IS NULL));
COMMENT ON COLUMN creators.wallet IS 'Proven by its signature: where USDC is withdrawn to.';
COMMENT ON COLUMN creators.wallet_since IS 'When it was proven.';

ALTER TABLE sales ADD COLUMN rewarded UUID;
COMMENT ON COLUMN sales.rewarded IS 'The person behind the buyer, when the sale earned the seller the bonus for good content; null when it did not.';
-- Also the last word: one person's purchases of one content earn it once.
CREATE UNIQUE INDEX sales_rewarded ON sales (rewarded, listing_id, content_hash) WHERE rewarded IS NOT NULL;

ALTER TABLE withdrawals RENAME COLUMN agent_id TO owner;
ALTER TABLE withdrawals ADD COLUMN person UUID;
UPDATE withdrawals SET person = coalesce((SELECT person FROM agents WHERE id = owner), owner);
ALTER TABLE withdrawals ALTER COLUMN person SET NOT NULL;
COMMENT ON COLUMN withdrawals.owner IS 'Who asked: an agent or a creator.';
COMMENT ON COLUMN withdrawals.person IS 'Who is behind that: the limit of a day is this one''s.';
ALTER INDEX withdrawals_agent RENAME TO withdrawals_owner;
DROP INDEX withdrawals_day;
CREATE INDEX withdrawals_day ON withdrawals (person, created_at);

CREATE TABLE sends (
    transfer BIGINT PRIMARY KEY,
    person   UUID NOT NULL,
    worth    BIGINT NOT NULL CHECK (worth > 0),
    at       TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE sends IS 'Money sent to somebody else''s agent, written in one transaction with its entries: the limit of a day is counted here.';
COMMENT ON COLUMN sends.transfer IS 'The transfer that sent it.';
COMMENT ON COLUMN sends.person IS 'Who is behind the agent that sent it.';
COMMENT ON COLUMN sends.worth IS 'Base units of USDC; a thousand ARD count as one USDC.';
COMMENT ON COLUMN sends.at IS 'When.';
CREATE INDEX sends_day ON sends (person, at);
