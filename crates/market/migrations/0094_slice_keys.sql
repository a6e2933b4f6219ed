-- An index of the words of each slice of listings, and of each band of prices, and what searches by it.

UPDATE listings AS l SET slice = n.number / 1024
FROM (SELECT id, row_number() OVER (ORDER BY freshness_at, id) AS number FROM listings WHERE content_hash IS NOT NULL) AS n
WHERE l.id = n.id AND n.number >= 1024;

-- Each word, and the category as `=name`, after the place it is in: `17/` for slice 17, `2s/` for the slices from 128 to 191, and `92p/` for the
-- prices from e^(92/8) to e^(93/8). A word too long to be looked for is left out.
CREATE FUNCTION listing_keys(search TSVECTOR, slice INTEGER, category TEXT, price BIGINT) RETURNS TSVECTOR LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_to_tsvector(array_agg(place || word)) FROM unnest(tsvector_to_array(search) || ('=' || category)) AS word,
        unnest(ARRAY[slice || '/', slice / 64 || 's/', floor(ln(price::double precision) * 8) || 'p/']) AS place WHERE octet_length(word) < 1900
$$;
SET LOCAL maintenance_work_mem = '512MB';
-- What is new is found at once: a list of what is still to be sorted in would be gone through for each slice.
CREATE INDEX listings_keys ON listings USING gin (listing_keys(search, slice, category, price)) WITH (fastupdate = off) WHERE status = 'active';
ALTER INDEX listings_keys ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX listings_search SET (fastupdate = off);

CREATE TYPE listing_filter AS (
    words TSQUERY, category TEXT, min_price BIGINT, max_price BIGINT, seller_id UUID, min_quality INTEGER, since TIMESTAMPTZ, tags TEXT[]
);
COMMENT ON TYPE listing_filter IS 'What a search asks of an active listing; null for what it does not.';

CREATE FUNCTION listing_fits(l listings, f listing_filter) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT l.search @@ f.words AND (l.expires_at IS NULL OR l.expires_at > now())
        AND (f.category IS NULL OR l.category = f.category)
        AND (f.min_price IS NULL OR l.price >= f.min_price) AND (f.max_price IS NULL OR l.price <= f.max_price)
        AND (f.seller_id IS NULL OR l.seller_id = f.seller_id)
        AND (f.min_quality IS NULL OR coalesce(l.quality, -1) >= f.min_quality)
        AND (f.since IS NULL OR l.freshness_at > f.since)
        AND (f.tags IS NULL OR l.tags @> f.tags)
$$;

