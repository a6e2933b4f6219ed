-- Demand: every search is logged, and what is new is folded into figures of the last 24 hours, hour by hour.

CREATE TABLE searches (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         TIMESTAMPTZ NOT NULL,
    source     SMALLINT NOT NULL CHECK (source BETWEEN 1 AND 3),
    pattern    TEXT NOT NULL,
    category   TEXT,
    asker      BIGINT NOT NULL,
    matches    INTEGER NOT NULL,
    price_max  BIGINT,
    listing_id UUID
);
COMMENT ON TABLE searches IS 'What was looked for and bought, for seven days. Ids follow the order of commits: whoever appends takes an advisory lock first.';
COMMENT ON COLUMN searches.id IS 'Its number.';
COMMENT ON COLUMN searches.at IS 'When, by the clock of the instance that was asked.';
COMMENT ON COLUMN searches.source IS '1 discover, 2 auto-match, 3 a purchase.';
COMMENT ON COLUMN searches.pattern IS 'The words in small letters, each once, in order; empty for a purchase. The text itself is not kept.';
COMMENT ON COLUMN searches.category IS 'Of which category, if the search said so.';
COMMENT ON COLUMN searches.asker IS 'Who: 8 bytes of SHA-256 of demand.salt and the agent, wallet, creator or address.';
COMMENT ON COLUMN searches.matches IS 'Listings on the first page.';
COMMENT ON COLUMN searches.price_max IS 'The most the search would pay, in base units of USDC.';
COMMENT ON COLUMN searches.listing_id IS 'What was bought.';
CREATE INDEX searches_asker ON searches (asker, id) WHERE pattern <> '';

CREATE TABLE conversions (
    search_id   BIGINT PRIMARY KEY REFERENCES searches ON DELETE CASCADE,
    purchase_id BIGINT NOT NULL UNIQUE
);
COMMENT ON TABLE conversions IS 'Searches that led to a purchase: the buyer''s last one in the half hour before whose words the listing has.';
COMMENT ON COLUMN conversions.search_id IS 'The search.';
COMMENT ON COLUMN conversions.purchase_id IS 'The purchase, in searches.';

CREATE TABLE patterns (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pattern     TEXT NOT NULL UNIQUE,
    words       TSQUERY NOT NULL,
    category    TEXT,
    searches    BIGINT NOT NULL DEFAULT 0,
    fulfilled   BIGINT NOT NULL DEFAULT 0,
    converted   BIGINT NOT NULL DEFAULT 0,
    ceilings    BIGINT NOT NULL DEFAULT 0,
    ceiling_sum NUMERIC NOT NULL DEFAULT 0,
    requesters  BIGINT NOT NULL DEFAULT 0,
    last_hour   TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE patterns IS 'What is looked for, with figures of the current hour and the 23 before it. They change by what is new and what is over.';
COMMENT ON COLUMN patterns.id IS 'Its number.';
COMMENT ON COLUMN patterns.pattern IS 'As in searches.';
COMMENT ON COLUMN patterns.words IS 'What a listing must have.';
COMMENT ON COLUMN patterns.category IS 'The last category it was looked for in.';
COMMENT ON COLUMN patterns.searches IS 'How often.';
COMMENT ON COLUMN patterns.fulfilled IS 'Those that found something.';
COMMENT ON COLUMN patterns.converted IS 'Those that led to a purchase.';
COMMENT ON COLUMN patterns.ceilings IS 'Those that said what they would pay at most.';
COMMENT ON COLUMN patterns.ceiling_sum IS 'The sum of that, in base units of USDC.';
COMMENT ON COLUMN patterns.requesters IS 'Different askers.';
COMMENT ON COLUMN patterns.last_hour IS 'The last hour it was looked for in.';
CREATE INDEX patterns_top ON patterns (searches DESC, id) WHERE searches > 0;
CREATE INDEX patterns_gaps ON patterns (searches DESC, id) WHERE searches > 0 AND fulfilled * 5 < searches;
CREATE INDEX patterns_last ON patterns (last_hour);

CREATE TABLE pattern_hours (
    hour        TIMESTAMPTZ NOT NULL,
    pattern_id  BIGINT NOT NULL,
    searches    BIGINT NOT NULL,
    fulfilled   BIGINT NOT NULL,
    converted   BIGINT NOT NULL,
    ceilings    BIGINT NOT NULL,
    ceiling_sum NUMERIC NOT NULL,
    PRIMARY KEY (hour, pattern_id)
);
COMMENT ON TABLE pattern_hours IS 'The same of each hour, for seven days.';
COMMENT ON COLUMN pattern_hours.hour IS 'When the hour begins.';
COMMENT ON COLUMN pattern_hours.pattern_id IS 'Of which pattern.';
COMMENT ON COLUMN pattern_hours.searches IS 'As in patterns.';
COMMENT ON COLUMN pattern_hours.fulfilled IS 'As in patterns.';
COMMENT ON COLUMN pattern_hours.converted IS 'As in patterns, in the hour of the search.';
COMMENT ON COLUMN pattern_hours.ceilings IS 'As in patterns.';
COMMENT ON COLUMN pattern_hours.ceiling_sum IS 'As in patterns.';

CREATE TABLE pattern_askers (
    pattern_id BIGINT NOT NULL,
    asker      BIGINT NOT NULL,
    last_hour  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pattern_id, asker)
);
COMMENT ON TABLE pattern_askers IS 'Who looked for a pattern, so that different askers are counted exactly.';
COMMENT ON COLUMN pattern_askers.pattern_id IS 'Which pattern.';
COMMENT ON COLUMN pattern_askers.asker IS 'As in searches.';
COMMENT ON COLUMN pattern_askers.last_hour IS 'The last hour in which.';
CREATE INDEX pattern_askers_last ON pattern_askers (last_hour);

