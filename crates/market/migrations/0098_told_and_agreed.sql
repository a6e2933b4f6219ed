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
