-- What users of models say to questions of another instance than the one that takes the answer.

CREATE TABLE mcp_answers (
    question    UUID PRIMARY KEY,
    agreed      BOOLEAN NOT NULL,
    answered_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX mcp_answers_answered_at ON mcp_answers (answered_at);
COMMENT ON TABLE mcp_answers IS 'Answers on their way to the instance that asked, which takes them out. What it did not wait for is removed after ten minutes.';
COMMENT ON COLUMN mcp_answers.question IS 'The question, whose id was sealed for whom it was put to.';
COMMENT ON COLUMN mcp_answers.agreed IS 'Whether the user agreed.';
COMMENT ON COLUMN mcp_answers.answered_at IS 'When the answer came.';
