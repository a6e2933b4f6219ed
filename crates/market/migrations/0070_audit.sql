-- What happened that matters to who looks after the market: written down with what it is about, never changed, and sealed as the ledger is.

CREATE TABLE audit_events (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number     BIGINT UNIQUE CHECK (number > 0),
    at         TIMESTAMPTZ NOT NULL,
    event_type TEXT NOT NULL,
    severity   TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    actor      UUID,
    subject    UUID,
    body       BYTEA NOT NULL CHECK (length(body) <= 8192)
);
COMMENT ON TABLE audit_events IS 'What happened that matters, written in one transaction with it. Rows are only added: a trigger refuses all else. Nobody is named but by ids, and addresses by their networks.';
COMMENT ON COLUMN audit_events.id IS 'In the order of writing.';
COMMENT ON COLUMN audit_events.number IS 'Its place in the chain, given as it is sealed: from 1 without a gap. Null until then, for some seconds.';
COMMENT ON COLUMN audit_events.at IS 'When.';
COMMENT ON COLUMN audit_events.event_type IS 'What happened, as login_failed; of a decision, what was decided.';
COMMENT ON COLUMN audit_events.severity IS 'How much it matters.';
COMMENT ON COLUMN audit_events.actor IS 'The agent or creator who did; null for nobody known, and for the market itself.';
COMMENT ON COLUMN audit_events.subject IS 'What it is about.';
COMMENT ON COLUMN audit_events.body IS 'All of it as JSON: what is shown, sealed and proved. The other columns say the same, to find it by.';
CREATE INDEX audit_events_new ON audit_events (id) WHERE number IS NULL;
CREATE INDEX audit_events_type ON audit_events (event_type, id);
CREATE INDEX audit_events_severity ON audit_events (severity, id) WHERE severity <> 'info';
CREATE INDEX audit_events_actor ON audit_events (actor, id) WHERE actor IS NOT NULL;
CREATE INDEX audit_events_subject ON audit_events (subject, id) WHERE subject IS NOT NULL;

CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.number IS NULL AND NEW.number IS NOT NULL AND to_jsonb(NEW) - 'number' = to_jsonb(OLD) - 'number' THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit events are only added';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();

-- The one place that writes events. What is too long is left out: nothing fails because it is noted.
CREATE FUNCTION audit(
    event_type TEXT, severity TEXT, actor_kind TEXT, actor UUID, subject UUID, network TEXT, user_agent TEXT, request_id TEXT, details JSONB
) RETURNS VOID LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO audit_events (at, event_type, severity, actor, subject, body)
    SELECT now(), $1, $2, $4, $5, convert_to(jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'event_type', $1, 'severity', $2, 'actor_kind', $3,
        'actor', $4, 'subject', $5, 'network', $6, 'user_agent', $7, 'request_id', $8,
        'details', CASE WHEN octet_length($9::text) <= 4096 THEN $9 ELSE '{"left_out": true}'::jsonb END))::text, 'UTF8')
$$;

CREATE FUNCTION audit_decision() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM audit(NEW.what, CASE WHEN NEW.what IN ('role_granted', 'transfer_reversed') THEN 'warning' ELSE 'info' END,
        CASE WHEN NEW.decided_by IS NULL THEN 'operator' ELSE 'creator' END, NEW.decided_by, NEW.subject, NULL, NULL, NULL,
        jsonb_build_object('reason', NEW.reason));
    RETURN NULL;
END $$;
CREATE TRIGGER audit_decision AFTER INSERT ON decisions FOR EACH ROW EXECUTE FUNCTION audit_decision();

CREATE TABLE audit_seals (
    sequence  BIGINT PRIMARY KEY CHECK (sequence > 0),
    first_id  BIGINT NOT NULL UNIQUE,
    count     BIGINT NOT NULL CHECK (count > 0),
    root      BYTEA NOT NULL CHECK (length(root) = 32),
    head      BYTEA NOT NULL CHECK (length(head) = 32),
    signature BYTEA,
    sealed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    anchor    BYTEA
);
COMMENT ON TABLE audit_seals IS 'Batches of audit events that are closed for good, without a gap.';
COMMENT ON COLUMN audit_seals.sequence IS 'As of seals.';
COMMENT ON COLUMN audit_seals.first_id IS 'The number of its first event.';
COMMENT ON COLUMN audit_seals.count IS 'Events in it.';
COMMENT ON COLUMN audit_seals.root IS 'Merkle tree hash (RFC 9162, SHA-256) of the bodies of its events.';
COMMENT ON COLUMN audit_seals.head IS 'As of seals.';
COMMENT ON COLUMN audit_seals.signature IS 'As of seals.';
COMMENT ON COLUMN audit_seals.sealed_at IS 'As of seals.';
COMMENT ON COLUMN audit_seals.anchor IS 'As of seals.';
CREATE INDEX audit_seals_unsigned ON audit_seals (sequence) WHERE signature IS NULL;

-- An anchor has the heads of both, those of the ledger first.
ALTER TABLE anchors
    ADD COLUMN first_audit_seal BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN audit_count      BIGINT NOT NULL DEFAULT 0 CHECK (audit_count >= 0),
    DROP CONSTRAINT anchors_first_seal_fkey,
    DROP CONSTRAINT anchors_operator_first_seal_key,
    DROP CONSTRAINT anchors_count_check,
    ADD CHECK (count >= 0),
    ADD CHECK (count + audit_count > 0);
CREATE UNIQUE INDEX anchors_first_seal ON anchors (operator, first_seal) WHERE count > 0;
CREATE UNIQUE INDEX anchors_first_audit_seal ON anchors (operator, first_audit_seal) WHERE audit_count > 0;
COMMENT ON COLUMN anchors.count IS 'Heads of the ledger''s seals in it.';
COMMENT ON COLUMN anchors.first_audit_seal IS 'The first seal of the audit log whose head it has.';
COMMENT ON COLUMN anchors.audit_count IS 'Heads of the audit log''s seals in it, after those of the ledger.';
COMMENT ON COLUMN anchors.root IS
    'Merkle tree hash (RFC 9162, SHA-256) of the heads of the seals first_seal to first_seal + count - 1, then of the audit log''s likewise.';