CREATE TABLE opportunities (
    id                UUID PRIMARY KEY,
    pattern           TEXT NOT NULL,
    words             TSQUERY NOT NULL,
    category          TEXT,
    status            TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'fulfilled', 'expired')),
    searches          BIGINT NOT NULL,
    requesters        BIGINT NOT NULL,
    fulfilment        INTEGER NOT NULL,
    ceiling           BIGINT NOT NULL,
    estimated_revenue BIGINT NOT NULL,
    urgency           INTEGER NOT NULL CHECK (urgency BETWEEN 0 AND 10000),
    competing         INTEGER NOT NULL DEFAULT 0,
    opened_at         TIMESTAMPTZ NOT NULL,
    expires_at        TIMESTAMPTZ NOT NULL,
    ended_at          TIMESTAMPTZ,
    listing_id        UUID,
    CHECK ((status = 'open') = (ended_at IS NULL))
);
COMMENT ON TABLE opportunities IS 'What is looked for and not for sale.';
COMMENT ON COLUMN opportunities.id IS 'UUIDv7.';
COMMENT ON COLUMN opportunities.pattern IS 'As in searches.';
COMMENT ON COLUMN opportunities.words IS 'What a listing must have to fulfil it.';
COMMENT ON COLUMN opportunities.category IS 'The last category it was looked for in.';
COMMENT ON COLUMN opportunities.status IS 'Open for 24 hours, unless a listing fulfils it.';
COMMENT ON COLUMN opportunities.searches IS 'In the 24 hours before it was last looked at.';
COMMENT ON COLUMN opportunities.requesters IS 'Different askers in that time.';
COMMENT ON COLUMN opportunities.fulfilment IS 'Share of the searches that found something, in basis points.';
COMMENT ON COLUMN opportunities.ceiling IS 'What the searches would pay at most on average, in base units of USDC; what is usual when none said.';
COMMENT ON COLUMN opportunities.estimated_revenue IS 'Searches an hour times that, in base units of USDC.';
COMMENT ON COLUMN opportunities.urgency IS 'In basis points.';
COMMENT ON COLUMN opportunities.competing IS 'Active listings that have all words but one, at most 100.';
COMMENT ON COLUMN opportunities.opened_at IS 'Since when.';
COMMENT ON COLUMN opportunities.expires_at IS 'Until when.';
COMMENT ON COLUMN opportunities.ended_at IS 'When it was fulfilled or had expired.';
COMMENT ON COLUMN opportunities.listing_id IS 'What fulfilled it.';
CREATE UNIQUE INDEX opportunities_open ON opportunities (pattern) WHERE status = 'open';
CREATE INDEX opportunities_urgent ON opportunities (status, urgency DESC, id DESC);

CREATE TABLE demand (
    only_row    BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    salt        BYTEA NOT NULL,
    folded_to   BIGINT NOT NULL DEFAULT 0,
    window_from TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
    listed_to   TIMESTAMPTZ NOT NULL DEFAULT 'epoch'
);
COMMENT ON TABLE demand IS 'How far the figures are. Whoever folds locks it; the others leave it to them.';
COMMENT ON COLUMN demand.only_row IS 'There is one.';
COMMENT ON COLUMN demand.salt IS 'Makes the hashes of askers this market''s own.';
COMMENT ON COLUMN demand.folded_to IS 'The last of searches that the figures have.';
COMMENT ON COLUMN demand.window_from IS 'The first hour that the figures have.';
COMMENT ON COLUMN demand.listed_to IS 'Until when new listings were compared with opportunities.';
INSERT INTO demand (salt) VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
