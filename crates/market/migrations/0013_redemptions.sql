-- ARD goes out: redeemed for something outside the ledger, with a hold that is paid out when it was handed over and given back otherwise.

CREATE TABLE redemptions (
    id         UUID PRIMARY KEY,
    owner      UUID NOT NULL,
    method     TEXT NOT NULL CHECK (method IN ('api_credits', 'gift_card', 'upi', 'bank')),
    amount     BIGINT NOT NULL CHECK (amount > 0),
    details    TEXT,
    status     TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'rejected', 'cancelled')),
    receipt    TEXT,
    reason     TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at   TIMESTAMPTZ
);
COMMENT ON TABLE redemptions IS 'Written in one transaction with the hold of the same id.';
COMMENT ON COLUMN redemptions.amount IS 'Units of 0.000001 ARD.';
COMMENT ON COLUMN redemptions.details IS 'Where to hand it over: an address, an account.';
COMMENT ON COLUMN redemptions.status IS 'pending: an operator has to approve. processing: to be handed over. completed, failed, rejected, cancelled: ended; all but the first give the ARD back.';
COMMENT ON COLUMN redemptions.receipt IS 'What the operator calls the handing over.';
CREATE INDEX redemptions_owner ON redemptions (owner, id);
CREATE INDEX redemptions_open ON redemptions (status, id) WHERE status IN ('pending', 'processing');

CREATE TABLE api_credits (
    owner   UUID PRIMARY KEY,
    credits BIGINT NOT NULL CHECK (credits >= 0)
);
COMMENT ON TABLE api_credits IS 'Millionths of a credit; a redeemed ARD is a credit.';
COMMENT ON COLUMN redemptions.id IS 'UUIDv7; also of the hold.';
COMMENT ON COLUMN redemptions.owner IS 'Who asked.';
COMMENT ON COLUMN redemptions.method IS 'For what.';
COMMENT ON COLUMN redemptions.reason IS 'Why it was refused or failed.';
COMMENT ON COLUMN redemptions.created_at IS 'When it was asked for.';
COMMENT ON COLUMN redemptions.ended_at IS 'When it ended.';
COMMENT ON COLUMN api_credits.owner IS 'Whose.';
COMMENT ON COLUMN api_credits.credits IS 'How many.';
