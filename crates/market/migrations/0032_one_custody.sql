-- A ledger is backed by one account: another one's balance says nothing of what this ledger owes.

ALTER TABLE custody ADD COLUMN only_row BOOLEAN NOT NULL DEFAULT TRUE UNIQUE CHECK (only_row);
COMMENT ON TABLE custody IS 'The account on chain that backs the ledger''s USDC: written by the first instance that names it, and refused by any that differs.';
COMMENT ON COLUMN custody.only_row IS 'There is at most one.';
