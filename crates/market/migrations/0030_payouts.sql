-- Once a month, the ARD of creators is redeemed for them.

CREATE TABLE payout_months (
    month     TEXT PRIMARY KEY CHECK (month ~ '^[0-9]{4}-[0-9]{2}$'),
    walked_to UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ended_at  TIMESTAMPTZ
);
COMMENT ON TABLE payout_months IS 'The months whose payouts were begun. A payout''s key in the ledger is made of creator and month, so that what is walked twice is paid once.';
COMMENT ON COLUMN payout_months.month IS 'In UTC, as 2026-11.';
COMMENT ON COLUMN payout_months.walked_to IS 'The last creator who was dealt with.';
COMMENT ON COLUMN payout_months.ended_at IS 'When all were.';

ALTER TABLE redemptions ADD COLUMN payout_month TEXT;
COMMENT ON COLUMN redemptions.payout_month IS 'The month whose payout it is; none for what was asked for.';
CREATE INDEX creators_paid_out ON creators (id) WHERE payout_method <> 'none' AND active;
