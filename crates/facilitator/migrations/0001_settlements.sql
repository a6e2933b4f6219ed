-- The journal: a settlement is written here, with the signed transaction, before the transaction is broadcast. Whatever happens after, a
-- second request for the same authorization finds it and joins it.

CREATE TABLE settlements (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id     BIGINT NOT NULL,
    token        BYTEA NOT NULL,
    payer        BYTEA NOT NULL,
    nonce        BYTEA NOT NULL,
    payee        BYTEA NOT NULL,
    amount       NUMERIC(78, 0) NOT NULL,
    signer       BYTEA NOT NULL,
    tx_nonce     BIGINT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('sent', 'settled', 'failed')),
    settled_by   BYTEA,
    reason       TEXT,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at     TIMESTAMPTZ,
    UNIQUE (chain_id, token, payer, nonce)
);
COMMENT ON TABLE settlements IS 'One row per authorization that was ever sent to the chain.';
COMMENT ON COLUMN settlements.nonce IS 'Of the EIP-3009 authorization.';
COMMENT ON COLUMN settlements.tx_nonce IS 'Of the signer''s transaction; all attempts share it, so at most one of them is ever mined.';
COMMENT ON COLUMN settlements.state IS 'sent: may still be mined. settled: the transfer is on chain. failed: it is not and these attempts never will be.';
COMMENT ON COLUMN settlements.settled_by IS 'Hash of the transaction that moved the money.';
CREATE INDEX settlements_unended ON settlements (chain_id, signer, tx_nonce) WHERE state = 'sent';

CREATE TABLE attempts (
    tx_hash       BYTEA PRIMARY KEY,
    settlement_id BIGINT NOT NULL REFERENCES settlements,
    raw           BYTEA NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE attempts IS 'Signed transactions of a settlement: the first, and its replacements with higher fees.';
CREATE INDEX attempts_settlement ON attempts (settlement_id);
