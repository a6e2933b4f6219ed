-- Listings by slices: 1,024 contents after one another, so that a search by words looks at the newest first and no further than it must.

ALTER TABLE listings ADD COLUMN slice INTEGER NOT NULL DEFAULT 0;
COMMENT ON COLUMN listings.slice IS 'The number of its content among all that ever came, divided by 1,024. Kept by a trigger.';

CREATE SEQUENCE listing_contents;
SELECT setval('listing_contents', (SELECT count(*) + 1 FROM listings WHERE content_hash IS NOT NULL));

CREATE OR REPLACE FUNCTION listing_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := NEW.version + 1;
    NEW.freshness_at := now();
    NEW.quality := NULL;
    NEW.slice := nextval('listing_contents') / 1024;
    RETURN NEW;
END $$;