-- What to look for in listing_keys, with U&'\0001' where the place is to be; null where no word must be there. Whether words are next to each other
-- and what must not be there is left to listing_fits.
CREATE FUNCTION listing_places(f listing_filter) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT '(' || regexp_replace(regexp_replace(nullif(querytree(f.words), 'T'), '<(-|\d+)>', '&', 'g'), '''((?:[^'']|'''')+)''', E'''\x01\\1''', 'g') || ')'
        || coalesce(E' & ''\x01=' || f.category || '''', '')
$$;

-- The newest that fit, of whole slices: from the one below `below` down to `ended`. It ends when there are `most`, or `enough` after as much work as is
-- good, or at `until`. Of the first slice only those whose content came before `before`, if that is not null. First it looks at slices; where they
-- have little at 64 at once; and at all when there is little in these. `most` may be exceeded by what is in one look.
CREATE FUNCTION listings_newest(
    f listing_filter, below INTEGER, until INTEGER, before TIMESTAMPTZ, before_id UUID, enough INTEGER, most INTEGER,
    OUT ids UUID[], OUT ranks BIGINT[], OUT began INTEGER, OUT ended INTEGER
) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    places TEXT := listing_places(f);
    one_word BOOLEAN := numnode(f.words) = 1;
    width INTEGER := 1;
    top INTEGER;
    keys TSQUERY;
    looks INTEGER := 0;
    work INTEGER := 0;
    looked_at INTEGER := 0;
    had INTEGER;
    fit_ids UUID[];
    fit_ranks BIGINT[];
BEGIN
    ids := '{}';
    ranks := '{}';
    began := least(below, coalesce((SELECT max(slice) + 1 FROM listings WHERE status = 'active'), 0));
    ended := began;
    IF numnode(f.words) = 0 THEN
        ended := until;
    END IF;
    WHILE ended > until AND (cardinality(ids) < enough OR (cardinality(ids) < most AND looked_at < 600 AND work < 12)) LOOP
        top := ended;
        IF f.seller_id IS NOT NULL THEN
            -- All that the seller has, of which there is not much.
            ended := until;
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.rank IS NOT NULL), array_agg(s.rank) FILTER (WHERE s.rank IS NOT NULL) INTO had, fit_ids, fit_ranks
            FROM (SELECT l.id, CASE WHEN listing_fits(l, f) AND l.slice >= until AND l.slice < top
                          AND (before IS NULL OR l.slice < below - 1 OR (l.freshness_at, l.id) < (before, before_id))
                      THEN (ts_rank(l.search, f.words) * 1000000)::bigint END AS rank
                  FROM listings AS l WHERE l.status = 'active' AND l.seller_id = f.seller_id) AS s;
        ELSIF places IS NULL THEN
            ended := top - 1;
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.rank IS NOT NULL), array_agg(s.rank) FILTER (WHERE s.rank IS NOT NULL) INTO had, fit_ids, fit_ranks
            FROM (SELECT l.id, CASE WHEN listing_fits(l, f) AND (before IS NULL OR l.slice < below - 1 OR (l.freshness_at, l.id) < (before, before_id))
                      THEN (ts_rank(l.search, f.words) * 1000000)::bigint END AS rank
                  FROM listings AS l WHERE l.status = 'active' AND l.slice = top - 1) AS s;
        ELSIF width = 0 THEN
            ended := until;
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.rank IS NOT NULL), array_agg(s.rank) FILTER (WHERE s.rank IS NOT NULL) INTO had, fit_ids, fit_ranks
            FROM (SELECT l.id, CASE WHEN listing_fits(l, f) AND l.slice >= until AND l.slice < top
                          AND (before IS NULL OR l.slice < below - 1 OR (l.freshness_at, l.id) < (before, before_id))
                      THEN (ts_rank(l.search, f.words) * 1000000)::bigint END AS rank
                  FROM listings AS l WHERE l.status = 'active' AND l.search @@ f.words LIMIT 2049) AS s;
        ELSE
            IF width = 1 THEN
                ended := top - 1;
                keys := replace(places, E'\x01', ended || '/')::tsquery;
            ELSE
                ended := greatest((top - 1) / 64 * 64, until);
                keys := replace(places, E'\x01', (top - 1) / 64 || 's/')::tsquery;
            END IF;
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.rank IS NOT NULL), array_agg(s.rank) FILTER (WHERE s.rank IS NOT NULL) INTO had, fit_ids, fit_ranks
            FROM (SELECT l.id, CASE WHEN listing_fits(l, f) AND l.slice >= until AND l.slice < top
                          AND (before IS NULL OR l.slice < below - 1 OR (l.freshness_at, l.id) < (before, before_id))
                      THEN (ts_rank(l.search, f.words) * 1000000)::bigint END AS rank
                  FROM listings AS l WHERE l.status = 'active' AND listing_keys(l.search, l.slice, l.category, l.price) @@ keys LIMIT 2049) AS s;
        END IF;
        IF had > 2048 AND width <> 1 THEN
            -- There is more than the newest let expect: slice by slice, then.
            ended := top;
            width := 1;
            looks := 3;
            CONTINUE;
        END IF;
        IF fit_ids IS NOT NULL THEN
            ids := ids || fit_ids;
            ranks := ranks || fit_ranks;
        END IF;
        looks := looks + 1;
        looked_at := looked_at + had;
        work := work + CASE width WHEN 1 THEN 1 ELSE 4 END;
        IF ended <= until THEN
            EXIT;
        ELSIF width = 1 AND looks = 2 AND looked_at <= 16 THEN
            width := 64;
        ELSIF width = 64 AND had * (ended / (top - ended) + 1) < (CASE WHEN one_word THEN 300 ELSE 60 END) THEN
            width := 0;
        END IF;
    END LOOP;
END $$;

-- The cheapest that fit (or the dearest) after a price and an id: at least `enough`, if there are so many, and all that come before the last of them.
-- First it goes along the prices; when few there have the words, it looks for these band by band; and at all when few have them.
CREATE FUNCTION listings_priced(f listing_filter, up BOOLEAN, after BIGINT, after_id UUID, enough INTEGER, OUT ids UUID[])
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    places TEXT := listing_places(f);
    price_at BIGINT := after;
    id_at UUID := after_id;
    band INTEGER;
    band_to INTEGER;
    band_last INTEGER;
    width INTEGER := 1;
    keys TSQUERY;
    had INTEGER;
    fit_ids UUID[];
    along_ids UUID[];
BEGIN
    ids := '{}';
    IF numnode(f.words) = 0 THEN
        RETURN;
    END IF;
    IF price_at IS NULL THEN
        price_at := CASE WHEN up THEN coalesce(f.min_price, 1) - 1 ELSE coalesce(f.max_price, 9223372036854775806) END;
        id_at := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    END IF;
    LOOP
        EXECUTE format(
            'SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), (array_agg(s.price))[count(*)], (array_agg(s.id))[count(*)]
             FROM (SELECT l.id, l.price, listing_fits(l, $1) AS fits FROM listings AS l
                   WHERE l.status = ''active'' AND (l.price, l.id) %s ($2, $3) %s %s ORDER BY l.price %s, l.id %4$s LIMIT 300) AS s',
            CASE WHEN up THEN '>' ELSE '<' END, CASE WHEN f.category IS NOT NULL THEN 'AND l.category = $4' ELSE '' END,
            CASE WHEN up AND f.max_price IS NOT NULL THEN 'AND l.price <= $5' WHEN NOT up AND f.min_price IS NOT NULL THEN 'AND l.price >= $6' ELSE '' END,
            CASE WHEN up THEN 'ASC' ELSE 'DESC' END)
        INTO had, fit_ids, price_at, id_at USING f, price_at, id_at, f.category, f.max_price, f.min_price;
        ids := ids || coalesce(fit_ids, '{}');
        IF had < 300 OR cardinality(ids) >= enough THEN
            RETURN;
        END IF;
        -- Where no word must be there, nearly all fit.
        EXIT WHEN places IS NOT NULL;
    END LOOP;
    along_ids := ids;
    band := floor(ln(price_at::double precision) * 8);
    band_last := floor(ln((CASE
        WHEN up THEN coalesce(f.max_price, (SELECT max(price) FROM listings WHERE status = 'active'))
        ELSE coalesce(f.min_price, (SELECT min(price) FROM listings WHERE status = 'active')) END)::double precision) * 8);
    LOOP
        band_to := CASE WHEN up THEN least(band + width - 1, band_last) ELSE greatest(band - width + 1, band_last) END;
        IF width > 4 THEN
            -- So few that all of them are no more work.
            SELECT array_agg(l.id) INTO fit_ids FROM listings AS l
            WHERE l.status = 'active' AND l.search @@ f.words AND listing_fits(l, f)
                AND CASE WHEN up THEN (l.price, l.id) > (price_at, id_at) ELSE (l.price, l.id) < (price_at, id_at) END;
            ids := coalesce(along_ids || fit_ids, along_ids);
            EXIT;
        END IF;
        keys := (SELECT string_agg(replace(places, E'\x01', n || 'p/'), '|') FROM generate_series(least(band, band_to), greatest(band, band_to)) AS n)::tsquery;
        SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits) INTO had, fit_ids
        FROM (SELECT l.id, listing_fits(l, f) AND CASE WHEN up THEN (l.price, l.id) > (price_at, id_at) ELSE (l.price, l.id) < (price_at, id_at) END AS fits
              FROM listings AS l WHERE l.status = 'active' AND listing_keys(l.search, l.slice, l.category, l.price) @@ keys) AS s;
        ids := ids || coalesce(fit_ids, '{}');
        EXIT WHEN cardinality(ids) >= enough OR band_to = band_last;
        band := CASE WHEN up THEN band_to + 1 ELSE band_to - 1 END;
        width := CASE WHEN had > 5 THEN width ELSE width * 4 END;
    END LOOP;
END $$;

-- Freshest first is slice by slice.
CREATE INDEX listings_slice ON listings (slice, freshness_at, id) WHERE status = 'active';
DROP INDEX listings_fresh;
