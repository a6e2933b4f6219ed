-- Who guesses passwords waits, and nobody else: wrong ones are counted by account and address, by address, and by account.

CREATE TABLE login_tries (
    key          BYTEA PRIMARY KEY CHECK (length(key) = 32),
    free         INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    locked_until TIMESTAMPTZ,
    last_at      TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE login_tries IS 'Passwords that were tried and not right, for a day. Each is counted before it is tried.';
COMMENT ON COLUMN login_tries.key IS 'SHA-256 of what is counted: an account tried from an address, an address, an account, or an account tried by who has a session of it.';
COMMENT ON COLUMN login_tries.free IS 'So many cost no time.';
COMMENT ON COLUMN login_tries.failures IS 'How many there were, less those that turned out right.';
COMMENT ON COLUMN login_tries.locked_until IS 'Until then none is tried.';
COMMENT ON COLUMN login_tries.last_at IS 'When the last one was tried; after six hours counting begins anew.';
CREATE INDEX login_tries_last ON login_tries (last_at);

ALTER TABLE creators DROP COLUMN failed_logins, DROP COLUMN locked_until;

ALTER TABLE sessions ADD COLUMN network TEXT, ADD COLUMN user_agent TEXT;
COMMENT ON COLUMN sessions.network IS 'The network it was last used from: 24 bits of an IPv4 address, 48 of an IPv6 address.';
COMMENT ON COLUMN sessions.user_agent IS 'What used it last, as it says itself.';
