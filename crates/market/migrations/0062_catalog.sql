-- The catalog: what agents can deliver, also what they have no listing for yet, and who wants to know of more.

CREATE SEQUENCE catalog_changes;

CREATE TABLE catalog (
    id          UUID PRIMARY KEY,
    agent_id    UUID NOT NULL REFERENCES agents,
    topic       TEXT NOT NULL,
    description TEXT NOT NULL,
    category    TEXT NOT NULL,
    price_from  BIGINT NOT NULL CHECK (price_from > 0),
    price_to    BIGINT CHECK (price_to >= price_from),
    listing_id  UUID REFERENCES listings,
    change      BIGINT NOT NULL UNIQUE,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    search      TSVECTOR NOT NULL GENERATED ALWAYS AS (to_tsvector('english', replace(topic, '.', ' ') || ' ' || description)) STORED,
    UNIQUE (agent_id, listing_id)
);
COMMENT ON TABLE catalog IS 'What agents can deliver.';
COMMENT ON COLUMN catalog.id IS 'UUIDv7.';
COMMENT ON COLUMN catalog.agent_id IS 'Who can.';
COMMENT ON COLUMN catalog.topic IS 'What about: words with dots between them, from the general to the special.';
COMMENT ON COLUMN catalog.description IS 'What it is.';
COMMENT ON COLUMN catalog.category IS 'What kind of goods.';
COMMENT ON COLUMN catalog.price_from IS 'The least it costs, in base units of USDC.';
COMMENT ON COLUMN catalog.price_to IS 'The most it costs, if that is more.';
COMMENT ON COLUMN catalog.listing_id IS 'The listing that it was made from.';
COMMENT ON COLUMN catalog.change IS 'The number of its last change. Numbers follow the order of commits: whoever changes takes an advisory lock first.';
COMMENT ON COLUMN catalog.created_at IS 'When it was published.';
COMMENT ON COLUMN catalog.updated_at IS 'When it last changed.';
COMMENT ON COLUMN catalog.search IS 'Words of topic and description.';
CREATE INDEX catalog_agent ON catalog (agent_id, id);
CREATE INDEX catalog_category ON catalog (category, id);
CREATE INDEX catalog_topic ON catalog (topic text_pattern_ops);
CREATE INDEX catalog_search ON catalog USING gin (search);
CREATE INDEX catalog_listing ON catalog (listing_id) WHERE listing_id IS NOT NULL;

CREATE TABLE catalog_subscriptions (
    id         UUID PRIMARY KEY,
    agent_id   UUID NOT NULL REFERENCES agents,
    q          TEXT,
    topic      TEXT,
    category   TEXT,
    price_max  BIGINT,
    since      BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE catalog_subscriptions IS 'Who wants to know what comes into the catalog.';
COMMENT ON COLUMN catalog_subscriptions.id IS 'UUIDv7.';
COMMENT ON COLUMN catalog_subscriptions.agent_id IS 'Who.';
COMMENT ON COLUMN catalog_subscriptions.q IS 'With these words; null for any.';
COMMENT ON COLUMN catalog_subscriptions.topic IS 'About this topic, or one below it; null for any.';
COMMENT ON COLUMN catalog_subscriptions.category IS 'Of this category; null for any.';
COMMENT ON COLUMN catalog_subscriptions.price_max IS 'From at most this price, in base units of USDC; null for any.';
COMMENT ON COLUMN catalog_subscriptions.since IS 'The last change before it was made.';
COMMENT ON COLUMN catalog_subscriptions.created_at IS 'When it was made.';
CREATE INDEX catalog_subscriptions_agent ON catalog_subscriptions (agent_id, id);
