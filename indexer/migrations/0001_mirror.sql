-- The mirror: what the chain said, row by row, with the proof under which each block was accepted.
--
-- Every row of this schema (`sync` and `reorgs` excepted) carries the number of the block that made it, so that undoing blocks is deleting
-- rows above a number. Nothing else refers to the order in which blocks were fetched: indexing again gives the same rows.

CREATE TABLE sync (
    only_row     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    chain_id     BIGINT NOT NULL,
    start_block  BIGINT NOT NULL,
    usdc         BYTEA NOT NULL,
    transfers    TEXT NOT NULL CHECK (transfers IN ('all', 'ours')),
    finality_blocks BIGINT NOT NULL,
    head_number  BIGINT,
    checked_at   TIMESTAMPTZ,
    last_error   TEXT
);
COMMENT ON TABLE sync IS 'One row: what is mirrored, and how the writer is doing. Not derived from the chain.';
COMMENT ON COLUMN sync.start_block IS 'First block mirrored. Changing it means indexing again.';
COMMENT ON COLUMN sync.transfers IS 'all: every USDC transfer; ours: those that touch a contract in `contracts`.';
COMMENT ON COLUMN sync.finality_blocks IS 'A block with this many confirmations is final; a deeper reorganisation stops the writer.';
COMMENT ON COLUMN sync.head_number IS 'Newest block that the node announced.';
COMMENT ON COLUMN sync.checked_at IS 'When the writer last knew the head and had mirrored all of it.';
COMMENT ON COLUMN sync.last_error IS 'Why the writer is behind, if it is.';

CREATE TABLE reorgs (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    noticed_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    ancestor     BIGINT NOT NULL,
    old_tip      BIGINT NOT NULL,
    old_hash     BYTEA NOT NULL,
    new_tip      BIGINT NOT NULL,
    new_hash     BYTEA NOT NULL
);
COMMENT ON TABLE reorgs IS 'Blocks that were mirrored and undone: all of (ancestor, old_tip]. Not derived from the chain.';

CREATE TABLE blocks (
    number       BIGINT PRIMARY KEY,
    hash         BYTEA NOT NULL,
    parent_hash  BYTEA NOT NULL,
    timestamp    TIMESTAMPTZ NOT NULL,
    proof        "char" NOT NULL CHECK (proof IN ('b', 'r'))
);
COMMENT ON TABLE blocks IS 'Every block from the start block on, without gaps. The highest number is the cursor of the mirror.';
COMMENT ON COLUMN blocks.proof IS
    'Why nothing is missing. b: the bloom of the proved header excludes everything mirrored; r: the receipts were proved by the receipts root.';
CREATE UNIQUE INDEX blocks_hash ON blocks (hash);

CREATE TABLE transactions (
    block_number BIGINT NOT NULL,
    tx_index     INTEGER NOT NULL,
    hash         BYTEA NOT NULL,
    sender       BYTEA NOT NULL,
    recipient    BYTEA,
    gas_used     BIGINT NOT NULL,
    gas_price    BIGINT NOT NULL,
    PRIMARY KEY (block_number, tx_index)
);
COMMENT ON TABLE transactions IS 'Transactions that left an event or a transfer here.';
COMMENT ON COLUMN transactions.recipient IS 'Null for a contract creation.';
COMMENT ON COLUMN transactions.gas_price IS 'Wei per unit of gas actually paid.';
CREATE INDEX transactions_hash ON transactions (hash);

CREATE TABLE contracts (
    address      BYTEA PRIMARY KEY,
    kind         TEXT NOT NULL,
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL
);
COMMENT ON TABLE contracts IS 'Contracts that factories created, mirrored from the block of their creation on.';
CREATE INDEX contracts_block ON contracts (block_number);

CREATE TABLE events (
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL,
    tx_index     INTEGER NOT NULL,
    contract     BYTEA NOT NULL,
    topics       BYTEA[] NOT NULL,
    data         BYTEA NOT NULL,
    name         TEXT,
    args         JSONB,
    PRIMARY KEY (block_number, log_index)
);
COMMENT ON TABLE events IS 'Every log of our contracts, as it was emitted and as it reads.';
COMMENT ON COLUMN events.name IS 'Null when the log is of no event that this version knows; the raw log is kept.';
COMMENT ON COLUMN events.args IS 'Arguments by name: integers as decimal strings, addresses and bytes as hex.';
CREATE INDEX events_contract ON events (contract, block_number, log_index);
CREATE INDEX events_name ON events (name, block_number, log_index);

CREATE TABLE event_keys (
    key          BYTEA NOT NULL,
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL,
    PRIMARY KEY (key, block_number, log_index)
);
COMMENT ON TABLE event_keys IS 'Every address (20 bytes) and every bytes32 reference (32 bytes) that an event mentions.';
CREATE INDEX event_keys_block ON event_keys (block_number);

CREATE TABLE transfers (
    block_number  BIGINT NOT NULL,
    log_index     INTEGER NOT NULL,
    tx_index      INTEGER NOT NULL,
    token         BYTEA NOT NULL,
    sender        BYTEA NOT NULL,
    recipient     BYTEA NOT NULL,
    amount        BIGINT NOT NULL CHECK (amount >= 0),
    authorization_nonce BYTEA,
    PRIMARY KEY (block_number, log_index)
);
COMMENT ON TABLE transfers IS 'USDC transfers in base units; the zero address mints and burns.';
COMMENT ON COLUMN transfers.authorization_nonce IS 'Nonce of the EIP-3009 authorization that the transfer executed.';
CREATE INDEX transfers_sender ON transfers (sender, block_number, log_index);
CREATE INDEX transfers_recipient ON transfers (recipient, block_number, log_index);
CREATE INDEX transfers_authorization ON transfers (authorization_nonce) WHERE authorization_nonce IS NOT NULL;

CREATE TABLE balances (
    token        BYTEA NOT NULL,
    account      BYTEA NOT NULL,
    from_block   BIGINT NOT NULL,
    until_block  BIGINT,
    balance      BIGINT NOT NULL,
    transfers    BIGINT NOT NULL,
    PRIMARY KEY (token, account, from_block)
);
COMMENT ON TABLE balances IS 'Balance after `from_block`, valid before `until_block` (null: still). One row per block that touched the account.';
COMMENT ON COLUMN balances.balance IS 'Base units: everything received minus everything sent since the start block.';
COMMENT ON COLUMN balances.transfers IS 'How many transfers the account took part in so far.';
CREATE UNIQUE INDEX balances_current ON balances (token, account) WHERE until_block IS NULL;
CREATE INDEX balances_from ON balances (from_block);
CREATE INDEX balances_until ON balances (until_block) WHERE until_block IS NOT NULL;
