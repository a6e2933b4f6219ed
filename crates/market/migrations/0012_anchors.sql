-- Heads of seals are anchored on chain, many at once: a Merkle tree over them is a batch of the LedgerAnchor contract.

CREATE TABLE anchors (
    operator         BYTEA NOT NULL CHECK (length(operator) = 20),
    sequence         BIGINT NOT NULL CHECK (sequence > 0),
    first_seal       BIGINT NOT NULL REFERENCES seals,
    count            BIGINT NOT NULL CHECK (count > 0),
    root             BYTEA NOT NULL CHECK (length(root) = 32),
    attempts         INTEGER NOT NULL DEFAULT 0,
    sent_at          TIMESTAMPTZ,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    transaction_hash BYTEA,
    PRIMARY KEY (operator, sequence),
    UNIQUE (operator, first_seal)
);
COMMENT ON TABLE anchors IS 'Written before they are sent. The contract takes each sequence number once, so sending again is harmless.';
COMMENT ON COLUMN anchors.operator IS 'Who anchors: the address that signs the seals.';
COMMENT ON COLUMN anchors.sequence IS 'Number of the batch in the contract.';
COMMENT ON COLUMN anchors.root IS 'Merkle tree hash (RFC 9162, SHA-256) of the heads of the seals first_seal to first_seal + count - 1.';
COMMENT ON COLUMN anchors.transaction_hash IS 'Set when a final block has it.';
CREATE INDEX anchors_open ON anchors (operator, sequence) WHERE transaction_hash IS NULL;
COMMENT ON COLUMN anchors.first_seal IS 'The first seal whose head it has.';
COMMENT ON COLUMN anchors.count IS 'Heads in it.';
COMMENT ON COLUMN anchors.attempts IS 'How often it was sent.';
COMMENT ON COLUMN anchors.sent_at IS 'When it was sent last.';
COMMENT ON COLUMN anchors.created_at IS 'When it was written.';
