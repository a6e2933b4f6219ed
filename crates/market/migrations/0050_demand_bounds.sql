-- What one asker does costs the figures no more than what anybody does, and only patterns that several have are looked through.

-- The last searches before a purchase, however many others the asker made.
DROP INDEX searches_asker;
COMMENT ON TABLE conversions IS
    'Searches that led to a purchase: the last whose words the listing has, of the buyer''s last twenty in the half hour before.';
CREATE INDEX searches_asker ON searches (asker, at DESC) WHERE pattern <> '';

DROP INDEX patterns_top, patterns_gaps;
CREATE INDEX patterns_top ON patterns (searches DESC, id) WHERE searches > 0 AND requesters >= 3;
CREATE INDEX patterns_gaps ON patterns (searches DESC, id) WHERE searches > 0 AND fulfilled * 5 < searches AND requesters >= 3;

-- Agents of one person are one asker, and an address is nobody in particular.
ALTER TABLE searches ADD COLUMN known BOOLEAN NOT NULL DEFAULT TRUE;
COMMENT ON COLUMN searches.asker IS
    'Who: 8 bytes of SHA-256 of demand.salt and the person, as of agents; for who has not proven who it is, the address.';
COMMENT ON COLUMN searches.known IS 'Whether who asked had proven who it is. Only those are counted as requesters.';
COMMENT ON COLUMN patterns.requesters IS 'Different persons.';
COMMENT ON COLUMN opportunities.requesters IS 'Different persons in that time.';
COMMENT ON TABLE pattern_askers IS 'Who looked for a pattern and had proven who it is, so that different persons are counted exactly.';
