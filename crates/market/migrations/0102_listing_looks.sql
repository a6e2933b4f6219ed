-- Fewer looks where few have the words, no plans made anew, and no more listings read than a page shows.

-- The newest that fit, of whole slices: from the one below `below` down to `ended`. It ends when there are `most`, or `enough` after as much work as is
-- good, or at `until`. Of the first slice only those whose content came before `before`, if that is not null. First it looks at two slices at a time; where
-- they have little at 64; and at all when there is little in these. `most` may be exceeded by what is in one look.
CREATE OR REPLACE FUNCTION listings_newest(
    f listing_filter, below INTEGER, until INTEGER, before TIMESTAMPTZ, before_id UUID, enough INTEGER, most INTEGER,
    OUT ids UUID[], OUT ranks BIGINT[], OUT began INTEGER, OUT ended INTEGER
) LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    places TEXT := listing_places(f);
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
                ended := greatest(top - 2, until);
                keys := concat_ws('|', replace(places, E'\x01', top - 1 || '/'), CASE WHEN ended < top - 1 THEN replace(places, E'\x01', ended || '/') END)::tsquery;
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
        work := work + CASE width WHEN 1 THEN 2 ELSE 4 END;
        IF ended <= until THEN
            EXIT;
        ELSIF width = 1 AND looks = 1 AND looked_at <= 16 THEN
            width := 64;
        ELSIF width = 64 AND had * (began / (top - ended) + 1) * (CASE WHEN f.category IS NULL THEN 1 ELSE 4 END) < 12 * (ended / 64 + 1) THEN
            -- The index of all has no categories: what it would find is more, but no more work than the looks that are left.
            width := 0;
        END IF;
    END LOOP;
END $$;

