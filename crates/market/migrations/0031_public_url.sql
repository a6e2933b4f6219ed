-- What all instances must agree on.

CREATE TABLE settings (
    only_row   BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    public_url TEXT NOT NULL
);
COMMENT ON TABLE settings IS 'What all instances agree on: written by the first that names it, and refused by any that differs.';
COMMENT ON COLUMN settings.only_row IS 'There is at most one.';
COMMENT ON COLUMN settings.public_url IS 'Where clients reach the market. Access tokens and signatures are made for it.';
