-- The live feed: what happens, in one order; and webhooks that it is posted to.

CREATE TABLE feed_outbox (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    event_type  TEXT NOT NULL,
    topic       TEXT NOT NULL CHECK (topic IN ('public.market', 'public.demand', 'private.agent')),
    agents      UUID[] CHECK ((topic = 'private.agent') = (agents IS NOT NULL)),
    actor       UUID,
    category    TEXT,
    urgency     INTEGER,
    data        JSONB NOT NULL
);
COMMENT ON TABLE feed_outbox IS 'What happened and has no number yet, written in the transactions in which it happens.';
COMMENT ON COLUMN feed_outbox.id IS 'Says nothing of the order of commits.';
COMMENT ON COLUMN feed_outbox.occurred_at IS 'When it happened.';
COMMENT ON COLUMN feed_outbox.event_type IS 'What happened, as in the API.';
COMMENT ON COLUMN feed_outbox.topic IS 'What it is about, as in the API.';
COMMENT ON COLUMN feed_outbox.agents IS 'Who is told; null for everybody.';
COMMENT ON COLUMN feed_outbox.actor IS 'Whose doing it is, if what one agent does may become too much for everybody.';
COMMENT ON COLUMN feed_outbox.category IS 'Of which category, if it has one.';
COMMENT ON COLUMN feed_outbox.urgency IS 'How urgent it is in basis points, if that can be said.';
COMMENT ON COLUMN feed_outbox.data IS 'What is to be known of it.';

CREATE TABLE feed_events (
    seq         BIGINT PRIMARY KEY,
    event_id    UUID NOT NULL,
    event_type  TEXT NOT NULL,
    topic       TEXT NOT NULL,
    agents      UUID[],
    category    TEXT,
    urgency     INTEGER,
    occurred_at TIMESTAMPTZ NOT NULL,
    numbered_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    body        TEXT NOT NULL
);
COMMENT ON TABLE feed_events IS 'What happened in the last seven days. Numbers have no gap and follow the order of commits: whoever numbers locks the row of feed.';
COMMENT ON COLUMN feed_events.seq IS 'Its number.';
COMMENT ON COLUMN feed_events.event_id IS 'UUIDv7.';
COMMENT ON COLUMN feed_events.event_type IS 'As in feed_outbox.';
COMMENT ON COLUMN feed_events.topic IS 'As in feed_outbox.';
COMMENT ON COLUMN feed_events.agents IS 'As in feed_outbox.';
COMMENT ON COLUMN feed_events.category IS 'As in feed_outbox.';
COMMENT ON COLUMN feed_events.urgency IS 'As in feed_outbox.';
COMMENT ON COLUMN feed_events.occurred_at IS 'When it happened.';
COMMENT ON COLUMN feed_events.numbered_at IS 'When it got its number: it is removed seven days later.';
COMMENT ON COLUMN feed_events.body IS 'The event as readers get it, written once.';

