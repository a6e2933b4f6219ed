-- Who decided what, and when: written in one statement with what was decided, and never changed.

CREATE TABLE decisions (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject    UUID NOT NULL,
    what       TEXT NOT NULL,
    decided_by UUID REFERENCES creators,
    decided_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason     TEXT
);
COMMENT ON TABLE decisions IS 'What people with a role decided. Rows are only added.';
COMMENT ON COLUMN decisions.id IS 'In the order of the decisions.';
COMMENT ON COLUMN decisions.subject IS 'The withdrawal, redemption, deposit, listing or creator it is about.';
COMMENT ON COLUMN decisions.what IS 'What was decided, as withdrawal_approved.';
COMMENT ON COLUMN decisions.decided_by IS 'The creator who did; null for whoever runs the market''s commands.';
COMMENT ON COLUMN decisions.decided_at IS 'When.';
COMMENT ON COLUMN decisions.reason IS 'Why, or with what: the reason of a refusal, a receipt, a quality, a role.';
CREATE INDEX decisions_subject ON decisions (subject, id);
