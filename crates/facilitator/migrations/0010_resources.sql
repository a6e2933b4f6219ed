-- What was sold: shown under /discovery. One row for each resource and payee; what the least recently sold had is given up first.
CREATE TABLE resources (
    resource   TEXT        NOT NULL,
    pay_to     TEXT        NOT NULL,
    kind       TEXT        NOT NULL CHECK (kind IN ('http', 'mcp')),
    -- Offers by scheme, network and asset.
    accepts    JSONB       NOT NULL,
    -- The rest of what is shown.
    item       JSONB       NOT NULL,
    words      TSVECTOR    NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (resource, pay_to)
);
CREATE INDEX resources_by_age ON resources (updated_at);
CREATE INDEX resources_by_word ON resources USING GIN (words);
