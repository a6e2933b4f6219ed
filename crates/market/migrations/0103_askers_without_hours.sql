-- Askers whose hour was removed without them, before the two were removed together: nothing would find them any more.
DELETE FROM pattern_askers AS a WHERE NOT EXISTS (SELECT FROM pattern_hours AS h WHERE h.pattern_id = a.pattern_id AND h.hour = a.last_hour);
