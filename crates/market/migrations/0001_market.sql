-- The ground of the marketplace: who trades, what is offered, what was bought.

CREATE TABLE challenges (
    nonce       BYTEA PRIMARY KEY,
    wallet      BYTEA NOT NULL,
    message     TEXT NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE challenges IS 'Messages that prove a wallet when signed. A row goes when it is used or has expired.';
CREATE INDEX challenges_expiry ON challenges (expires_at);

CREATE TABLE agents (
    id           UUID PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    description  TEXT NOT NULL,
    agent_type   TEXT NOT NULL CHECK (agent_type IN ('seller', 'buyer', 'both')),
    wallet       BYTEA NOT NULL CHECK (length(wallet) = 20),
    key_hash     BYTEA NOT NULL,
    active       BOOLEAN NOT NULL DEFAULT TRUE,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON COLUMN agents.wallet IS 'Proven by its signature; a seller is paid there.';
COMMENT ON COLUMN agents.key_hash IS 'SHA-256 of the 32 random bytes of the API key.';

CREATE TABLE listings (
    id           UUID PRIMARY KEY,
    seller_id    UUID NOT NULL REFERENCES agents,
    title        TEXT NOT NULL,
    description  TEXT NOT NULL,
    category     TEXT NOT NULL,
    tags         TEXT[] NOT NULL,
    price        BIGINT NOT NULL CHECK (price > 0),
    content_type TEXT NOT NULL,
    content_hash BYTEA,
    content_size BIGINT,
    status       TEXT NOT NULL CHECK (status IN ('draft', 'active', 'delisted')),
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    search       TSVECTOR NOT NULL,
    CHECK (status <> 'active' OR (content_hash IS NOT NULL AND content_size IS NOT NULL))
);
COMMENT ON COLUMN listings.price IS 'Base units of USDC.';
COMMENT ON COLUMN listings.content_hash IS 'SHA-256 of the content, which the content store holds durably before it is written here.';
COMMENT ON COLUMN listings.search IS 'Title, tags and description, weighted in this order. Kept by a trigger.';
CREATE INDEX listings_search ON listings USING gin (search) WHERE status = 'active';
CREATE INDEX listings_price ON listings (price, id) WHERE status = 'active';
CREATE INDEX listings_newest ON listings (status, id);
CREATE INDEX listings_seller ON listings (seller_id, id);

CREATE FUNCTION listings_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := setweight(to_tsvector('english', NEW.title), 'A')
        || setweight(to_tsvector('english', array_to_string(NEW.tags, ' ')), 'B')
        || setweight(to_tsvector('english', NEW.description), 'C');
    RETURN NEW;
END $$;
CREATE TRIGGER listings_search BEFORE INSERT OR UPDATE OF title, tags, description ON listings
    FOR EACH ROW EXECUTE FUNCTION listings_search();

CREATE TABLE purchases (
    id               UUID PRIMARY KEY,
    payment_key      BYTEA NOT NULL UNIQUE,
    payment_hash     BYTEA NOT NULL,
    request          JSONB NOT NULL,
    payment_nonce    BYTEA NOT NULL,
    token            BYTEA NOT NULL,
    valid_before     BIGINT NOT NULL,
    listing_id       UUID NOT NULL REFERENCES listings,
    seller_id        UUID NOT NULL REFERENCES agents,
    pay_to           BYTEA NOT NULL,
    payer            BYTEA NOT NULL,
    amount           BIGINT NOT NULL CHECK (amount > 0),
    content_hash     BYTEA NOT NULL,
    content_size     BIGINT NOT NULL,
    content_type     TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('verified', 'settled', 'failed')),
    transaction_hash BYTEA,
    failure          TEXT,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    settled_at       TIMESTAMPTZ,
    next_look_at     TIMESTAMPTZ,
    CHECK ((status = 'settled') = (settled_at IS NOT NULL))
);
COMMENT ON TABLE purchases IS 'Express purchases. A row is written before its payment is sent to be settled, so no charge is ever without one.';
COMMENT ON COLUMN purchases.payment_key IS 'Digest of network, token, payer and nonce: two payments with one key can never both settle.';
COMMENT ON COLUMN purchases.payment_hash IS 'SHA-256 of the signed payload: only the same proof gets the content again.';
COMMENT ON COLUMN purchases.request IS 'What the facilitator is asked to settle, until the payment is known to have moved or to be unable to.';
COMMENT ON COLUMN purchases.valid_before IS 'Unix seconds after which the payment cannot settle any more.';
COMMENT ON COLUMN purchases.next_look_at IS 'When the outcome is looked for again; null when it is certain.';
CREATE INDEX purchases_open ON purchases (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX purchases_payer ON purchases (payer, id);
CREATE INDEX purchases_seller ON purchases (seller_id, id);

CREATE TABLE transactions (
    id           UUID PRIMARY KEY,
    listing_id   UUID NOT NULL REFERENCES listings,
    seller_id    UUID NOT NULL REFERENCES agents,
    buyer        BYTEA NOT NULL,
    initiator_id UUID REFERENCES agents,
    chain_id     BIGINT NOT NULL,
    escrow       BYTEA NOT NULL,
    agreement_id BYTEA NOT NULL UNIQUE,
    terms        JSONB NOT NULL,
    content_size BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    delivered_at TIMESTAMPTZ,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE transactions IS 'Purchases through the escrow. Whether they are funded, released or refunded is read from the mirror of the chain.';
COMMENT ON COLUMN transactions.initiator_id IS 'The agent that started it for the buyer: whoever funds these terms got them from it.';
COMMENT ON COLUMN transactions.delivered_at IS 'When the seller let the buyer have the content.';
