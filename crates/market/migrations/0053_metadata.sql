-- What a seller says besides.

ALTER TABLE listings ADD COLUMN metadata JSONB NOT NULL DEFAULT '{}';
COMMENT ON COLUMN listings.metadata IS 'What the seller says besides, as a JSON object.';
