-- Listings end, their content has versions, and quality is what a moderator found, not what the seller says.

ALTER TABLE listings
    ADD COLUMN version      INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN quality      SMALLINT CHECK (quality BETWEEN 0 AND 10000),
    ADD COLUMN freshness_at TIMESTAMPTZ,
    ADD COLUMN expires_at   TIMESTAMPTZ;
COMMENT ON COLUMN listings.version IS 'Number of the content, from 1; 0 for a draft.';
COMMENT ON COLUMN listings.quality IS 'Of this content, in basis points, as a moderator judged it; null until then.';
COMMENT ON COLUMN listings.freshness_at IS 'When this content came.';
COMMENT ON COLUMN listings.expires_at IS 'When it stops being for sale; null for never.';

CREATE TABLE listing_versions (
    listing_id   UUID NOT NULL REFERENCES listings,
    version      INTEGER NOT NULL CHECK (version > 0),
    content_hash BYTEA NOT NULL CHECK (length(content_hash) = 32),
    content_size BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (listing_id, version)
);
COMMENT ON TABLE listing_versions IS 'Every content that a listing ever had. Kept by a trigger.';
COMMENT ON COLUMN listing_versions.listing_id IS 'Of which listing.';
COMMENT ON COLUMN listing_versions.version IS 'Its number, from 1.';
COMMENT ON COLUMN listing_versions.content_hash IS 'SHA-256 of the content.';
COMMENT ON COLUMN listing_versions.content_size IS 'Its bytes.';
COMMENT ON COLUMN listing_versions.content_type IS 'Its media type.';
COMMENT ON COLUMN listing_versions.created_at IS 'When it came.';

-- One place that no way to change a content gets around.
CREATE FUNCTION listing_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := NEW.version + 1;
    NEW.freshness_at := now();
    NEW.quality := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER listing_version_new BEFORE INSERT ON listings
    FOR EACH ROW WHEN (NEW.content_hash IS NOT NULL) EXECUTE FUNCTION listing_version();
CREATE TRIGGER listing_version_changed BEFORE UPDATE OF content_hash ON listings
    FOR EACH ROW WHEN (NEW.content_hash IS DISTINCT FROM OLD.content_hash) EXECUTE FUNCTION listing_version();

CREATE FUNCTION listing_version_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO listing_versions (listing_id, version, content_hash, content_size, content_type)
    VALUES (NEW.id, NEW.version, NEW.content_hash, NEW.content_size, NEW.content_type);
    RETURN NULL;
END $$;
CREATE TRIGGER listing_version_kept_new AFTER INSERT ON listings
    FOR EACH ROW WHEN (NEW.content_hash IS NOT NULL) EXECUTE FUNCTION listing_version_kept();
CREATE TRIGGER listing_version_kept_changed AFTER UPDATE OF content_hash ON listings
    FOR EACH ROW WHEN (NEW.content_hash IS DISTINCT FROM OLD.content_hash) EXECUTE FUNCTION listing_version_kept();

UPDATE listings SET version = 1, freshness_at = updated_at WHERE content_hash IS NOT NULL;
INSERT INTO listing_versions (listing_id, version, content_hash, content_size, content_type, created_at)
SELECT id, 1, content_hash, content_size, content_type, updated_at FROM listings WHERE content_hash IS NOT NULL;

ALTER TABLE sales ADD COLUMN reversed BOOLEAN NOT NULL DEFAULT FALSE;
COMMENT ON COLUMN sales.reversed IS 'Whether the buyer got the money back, and so has the content no more.';
