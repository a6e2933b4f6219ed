-- USDC comes in: what the chain says arrived at the custody account, once it is final, or an x402 payment that was settled.

CREATE TABLE custody (
    address   BYTEA PRIMARY KEY CHECK (length(address) = 20),
    walked_to BIGINT NOT NULL
);
COMMENT ON TABLE custody IS 'The account on chain that backs the ledger''s USDC.';
COMMENT ON COLUMN custody.walked_to IS 'Every transfer from or to it in final blocks up to this one was dealt with.';

CREATE TABLE deposits (
    id               UUID PRIMARY KEY,
    agent_id         UUID NOT NULL REFERENCES agents,
    status           TEXT NOT NULL CHECK (status IN ('pending', 'arrived', 'completed', 'expired')),
    reference        BYTEA UNIQUE CHECK (length(reference) = 32),
    payer            BYTEA CHECK (length(payer) = 20),
    payer_nonce      BYTEA CHECK (length(payer_nonce) = 32),
    valid_before     BIGINT,
    amount           BIGINT CHECK (amount > 0),
    block_number     BIGINT,
    log_index        INTEGER,
    transaction_hash BYTEA,
    transfer         BIGINT,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    completed_at     TIMESTAMPTZ,
    UNIQUE (payer, payer_nonce),
    UNIQUE (block_number, log_index),
    CHECK ((block_number IS NULL) = (log_index IS NULL)),
    CHECK (status NOT IN ('arrived', 'completed') OR amount IS NOT NULL),
    CHECK ((status = 'completed') = (transfer IS NOT NULL))
);
COMMENT ON TABLE deposits IS 'Deposits, asked for or found. Each is credited once: its id is the key of its transfer in the ledger.';
COMMENT ON COLUMN deposits.status IS 'pending: nothing came yet. arrived: it came and is to be credited. completed: credited. expired: it cannot come any more.';
COMMENT ON COLUMN deposits.reference IS 'What the payer names, as payment id of the router or as nonce of an authorization.';
COMMENT ON COLUMN deposits.payer IS 'Of an x402 payment, with its nonce: who signed.';
COMMENT ON COLUMN deposits.valid_before IS 'Of an x402 payment: unix seconds from which on it cannot be settled.';
COMMENT ON COLUMN deposits.amount IS 'Base units: announced while pending, then what came.';
COMMENT ON COLUMN deposits.block_number IS 'Where the transfer is, once it is final. An x402 payment is credited before.';
COMMENT ON COLUMN deposits.transfer IS 'The transfer of the ledger that credited it.';
CREATE INDEX deposits_agent ON deposits (agent_id, id);
CREATE INDEX deposits_open ON deposits (agent_id, created_at) WHERE status = 'pending';
CREATE INDEX deposits_arrived ON deposits (id) WHERE status = 'arrived';
CREATE INDEX deposits_early ON deposits (valid_before) WHERE payer_nonce IS NOT NULL AND block_number IS NULL;
CREATE INDEX agents_wallet ON agents (wallet);

CREATE TABLE unmatched (
    block_number        BIGINT NOT NULL,
    log_index           INTEGER NOT NULL,
    transaction_hash    BYTEA NOT NULL,
    sender              BYTEA NOT NULL,
    amount              BIGINT NOT NULL CHECK (amount > 0),
    authorization_nonce BYTEA,
    found_at            TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (block_number, log_index)
);
COMMENT ON TABLE unmatched IS 'USDC that came from nobody we know, for an operator to assign. A row goes when it is.';
COMMENT ON COLUMN custody.address IS 'The account.';
COMMENT ON COLUMN deposits.id IS 'UUIDv7.';
COMMENT ON COLUMN deposits.agent_id IS 'Who is credited.';
COMMENT ON COLUMN deposits.payer_nonce IS 'The nonce of its authorization.';
COMMENT ON COLUMN deposits.log_index IS 'The log within the block.';
COMMENT ON COLUMN deposits.transaction_hash IS 'The transaction that brought it.';
COMMENT ON COLUMN deposits.created_at IS 'When it was announced or found.';
COMMENT ON COLUMN deposits.completed_at IS 'When it was credited.';
COMMENT ON COLUMN unmatched.block_number IS 'The block of the transfer.';
COMMENT ON COLUMN unmatched.log_index IS 'Its log within the block.';
COMMENT ON COLUMN unmatched.transaction_hash IS 'Its transaction.';
COMMENT ON COLUMN unmatched.sender IS 'Who sent it.';
COMMENT ON COLUMN unmatched.amount IS 'Base units of USDC.';
COMMENT ON COLUMN unmatched.authorization_nonce IS 'Nonce of the authorization that it executed.';
COMMENT ON COLUMN unmatched.found_at IS 'When it was found.';