-- The cheapest that fit (or the dearest) after a price and an id, in that order, at most `enough`.
-- First it goes along the prices, and on while some there have the words; else it looks for these band by band; and at all when few have them.
CREATE OR REPLACE FUNCTION listings_priced(f listing_filter, up BOOLEAN, after BIGINT, after_id UUID, enough INTEGER, OUT ids UUID[])
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    places TEXT := listing_places(f);
    price_at BIGINT := after;
    id_at UUID := after_id;
    -- Where the prices end.
    price_last BIGINT := CASE WHEN up THEN coalesce(f.max_price, 9223372036854775807) ELSE coalesce(f.min_price, 0) END;
    step INTEGER := CASE WHEN places IS NULL THEN 300 ELSE 60 END;
    band INTEGER;
    band_to INTEGER;
    band_last INTEGER;
    width INTEGER := 1;
    keys TSQUERY;
    had INTEGER;
    prices BIGINT[] := '{}';
    fit_ids UUID[];
    fit_prices BIGINT[];
    along INTEGER;
    many BOOLEAN := FALSE;
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
        -- Each as its index goes.
        IF up AND f.category IS NULL THEN
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits), (array_agg(s.price))[count(*)], (array_agg(s.id))[count(*)]
            INTO had, fit_ids, fit_prices, price_at, id_at
            FROM (SELECT l.id, l.price, listing_fits(l, f) AS fits FROM listings AS l
                  WHERE l.status = 'active' AND (l.price, l.id) > (price_at, id_at) AND l.price <= price_last ORDER BY l.price, l.id LIMIT step) AS s;
        ELSIF up THEN
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits), (array_agg(s.price))[count(*)], (array_agg(s.id))[count(*)]
            INTO had, fit_ids, fit_prices, price_at, id_at
            FROM (SELECT l.id, l.price, listing_fits(l, f) AS fits FROM listings AS l
                  WHERE l.status = 'active' AND l.category = f.category AND (l.price, l.id) > (price_at, id_at) AND l.price <= price_last
                  ORDER BY l.price, l.id LIMIT step) AS s;
        ELSIF f.category IS NULL THEN
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits), (array_agg(s.price))[count(*)], (array_agg(s.id))[count(*)]
            INTO had, fit_ids, fit_prices, price_at, id_at
            FROM (SELECT l.id, l.price, listing_fits(l, f) AS fits FROM listings AS l
                  WHERE l.status = 'active' AND (l.price, l.id) < (price_at, id_at) AND l.price >= price_last ORDER BY l.price DESC, l.id DESC LIMIT step) AS s;
        ELSE
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits), (array_agg(s.price))[count(*)], (array_agg(s.id))[count(*)]
            INTO had, fit_ids, fit_prices, price_at, id_at
            FROM (SELECT l.id, l.price, listing_fits(l, f) AS fits FROM listings AS l
                  WHERE l.status = 'active' AND l.category = f.category AND (l.price, l.id) < (price_at, id_at) AND l.price >= price_last
                  ORDER BY l.price DESC, l.id DESC LIMIT step) AS s;
        END IF;
        ids := ids || coalesce(fit_ids, '{}');
        prices := prices || coalesce(fit_prices, '{}');
        IF had < step OR cardinality(ids) >= enough THEN
            ids := ids[:enough];
            RETURN;
        END IF;
        -- Where no word must be there, nearly all fit.
        CONTINUE WHEN places IS NULL;
        EXIT WHEN step > 60 OR fit_ids IS NULL;
        step := 240;
    END LOOP;
    along := cardinality(ids);
    band := floor(ln(price_at::double precision) * 8);
    band_last := floor(ln((CASE
        WHEN up THEN coalesce(f.max_price, (SELECT max(price) FROM listings WHERE status = 'active'))
        ELSE coalesce(f.min_price, (SELECT min(price) FROM listings WHERE status = 'active')) END)::double precision) * 8);
    LOOP
        band_to := CASE WHEN up THEN least(band + width - 1, band_last) ELSE greatest(band - width + 1, band_last) END;
        IF width > 4 THEN
            -- So few that all of them are no more work, unless it is only here that there are few.
            SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits) INTO had, fit_ids, fit_prices
            FROM (SELECT l.id, l.price, listing_fits(l, f) AND CASE WHEN up THEN (l.price, l.id) > (price_at, id_at) ELSE (l.price, l.id) < (price_at, id_at) END AS fits
                  FROM listings AS l WHERE l.status = 'active' AND l.search @@ f.words LIMIT 2049) AS s;
            many := had > 2048;
            width := 4;
            CONTINUE WHEN many;
            ids := ids[:along] || fit_ids;
            prices := prices[:along] || fit_prices;
            EXIT;
        END IF;
        keys := (SELECT string_agg(replace(places, E'\x01', n || 'p/'), '|') FROM generate_series(least(band, band_to), greatest(band, band_to)) AS n)::tsquery;
        SELECT count(*), array_agg(s.id) FILTER (WHERE s.fits), array_agg(s.price) FILTER (WHERE s.fits) INTO had, fit_ids, fit_prices
        FROM (SELECT l.id, l.price, listing_fits(l, f) AND CASE WHEN up THEN (l.price, l.id) > (price_at, id_at) ELSE (l.price, l.id) < (price_at, id_at) END AS fits
              FROM listings AS l WHERE l.status = 'active' AND listing_keys(l.search, l.slice, l.category, l.price) @@ keys) AS s;
        ids := ids || coalesce(fit_ids, '{}');
        prices := prices || coalesce(fit_prices, '{}');
        EXIT WHEN cardinality(ids) >= enough OR band_to = band_last;
        band := CASE WHEN up THEN band_to + 1 ELSE band_to - 1 END;
        width := CASE WHEN had > 5 OR many AND width = 4 THEN width ELSE width * 4 END;
    END LOOP;
    ids := ARRAY(SELECT n.id FROM unnest(ids, prices) AS n (id, price)
        ORDER BY CASE WHEN up THEN n.price ELSE -n.price END, CASE WHEN up THEN n.id END, CASE WHEN NOT up THEN n.id END DESC LIMIT enough);
END $$;
