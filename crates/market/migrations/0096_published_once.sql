-- A listing that was published with a key is not published again by whoever repeats the request because its answer was lost.

ALTER TABLE listings
    ADD COLUMN key         BYTEA CHECK (length(key) = 32),
    ADD COLUMN fingerprint BYTEA CHECK (length(fingerprint) = 32),
    ADD CHECK ((key IS NULL) = (fingerprint IS NULL));
COMMENT ON COLUMN listings.key IS 'As of transfers, of the request that published it; of one that published several, with the place in it. Null without a key.';
COMMENT ON COLUMN listings.fingerprint IS 'As of transfers, of the whole request.';
CREATE UNIQUE INDEX listings_key ON listings (key) WHERE key IS NOT NULL;
