-- What is logged and counted goes to pages that were written lately, and figures change where they stand: neither costs more the more there is.

-- First, for whoever counts locks this before the rest. An instance of before would not count askers by hours: it cannot count at all.
ALTER TABLE demand RENAME COLUMN folded_to TO counted_to;

-- Patterns are compared for being the same, and need no order of a language.
DROP INDEX searches_asker;
ALTER TABLE searches ALTER COLUMN pattern TYPE TEXT COLLATE "C";
ALTER TABLE patterns ALTER COLUMN pattern TYPE TEXT COLLATE "C";

-- Searches of one asker, five minutes at a time: an index by asker alone is written anywhere.
ALTER TABLE searches ADD COLUMN trail BIGINT NOT NULL GENERATED ALWAYS AS
    (floor(date_part('epoch', at - TIMESTAMPTZ 'epoch') / 300)::bigint << 32 | (asker & 4294967295)) STORED;
COMMENT ON COLUMN searches.trail IS 'Which five minutes since 1970 it was in, and below that 32 bits of asker: where the searches before a purchase are found.';
CREATE INDEX searches_trail ON searches (trail, at DESC) WHERE pattern <> '';
CREATE INDEX searches_bought ON searches (asker) WHERE pattern = '';

-- How many have which hour as their last: what leaves with an hour, and who asked since one, without looking at who.
ALTER TABLE pattern_hours ADD COLUMN askers BIGINT NOT NULL DEFAULT 0, SET (fillfactor = 50);
COMMENT ON COLUMN pattern_hours.askers IS 'Different persons who looked for it in this hour and in none after. The sum of some hours until now is how many did in them.';
ALTER TABLE pattern_askers ADD COLUMN hour_before TIMESTAMPTZ;
COMMENT ON COLUMN pattern_askers.hour_before IS 'The last hour in which before that one: where the asker counted until then.';
UPDATE pattern_hours AS h SET askers = a.askers
FROM (SELECT pattern_id, last_hour, count(*) AS askers FROM pattern_askers GROUP BY pattern_id, last_hour) AS a
WHERE a.pattern_id = h.pattern_id AND a.last_hour = h.hour;

-- Classes of a sixteenth of e, six percent: many searches leave a pattern in its class, so that no index needs to know (and half of
-- a page is free for what changes). The few searches of most patterns are a class each, so that none hides behind others.
DROP INDEX patterns_top, patterns_gaps;
ALTER TABLE patterns
    ADD COLUMN top SMALLINT GENERATED ALWAYS AS
        (CASE WHEN searches > 0 AND requesters >= 3 THEN floor(16 * ln(searches::double precision))::smallint END) STORED,
    ADD COLUMN gap SMALLINT GENERATED ALWAYS AS
        (CASE WHEN searches > 0 AND requesters >= 3 AND fulfilled * 5 < searches THEN floor(16 * ln(searches::double precision))::smallint END) STORED,
    SET (fillfactor = 50);
COMMENT ON COLUMN patterns.top IS 'Sixteen times the natural logarithm of searches, rounded down, if at least three persons asked: patterns in the order of searches, nearly.';
COMMENT ON COLUMN patterns.gap IS 'The same, if it is found in fewer than a fifth of the searches.';
CREATE INDEX patterns_top ON patterns (top DESC, id) WHERE top IS NOT NULL;
CREATE INDEX patterns_gaps ON patterns (gap DESC, id) WHERE gap IS NOT NULL;