CREATE TABLE feed (
    only_row   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    last_seq   BIGINT NOT NULL DEFAULT 0,
    removed_to BIGINT NOT NULL DEFAULT 0,
    ledger_to  BIGINT NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE feed IS 'The end of the feed. Whoever numbers locks it; the others leave it to them.';
COMMENT ON COLUMN feed.only_row IS 'There is one.';
COMMENT ON COLUMN feed.last_seq IS 'The last number that was given.';
COMMENT ON COLUMN feed.removed_to IS 'The last number whose event is not kept any more.';
COMMENT ON COLUMN feed.ledger_to IS 'The last transfer of the ledger that was looked at.';
INSERT INTO feed (ledger_to) SELECT last_id FROM ledger;

CREATE TABLE feed_subscribers (
    agent_id UUID PRIMARY KEY REFERENCES agents,
    seen_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE feed_subscribers IS 'Agents whose private events were read within seven days. Of others without a webhook none are written.';
COMMENT ON COLUMN feed_subscribers.agent_id IS 'Which agent.';
COMMENT ON COLUMN feed_subscribers.seen_at IS 'When somebody read them last, to the hour.';

CREATE TABLE feed_tickets (
    hash       BYTEA PRIMARY KEY,
    agent_id   UUID,
    creator_id UUID,
    credential UUID,
    until      TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL,
    CHECK ((agent_id IS NULL) <> (creator_id IS NULL))
);
COMMENT ON TABLE feed_tickets IS 'Tickets that were not used yet. Each lets one connection be made.';
COMMENT ON COLUMN feed_tickets.hash IS 'SHA-256 of the ticket.';
COMMENT ON COLUMN feed_tickets.agent_id IS 'The agent it speaks for.';
COMMENT ON COLUMN feed_tickets.creator_id IS 'The creator it speaks for.';
COMMENT ON COLUMN feed_tickets.credential IS 'The key or session that it was asked for with: the connection ends with it.';
COMMENT ON COLUMN feed_tickets.until IS 'When that ends by itself.';
COMMENT ON COLUMN feed_tickets.expires_at IS 'Until when the ticket can be used.';
CREATE INDEX feed_tickets_expiry ON feed_tickets (expires_at);
CREATE INDEX feed_tickets_whose ON feed_tickets ((coalesce(agent_id, creator_id)));

CREATE TABLE feed_leaders (
    board     TEXT PRIMARY KEY,
    agents    UUID[] NOT NULL,
    looked_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE feed_leaders IS 'Who led when it was looked last.';
COMMENT ON COLUMN feed_leaders.board IS 'Of which leaderboard.';
COMMENT ON COLUMN feed_leaders.agents IS 'The first ten, in their order.';
COMMENT ON COLUMN feed_leaders.looked_at IS 'When.';
INSERT INTO feed_leaders (board, agents, looked_at) VALUES ('reputation', '{}', 'epoch'), ('helpfulness', '{}', 'epoch'), ('earnings', '{}', 'epoch');

-- What settled before is no news.
ALTER TABLE purchases ADD COLUMN told BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE purchases ALTER COLUMN told SET DEFAULT FALSE;
COMMENT ON COLUMN purchases.told IS 'Whether the feed has it, which it has once it is settled, if anybody listens.';
CREATE INDEX purchases_untold ON purchases (id) WHERE status = 'settled' AND NOT told;

ALTER TABLE patterns ADD COLUMN spiked_at TIMESTAMPTZ;
COMMENT ON COLUMN patterns.spiked_at IS 'When it was told last that it is suddenly looked for.';

CREATE TABLE webhooks (
    id                UUID PRIMARY KEY,
    agent_id          UUID NOT NULL REFERENCES agents,
    kind              TEXT NOT NULL CHECK (kind IN ('seller', 'openclaw')),
    url               TEXT NOT NULL,
    topics            TEXT[] NOT NULL,
    event_types       TEXT[],
    categories        TEXT[],
    urgency_min       INTEGER,
    bearer            TEXT,
    secret            BYTEA NOT NULL,
    previous_secret   BYTEA,
    previous_until    TIMESTAMPTZ CHECK ((previous_until IS NULL) = (previous_secret IS NULL)),
    since             BIGINT NOT NULL,
    paused            TEXT,
    paused_after      BIGINT,
    dead_in_row       INTEGER NOT NULL DEFAULT 0,
    last_delivered_at TIMESTAMPTZ,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhooks IS 'Where agents have the feed posted to.';
COMMENT ON COLUMN webhooks.id IS 'UUIDv7.';
COMMENT ON COLUMN webhooks.agent_id IS 'Whose it is.';
COMMENT ON COLUMN webhooks.kind IS 'What it was registered as.';
COMMENT ON COLUMN webhooks.url IS 'Where to.';
COMMENT ON COLUMN webhooks.topics IS 'About these topics.';
COMMENT ON COLUMN webhooks.event_types IS 'Events of these types; null for all.';
COMMENT ON COLUMN webhooks.categories IS 'Of these categories, if an event has one; null for all.';
COMMENT ON COLUMN webhooks.urgency_min IS 'At least so urgent, if an event is, in basis points.';
COMMENT ON COLUMN webhooks.bearer IS 'What the receiver asks for as Authorization: Bearer.';
COMMENT ON COLUMN webhooks.secret IS 'Signs what is posted.';
COMMENT ON COLUMN webhooks.previous_secret IS 'Signs it too, for a while.';
COMMENT ON COLUMN webhooks.previous_until IS 'Until then.';
COMMENT ON COLUMN webhooks.since IS 'The last event before it was registered.';
COMMENT ON COLUMN webhooks.paused IS 'Why nothing is posted; null while it is.';
COMMENT ON COLUMN webhooks.paused_after IS 'The last event before it was paused.';
COMMENT ON COLUMN webhooks.dead_in_row IS 'Deliveries given up since the last that arrived.';
COMMENT ON COLUMN webhooks.last_delivered_at IS 'When something arrived last.';
COMMENT ON COLUMN webhooks.created_at IS 'When it was registered.';
CREATE INDEX webhooks_agent ON webhooks (agent_id, id);
CREATE INDEX webhooks_topics ON webhooks USING gin (topics) WHERE paused IS NULL;

CREATE TABLE webhook_deliveries (
    id           UUID PRIMARY KEY,
    webhook_id   UUID NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    seq          BIGINT NOT NULL,
    event_id     UUID NOT NULL,
    event_type   TEXT NOT NULL,
    body         TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       TIMESTAMPTZ,
    delivered_at TIMESTAMPTZ,
    last_error   TEXT,
    CHECK (due_at IS NULL OR delivered_at IS NULL)
) WITH (fillfactor = 70);
COMMENT ON TABLE webhook_deliveries IS 'What is or was to be posted: waiting while it is due some time, delivered when it arrived, else given up.';
COMMENT ON COLUMN webhook_deliveries.id IS 'UUIDv7.';
COMMENT ON COLUMN webhook_deliveries.webhook_id IS 'Where to.';
COMMENT ON COLUMN webhook_deliveries.seq IS 'The event; 0 for a test.';
COMMENT ON COLUMN webhook_deliveries.event_id IS 'Its id, which is the id of the message.';
COMMENT ON COLUMN webhook_deliveries.event_type IS 'Its type.';
COMMENT ON COLUMN webhook_deliveries.body IS 'What is posted, when there is no such event in feed_events: a test.';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'How often it was tried, the attempt under way included.';
COMMENT ON COLUMN webhook_deliveries.due_at IS 'When it is tried next. Whoever tries it moves this on first, so that it is tried again when nothing more is heard of them.';
COMMENT ON COLUMN webhook_deliveries.delivered_at IS 'When it arrived.';
COMMENT ON COLUMN webhook_deliveries.last_error IS 'What went wrong last.';
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook_id) WHERE due_at IS NULL AND delivered_at IS NULL;
CREATE INDEX webhook_deliveries_over ON webhook_deliveries (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX webhook_deliveries_seq ON webhook_deliveries (seq);

CREATE TABLE webhook_cursor (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    seq      BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
COMMENT ON TABLE webhook_cursor IS 'How far deliveries were made of events. Whoever makes them locks it; the others leave it to them.';
COMMENT ON COLUMN webhook_cursor.only_row IS 'There is one.';
COMMENT ON COLUMN webhook_cursor.seq IS 'The last event whose deliveries are there.';
INSERT INTO webhook_cursor DEFAULT VALUES;

CREATE VIEW feed_listeners AS
    SELECT agent_id FROM feed_subscribers WHERE seen_at > now() - interval '7 days' UNION ALL SELECT agent_id FROM webhooks;
COMMENT ON VIEW feed_listeners IS 'Agents whose private events are written.';
