-- What the chain does with purchases through the escrow is told by the feed, each status once.

CREATE TABLE transaction_news (
    only_row     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    block_number BIGINT NOT NULL DEFAULT 0,
    log_index    BIGINT NOT NULL DEFAULT 0,
    since        TIMESTAMPTZ NOT NULL DEFAULT date_trunc('second', now())
);
COMMENT ON TABLE transaction_news IS 'How far the escrow''s events were told for good. Whoever looks locks it; the others leave it to them.';
COMMENT ON COLUMN transaction_news.only_row IS 'There is one.';
COMMENT ON COLUMN transaction_news.block_number IS 'The block of the last final event that was looked at.';
COMMENT ON COLUMN transaction_news.log_index IS 'Its place in the block.';
COMMENT ON COLUMN transaction_news.since IS 'What was in a block before is no news.';
INSERT INTO transaction_news DEFAULT VALUES;

CREATE TABLE transaction_told (
    transaction_id UUID NOT NULL REFERENCES transactions,
    status         TEXT NOT NULL,
    told_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_id, status)
);
COMMENT ON TABLE transaction_told IS 'What the feed has told of purchases through the escrow. Where they stand is what the mirror says.';
COMMENT ON COLUMN transaction_told.transaction_id IS 'Of which.';
COMMENT ON COLUMN transaction_told.status IS 'That it came to this.';
COMMENT ON COLUMN transaction_told.told_at IS 'When that was told.';

-- What people agreed to, and what of it they withdrew.

CREATE TABLE consents (
    id           UUID PRIMARY KEY,
    creator_id   UUID NOT NULL REFERENCES creators,
    kind         TEXT NOT NULL CHECK (kind IN ('terms', 'privacy', 'marketing', 'data_sharing')),
    version      TEXT NOT NULL,
    text_hash    BYTEA CHECK (length(text_hash) = 32),
    network      TEXT,
    given_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    withdrawn_at TIMESTAMPTZ
);
COMMENT ON TABLE consents IS 'What creators agreed to. Rows stay, also when they are withdrawn, and when the creator leaves.';
COMMENT ON COLUMN consents.id IS 'UUIDv7.';
COMMENT ON COLUMN consents.creator_id IS 'Who agreed.';
COMMENT ON COLUMN consents.kind IS 'What the text is about.';
COMMENT ON COLUMN consents.version IS 'Its version.';
COMMENT ON COLUMN consents.text_hash IS 'SHA-256 of the text as it was shown, if that was said.';
COMMENT ON COLUMN consents.network IS 'The network it was given from. Personal: it goes when the creator leaves.';
COMMENT ON COLUMN consents.given_at IS 'When.';
COMMENT ON COLUMN consents.withdrawn_at IS 'When it was withdrawn; null while it holds.';
CREATE INDEX consents_creator ON consents (creator_id, id);

-- What is paid by x402 is judged as what the ledger pays. What settled before is not.
ALTER TABLE purchases ADD COLUMN judged BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE purchases ALTER COLUMN judged SET DEFAULT FALSE;
COMMENT ON COLUMN purchases.judged IS 'Whether it was looked at for fraud, which it is once it is settled.';
CREATE INDEX purchases_unjudged ON purchases (settled_at, id) WHERE status = 'settled' AND NOT judged;

COMMENT ON TABLE fraud_payers IS 'When agents, and wallets by x402, paid last, for a day.';
COMMENT ON COLUMN fraud_payers.agent_id IS 'Who paid: an agent, or a wallet that signed (the last 16 bytes of its address).';
COMMENT ON COLUMN fraud_pairs.payer_id IS 'The agent that bought, or the wallet that no agent has.';
COMMENT ON COLUMN fraud_findings.subject IS
    'What was found: an agent or, by x402, a wallet; for a cluster the root of its money; for a burst 16 bytes of SHA-256 of the address.';
COMMENT ON COLUMN fraud_findings.action IS
    'What follows: nothing, withdrawals of the agents wait for approval, or they pay nothing from the ledger or by x402 either.';
COMMENT ON COLUMN fraud_findings.agents IS 'Whom it is about, agents and wallets, at most a thousand.';
COMMENT ON COLUMN fraud_findings.evidence IS 'The first transfers, purchases by x402, or registrations, that say so.';

-- Whoever disputes what the ledger pays for puts up a bond.
ALTER TABLE transactions
    ADD COLUMN bond       BIGINT NOT NULL DEFAULT 0 CHECK (bond >= 0),
    ADD COLUMN bond_id    UUID UNIQUE,
    ADD COLUMN bond_state TEXT CHECK (bond_state IN ('held', 'returned', 'forfeited')),
    DROP CONSTRAINT transactions_step_check,
    ADD CONSTRAINT transactions_step_check CHECK (step IN ('hold', 'settle', 'void', 'bond', 'return_bond', 'forfeit_bond')),
    ADD CHECK ((bond > 0) = (bond_id IS NOT NULL)),
    ADD CHECK (bond_state IS NULL OR bond > 0);
COMMENT ON COLUMN transactions.step IS
    'What was decided and the ledger is not known to have done: hold the price, settle (pay the seller, give the rest back), void (give all back); bond (hold what a dispute takes), return_bond, forfeit_bond (pay it to the seller), after which the price is settled or given back.';
COMMENT ON COLUMN transactions.bond IS 'What the buyer puts up to dispute, of the ledger, as it was agreed on; in millionths. 0 for nothing.';
COMMENT ON COLUMN transactions.bond_id IS 'The hold of the bond, once there is one.';
COMMENT ON COLUMN transactions.bond_state IS 'What became of the bond; null before there is one.';
