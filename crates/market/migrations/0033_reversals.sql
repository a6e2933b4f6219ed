-- What was bought is read again and again: one number tells whether any of it was given back since.

ALTER TABLE ledger ADD COLUMN reversals BIGINT NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.reversals IS 'Sales reversed so far.';
