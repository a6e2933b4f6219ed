-- Only readers look an account's history up: its index is built when the mirror has reached the chain (see store/partitions.rs). Kept with every
-- row while catching up, it was more than half of what the database had to do for balances.
ALTER TABLE balances DROP CONSTRAINT balances_pkey;
