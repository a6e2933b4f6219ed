-- A settlement that failed by no fault of its own goes out again, also when the process ends between the two. What was listed for a settlement
-- is listed once.

ALTER TABLE settlements DROP CONSTRAINT settlements_state_check;
ALTER TABLE settlements
    ADD CHECK (state IN ('sent', 'settled', 'failed', 'again')),
    ADD COLUMN is_listed BOOLEAN NOT NULL DEFAULT FALSE;
COMMENT ON COLUMN settlements.state IS 'sent: may still be mined. settled: the transfer is on chain. failed: it is not and these attempts never will be. again: the same, and it is to be sent in another transaction.';
COMMENT ON COLUMN settlements.is_listed IS 'Its resource was entered under /discovery.';
