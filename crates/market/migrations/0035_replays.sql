-- What was answered to a key is answered to it again, also when it cost nothing.

CREATE TABLE owned_keys (
    key         BYTEA PRIMARY KEY CHECK (length(key) = 32),
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    transfer    BIGINT NOT NULL,
    balance     BIGINT NOT NULL,
    at          TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE owned_keys IS 'Keys of purchases that cost nothing because the buyer owned the content: repeated later, they cost nothing either.';
COMMENT ON COLUMN owned_keys.key IS 'As of transfers.';
COMMENT ON COLUMN owned_keys.fingerprint IS 'As of transfers.';
COMMENT ON COLUMN owned_keys.transfer IS 'The transfer that had paid.';
COMMENT ON COLUMN owned_keys.balance IS 'What the buyer had when it was answered, in millionths.';
COMMENT ON COLUMN owned_keys.at IS 'When it was answered.';
