-- Webhooks are not of the chain: they stay when the schema `chain` is dropped to index again.
CREATE SCHEMA IF NOT EXISTS webhooks;
COMMENT ON SCHEMA webhooks IS 'Who wants to be told of what, and what could not be delivered yet.';

CREATE TABLE IF NOT EXISTS webhooks.endpoints (
    id           UUID PRIMARY KEY,
    url          TEXT NOT NULL,
    secret       BYTEA NOT NULL,
    wish         JSONB NOT NULL,
    cursor       TEXT NOT NULL,
    disabled     TEXT,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhooks.endpoints IS 'Who is told of what happens on the chain.';
COMMENT ON COLUMN webhooks.endpoints.id IS 'Names it.';
COMMENT ON COLUMN webhooks.endpoints.url IS 'Where deliveries are posted to.';
COMMENT ON COLUMN webhooks.endpoints.secret IS 'Key of the HMAC-SHA256 signatures.';
COMMENT ON COLUMN webhooks.endpoints.wish IS 'What it wants to be told of.';
COMMENT ON COLUMN webhooks.endpoints.cursor IS 'Everything before is in `deliveries` or was delivered.';
COMMENT ON COLUMN webhooks.endpoints.disabled IS 'Why it is told nothing any more; null: it is.';
COMMENT ON COLUMN webhooks.endpoints.created_at IS 'When it was registered.';

CREATE TABLE IF NOT EXISTS webhooks.deliveries (
    id           UUID PRIMARY KEY,
    endpoint     UUID NOT NULL REFERENCES webhooks.endpoints ON DELETE CASCADE,
    body         TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       TIMESTAMPTZ,
    last_error   TEXT,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhooks.deliveries IS 'What was not delivered yet; a row goes when the endpoint has taken it.';
COMMENT ON COLUMN webhooks.deliveries.id IS 'Id of the message, the same at every attempt: what the receiver tells repetitions by.';
COMMENT ON COLUMN webhooks.deliveries.endpoint IS 'Who is to be told.';
COMMENT ON COLUMN webhooks.deliveries.body IS 'The message as it is signed and sent.';
COMMENT ON COLUMN webhooks.deliveries.attempts IS 'How often it was tried.';
COMMENT ON COLUMN webhooks.deliveries.due_at IS 'When it is tried next; null: never again, it is a dead letter.';
COMMENT ON COLUMN webhooks.deliveries.last_error IS 'What went wrong last.';
COMMENT ON COLUMN webhooks.deliveries.created_at IS 'When it was found on the chain.';
CREATE INDEX IF NOT EXISTS deliveries_due ON webhooks.deliveries (endpoint, due_at);
