-- Who agents are and what their credentials allow, and the people behind them.

CREATE TABLE creators (
    id             UUID PRIMARY KEY,
    email          TEXT NOT NULL UNIQUE,
    password_hash  TEXT NOT NULL,
    display_name   TEXT NOT NULL,
    phone          TEXT,
    country        TEXT,
    payout_method  TEXT NOT NULL DEFAULT 'none' CHECK (payout_method IN ('none', 'upi', 'bank', 'gift_card')),
    payout_details JSONB,
    role           TEXT NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'support', 'moderator', 'arbiter', 'finance', 'admin')),
    active         BOOLEAN NOT NULL DEFAULT TRUE,
    welcomed       BOOLEAN NOT NULL DEFAULT FALSE,
    failed_logins  INTEGER NOT NULL DEFAULT 0,
    locked_until   TIMESTAMPTZ,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE creators IS 'People who own agents and get their royalties.';
COMMENT ON COLUMN creators.id IS 'UUIDv7; also the owner of the accounts.';
COMMENT ON COLUMN creators.email IS 'In lower case.';
COMMENT ON COLUMN creators.password_hash IS 'Argon2id, in the PHC format, with its salt and parameters.';
COMMENT ON COLUMN creators.display_name IS 'How others see the creator.';
COMMENT ON COLUMN creators.phone IS 'As given; for payouts.';
COMMENT ON COLUMN creators.country IS 'ISO 3166-1, two letters.';
COMMENT ON COLUMN creators.payout_method IS 'How redeemed credits are paid out.';
COMMENT ON COLUMN creators.payout_details IS 'What the payout method needs, as given.';
COMMENT ON COLUMN creators.role IS 'What the creator may do to what is not their own.';
COMMENT ON COLUMN creators.active IS 'False: no sign-in any more.';
COMMENT ON COLUMN creators.welcomed IS 'Whether the ledger has the bonus of who is new.';
COMMENT ON COLUMN creators.failed_logins IS 'Wrong passwords since the last right one.';
COMMENT ON COLUMN creators.locked_until IS 'Until then no password is tried.';
COMMENT ON COLUMN creators.created_at IS 'When the creator registered.';
COMMENT ON COLUMN creators.updated_at IS 'When the row last changed.';
CREATE INDEX creators_unwelcomed ON creators (id) WHERE NOT welcomed;

CREATE TABLE sessions (
    id            UUID PRIMARY KEY,
    creator_id    UUID NOT NULL REFERENCES creators,
    token_hash    BYTEA NOT NULL CHECK (length(token_hash) = 32),
    previous_hash BYTEA CHECK (length(previous_hash) = 32),
    rotated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at    TIMESTAMPTZ NOT NULL,
    revoked_at    TIMESTAMPTZ
);
COMMENT ON TABLE sessions IS 'Sign-ins of creators. Access tokens name theirs and end with it.';
COMMENT ON COLUMN sessions.id IS 'UUIDv7; part of the refresh token.';
COMMENT ON COLUMN sessions.creator_id IS 'Who signed in.';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the secret of the refresh token.';
COMMENT ON COLUMN sessions.previous_hash IS 'Of the refresh token before. Who shows it later than a lost answer explains has stolen it, or was stolen from.';
COMMENT ON COLUMN sessions.rotated_at IS 'When the refresh token was last replaced.';
COMMENT ON COLUMN sessions.created_at IS 'When the creator signed in.';
COMMENT ON COLUMN sessions.expires_at IS 'When the refresh token stops working.';
COMMENT ON COLUMN sessions.revoked_at IS 'When it was ended before its time.';
CREATE INDEX sessions_creator ON sessions (creator_id) WHERE revoked_at IS NULL;

CREATE TABLE api_keys (
    id           UUID PRIMARY KEY,
    agent_id     UUID NOT NULL REFERENCES agents,
    name         TEXT NOT NULL,
    key_hash     BYTEA NOT NULL CHECK (length(key_hash) = 32),
    scopes       TEXT[] NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at   TIMESTAMPTZ
);
COMMENT ON TABLE api_keys IS 'Keys of agents.';
COMMENT ON COLUMN api_keys.id IS 'UUIDv7; the part of the key that is no secret.';
COMMENT ON COLUMN api_keys.agent_id IS 'Whose key it is.';
COMMENT ON COLUMN api_keys.name IS 'What its owner calls it.';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the 32 random bytes of the key.';
COMMENT ON COLUMN api_keys.scopes IS 'What it allows.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.expires_at IS 'When it stops working; null for never.';
COMMENT ON COLUMN api_keys.last_used_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When it was revoked.';
CREATE INDEX api_keys_agent ON api_keys (agent_id, id);

-- A key's id is part of the key: those that were made before go on under the agent's.
INSERT INTO api_keys (id, agent_id, name, key_hash, scopes, created_at)
SELECT id, id, 'registration', key_hash, '{read,buy,sell,transfer,manage}', created_at FROM agents;

ALTER TABLE agents
    DROP COLUMN key_hash,
    ADD COLUMN creator_id        UUID REFERENCES creators,
    ADD COLUMN capabilities      TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN cost_per_task     BIGINT CHECK (cost_per_task >= 0),
    ADD COLUMN capacity_per_hour INTEGER NOT NULL DEFAULT 30 CHECK (capacity_per_hour > 0),
    ADD COLUMN availability      TEXT NOT NULL DEFAULT 'online' CHECK (availability IN ('online', 'busy', 'offline', 'maintenance')),
    ADD COLUMN endpoint          TEXT,
    ADD COLUMN updated_at        TIMESTAMPTZ NOT NULL DEFAULT now();
COMMENT ON COLUMN agents.creator_id IS 'Who owns the agent and gets the royalty of what it sells.';
COMMENT ON COLUMN agents.capabilities IS 'What it can do, in lower case.';
COMMENT ON COLUMN agents.cost_per_task IS 'What it asks for a task, in base units of USDC.';
COMMENT ON COLUMN agents.capacity_per_hour IS 'Tasks it takes in an hour.';
COMMENT ON COLUMN agents.availability IS 'What it says of itself.';
COMMENT ON COLUMN agents.endpoint IS 'Where it answers others (A2A).';
COMMENT ON COLUMN agents.updated_at IS 'When it last changed.';
CREATE INDEX agents_capabilities ON agents USING gin (capabilities) WHERE active;
CREATE INDEX agents_creator ON agents (creator_id, id);

CREATE TABLE sign_ins (
    nonce      TEXT PRIMARY KEY,
    expires_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE sign_ins IS 'Nonces of the header sign-in-with-x that were used.';
COMMENT ON COLUMN sign_ins.nonce IS 'As signed.';
COMMENT ON COLUMN sign_ins.expires_at IS 'When the message it was part of is too old to be believed anyway.';
CREATE INDEX sign_ins_expiry ON sign_ins (expires_at);
