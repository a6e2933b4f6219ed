-- Words are those of what is for sale.

DROP TRIGGER listing_words ON listings;
CREATE TRIGGER listing_words AFTER INSERT OR UPDATE OF title, tags, status ON listings
    FOR EACH ROW WHEN (NEW.status = 'active') EXECUTE FUNCTION listing_words();
COMMENT ON TABLE words IS
    'Words of titles and tags, to know what a misspelt one means and how a begun one goes on. A trigger adds those of active listings; those that none has any more are removed some at a time.';

ALTER TABLE demand ADD COLUMN words_to TEXT NOT NULL DEFAULT '';
COMMENT ON COLUMN demand.words_to IS 'The last of words that was looked for in the listings; empty when the next is the first.';
