-- What listings mean, for who has an endpoint that tells it; without one all of it stays empty.

CREATE TABLE meanings (
    only_row  BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    model     TEXT NOT NULL,
    filled_to UUID NOT NULL DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'
);
COMMENT ON TABLE meanings IS 'By which model it is told what listings mean: the one that an instance named last. Empty until one names any.';
COMMENT ON COLUMN meanings.only_row IS 'There is at most one.';
COMMENT ON COLUMN meanings.model IS 'Its name.';
COMMENT ON COLUMN meanings.filled_to IS 'Of the listings there were before, newest first, those from this on were put into meanings_due; nil when all were.';

CREATE TABLE meanings_due (
    listing_id UUID PRIMARY KEY,
    due_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE meanings_due IS 'Listings whose meaning is to be asked for. A trigger adds what is new or changed. A row goes when that is done.';
COMMENT ON COLUMN meanings_due.listing_id IS 'Which.';
COMMENT ON COLUMN meanings_due.due_at IS 'From when on: whoever asks puts it off first, and has done nothing when it is another by then.';

CREATE TABLE listing_meanings (
    listing_id UUID PRIMARY KEY REFERENCES listings ON DELETE CASCADE,
    model      TEXT NOT NULL,
    dimension  INTEGER NOT NULL,
    bits       BIT(1024) NOT NULL,
    made_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE listing_meanings IS 'What active listings mean, as directions.';
COMMENT ON COLUMN listing_meanings.listing_id IS 'Of which listing.';
COMMENT ON COLUMN listing_meanings.model IS 'By which model.';
COMMENT ON COLUMN listing_meanings.dimension IS 'How many numbers its vectors have.';
COMMENT ON COLUMN listing_meanings.bits IS 'On which side of 1,024 planes its vector is: the share in which two of them differ is about their angle in half turns (src/discover/meaning/bits.rs).';
COMMENT ON COLUMN listing_meanings.made_at IS 'When it was asked for.';

CREATE FUNCTION listing_meaning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO meanings_due (listing_id) SELECT NEW.id WHERE EXISTS (SELECT FROM meanings)
    ON CONFLICT (listing_id) DO UPDATE SET due_at = now();
    RETURN NULL;
END $$;
CREATE TRIGGER listing_meaning_new AFTER INSERT ON listings
    FOR EACH ROW WHEN (NEW.status = 'active') EXECUTE FUNCTION listing_meaning();
CREATE TRIGGER listing_meaning_changed AFTER UPDATE OF title, tags, description, status ON listings
    FOR EACH ROW WHEN ((NEW.title, NEW.tags, NEW.description, NEW.status) IS DISTINCT FROM (OLD.title, OLD.tags, OLD.description, OLD.status))
    EXECUTE FUNCTION listing_meaning();
