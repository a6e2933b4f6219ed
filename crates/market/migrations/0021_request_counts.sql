-- How often principals asked, shared by all instances. Not worth a write to the log: after a crash the minute begins anew.

CREATE UNLOGGED TABLE request_counts (
    principal TEXT PRIMARY KEY,
    minute    BIGINT NOT NULL,
    used      INTEGER NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE request_counts IS 'Requests of principals in one minute, for the rate limits. Not logged: empty after a crash.';
COMMENT ON COLUMN request_counts.principal IS 'The agent, creator, wallet, or address of who is none.';
COMMENT ON COLUMN request_counts.minute IS 'Unix time divided by 60.';
COMMENT ON COLUMN request_counts.used IS 'Places of this minute that instances have taken.';
