-- Looking for listings among a million: words that are misspelt or only begun, and an index for each order and filter.

CREATE TABLE words (
    word TEXT PRIMARY KEY
);
COMMENT ON TABLE words IS 'Words of titles and tags, to know what a misspelt one means and how a begun one goes on. Kept by a trigger; only grows.';
COMMENT ON COLUMN words.word IS 'In small letters, without digits, 3 to 32 characters.';
CREATE INDEX words_begin ON words (word text_pattern_ops);

-- Somebody may have the extension already, in whatever schema.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
DO $do$
DECLARE
    home TEXT := (SELECT nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'pg_trgm');
BEGIN
    EXECUTE format('CREATE INDEX words_near ON words USING gin (word %I.gin_trgm_ops)', home);
    EXECUTE format(
        'CREATE FUNCTION words_near(asked TEXT, most INTEGER) RETURNS SETOF TEXT LANGUAGE sql STABLE AS $f$
             SELECT word FROM words WHERE word OPERATOR(%1$I.%%) asked ORDER BY %1$I.similarity(word, asked) DESC, word LIMIT most
         $f$', home);
END $do$;

CREATE FUNCTION listing_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In order, so that two listings with the same new words do not wait for each other in a circle.
    INSERT INTO words
    SELECT word FROM unnest(tsvector_to_array(to_tsvector('simple', NEW.title || ' ' || array_to_string(NEW.tags, ' ')))) AS word
    WHERE length(word) BETWEEN 3 AND 32 AND word !~ '[0-9]' ORDER BY word
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER listing_words AFTER INSERT OR UPDATE OF title, tags ON listings FOR EACH ROW EXECUTE FUNCTION listing_words();
INSERT INTO words
SELECT DISTINCT word FROM listings, unnest(tsvector_to_array(to_tsvector('simple', title || ' ' || array_to_string(tags, ' ')))) AS word
WHERE length(word) BETWEEN 3 AND 32 AND word !~ '[0-9]';

-- Each order of a search has an index, so that a page of a search that many listings match reads the page and not all that match.
CREATE INDEX listings_fresh ON listings (freshness_at, id) WHERE status = 'active';
CREATE INDEX listings_quality ON listings ((coalesce(quality, -1)), id) WHERE status = 'active';
CREATE INDEX listings_category_newest ON listings (category, id) WHERE status = 'active';
CREATE INDEX listings_category_price ON listings (category, price, id) WHERE status = 'active';
CREATE INDEX listings_tags ON listings USING gin (tags) WHERE status = 'active';
