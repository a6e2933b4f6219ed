-- What is proved of contents before they are bought, and what parties of a purchase showed afterwards.

CREATE TABLE content_proofs (
    content_hash BYTEA PRIMARY KEY CHECK (length(content_hash) = 32),
    commitment   JSONB NOT NULL,
    secret       BYTEA NOT NULL CHECK (length(secret) = 64),
    words        BYTEA,
    fields       BYTEA,
    records      BIGINT,
    word_total   BIGINT,
    chunks       JSONB NOT NULL,
    made_at      TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE content_proofs IS 'What proofs about contents are made of: of each content that somebody asked about. It follows from the content, and a row that is lost is made again.';
COMMENT ON COLUMN content_proofs.content_hash IS 'SHA-256 of the content.';
COMMENT ON COLUMN content_proofs.commitment IS 'The commitment, as it is told.';
COMMENT ON COLUMN content_proofs.secret IS 'Made of the content, and as secret as it is: the key of the sets and the blindings of the counts.';
COMMENT ON COLUMN content_proofs.words IS 'The leaves of the words, 32 bytes each, in order; null for no proofs of words.';
COMMENT ON COLUMN content_proofs.fields IS 'The leaves of the fields of JSON, the same.';
COMMENT ON COLUMN content_proofs.records IS 'How many records there are; null when none are counted.';
COMMENT ON COLUMN content_proofs.word_total IS 'How many words there are, repeated ones counted; null when none are counted.';
COMMENT ON COLUMN content_proofs.chunks IS 'The chunks that may be shown to whoever has not bought, with their proofs.';
COMMENT ON COLUMN content_proofs.made_at IS 'When it was made.';

CREATE TABLE proof_asks (
    content_hash BYTEA NOT NULL,
    person       UUID NOT NULL,
    day          DATE NOT NULL,
    asked        INTEGER NOT NULL,
    PRIMARY KEY (content_hash, person)
);
COMMENT ON TABLE proof_asks IS 'How many proofs of a content somebody asked for on a day, so that nobody asks for all the words of a dictionary. For a day.';
COMMENT ON COLUMN proof_asks.content_hash IS 'SHA-256 of the content.';
COMMENT ON COLUMN proof_asks.person IS 'Who is behind the agent that asked.';
COMMENT ON COLUMN proof_asks.day IS 'The day, in UTC.';
COMMENT ON COLUMN proof_asks.asked IS 'How many.';
CREATE INDEX proof_asks_day ON proof_asks (day);

CREATE TABLE deliveries (
    purchase_id UUID NOT NULL,
    by_seller   BOOLEAN NOT NULL,
    expected    BYTEA NOT NULL CHECK (length(expected) = 32),
    actual      BYTEA NOT NULL CHECK (length(actual) = 32),
    verified_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (purchase_id, by_seller)
);
COMMENT ON TABLE deliveries IS 'What a party of a purchase showed last as its content, compared with what was agreed on.';
COMMENT ON COLUMN deliveries.purchase_id IS 'A purchase, a sale from the ledger or an escrowed transaction.';
COMMENT ON COLUMN deliveries.by_seller IS 'Whether the seller showed it, and not the buyer.';
COMMENT ON COLUMN deliveries.expected IS 'SHA-256 of the content that was agreed on.';
COMMENT ON COLUMN deliveries.actual IS 'SHA-256 of what was shown.';
COMMENT ON COLUMN deliveries.verified_at IS 'When.';
