use api::{Category, Discover, Listing, Page, SortBy};
use money::{Bps, Usdc};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{after::After, meaning::Meaning, words};
use crate::{db, input, listings, problem::Problem};

/// Listings that are ranked together: so many, or a page of them when more would be too much work. What one look finds is not divided.
const RANKED_MAX: i32 = 100;
/// More than these and one look are in no window, unless its bounds are made up.
const WINDOW_MAX: i32 = 4_096;
/// Listings without the words are looked for by their meaning among so many of the newest.
const MEANINGS_MAX: i64 = 20_000;
/// Of these, the nearest so many are held against what else was asked for.
const NEAR_MAX: i64 = 500;
/// What nearness in meaning counts at most, in millionths, as the rank by words does; and the bits that differ at a right angle, where it counts nothing.
const NEARNESS: i64 = 2_000_000;
const UNRELATED: i64 = 512;
/// Older than anything here.
const AGE_MAX_HOURS: u32 = 1_000_000;
const TAGS_MAX: usize = 20;
/// What a listing is read from. Not `l.*`: sqlx would ask the server for the type of `search` it does not know, and a statement without a name
/// is gone after that.
const COLUMNS: &str = "l.id, l.seller_id, l.title, l.description, l.category, l.tags, l.price, l.metadata, l.content_type, l.content_hash, l.content_size,
    l.status, l.created_at, l.updated_at, l.version, l.quality, l.freshness_at, l.expires_at, a.wallet AS seller_wallet, a.creator_id";

/// The listings whose ids a function found, with their sellers.
const FOUND: &str =
    " CROSS JOIN unnest(w.ids) AS found (id) JOIN listings AS l ON l.id = found.id JOIN agents AS a ON a.id = l.seller_id";

/// Which active listings are looked for, and in which order.
///
/// What goes by words and has an order of its own is done by functions of the database, whose plans stay. The other statements are planned each time
/// they are asked (`persistent(false)`): whether to go by the words or by the order depends on how many listings have the words, which one plan for
/// all words would not know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) words: Option<String>,
    pub(crate) category: Option<Category>,
    pub(crate) min_price: Option<Usdc>,
    pub(crate) max_price: Option<Usdc>,
    seller_id: Option<Uuid>,
    min_quality: Option<Bps>,
    max_age_hours: Option<u32>,
    tags: Vec<String>,
    sort_by: SortBy,
}

/// Slices whose listings are ranked together: those below a number, until another that is 0 when it is to be found. And after which rank and id of it.
struct Window {
    below: i32,
    until: i32,
    position: Option<(i64, Uuid)>,
}

/// What a search means, by which model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sense<'a> {
    pub(super) model: &'a str,
    pub(super) meaning: Meaning,
}

impl Search {
    pub(crate) fn new(asked: &Discover) -> Result<Self, Problem> {
        let tags: Vec<_> = asked.tags.iter().flat_map(|tags| tags.split(',')).map(|tag| tag.trim().to_owned()).collect();
        if tags.len() > TAGS_MAX {
            return Err(Problem::invalid(format!("at most {TAGS_MAX} tags")));
        }
        Ok(Self {
            words: words(asked.q.as_deref())?,
            category: asked.category,
            min_price: asked.min_price,
            max_price: asked.max_price,
            seller_id: asked.seller_id,
            min_quality: asked.min_quality_bps,
            max_age_hours: asked.max_age_hours,
            tags,
            sort_by: asked.sort_by,
        })
    }

    /// The words that listings are ranked by; none in another order.
    pub(super) fn ranked_by(&self) -> Option<&str> {
        self.words.as_deref().filter(|_| self.sort_by == SortBy::Relevance)
    }

    /// A page: rows to skip and to show, after a cursor. What the search means, if that is known, counts in the order by relevance.
    pub(super) async fn page(
        &self,
        conn: &mut PgConnection,
        sense: Option<Sense<'_>>,
        cursor: Option<&str>,
        place: (i64, usize),
    ) -> Result<Page<Listing>, Problem> {
        let after = cursor.map(|cursor| After::read(cursor).ok_or_else(bad_cursor)).transpose()?;
        match self.ranked_by() {
            Some(words) => self.ranked(conn, (words, sense), after, place).await,
            None => self.ordered(conn, after, place).await,
        }
    }

    /// In an order that has an index.
    async fn ordered(
        &self,
        conn: &mut PgConnection,
        after: Option<After>,
        (skip, limit): (i64, usize),
    ) -> Result<Page<Listing>, Problem> {
        // To the microsecond, which is what a cursor can carry exactly.
        let (order, key) = match self.sort_by {
            SortBy::PriceAsc => ("l.price, l.id", "l.price"),
            SortBy::PriceDesc => ("l.price DESC, l.id DESC", "l.price"),
            SortBy::Quality => ("coalesce(l.quality, -1) DESC, l.id DESC", "coalesce(l.quality, -1)::bigint"),
            SortBy::Freshness => {
                ("l.slice DESC, l.freshness_at DESC, l.id DESC", "(extract(epoch FROM l.freshness_at) * 1000000)::bigint")
            }
            SortBy::Relevance => ("l.id DESC", "0::bigint"),
        };
        let mut query = QueryBuilder::new("SELECT ");
        query.push(COLUMNS).push(", l.slice, ").push(key).push(" AS sort_key FROM ");
        let enough = i32::try_from(skip + limit as i64 + 1).unwrap_or(i32::MAX);
        // What one seller has, or few have, is collected by its own index.
        let words = self.words.as_deref().filter(|_| self.seller_id.is_none() && self.tags.is_empty());
        let keeps_plan = match (words, self.sort_by) {
            (Some(words), SortBy::PriceAsc | SortBy::PriceDesc) => {
                self.priced(&mut query, words, after, enough)?;
                true
            }
            (Some(words), SortBy::Freshness) => {
                self.freshest(&mut query, words, after, enough)?;
                true
            }
            _ => {
                query.push("listings AS l JOIN agents AS a ON a.id = l.seller_id");
                self.conditions(&mut query);
                self.beyond(&mut query, after)?;
                false
            }
        };
        query.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(limit as i64 + 1).push(" OFFSET ").push_bind(skip);
        let rows = query.build().persistent(keeps_plan).fetch_all(conn).await?;
        let found = rows
            .iter()
            .map(|row| Ok((row.try_get::<i32, _>("slice")?, row.try_get::<i64, _>("sort_key")?, listings::listing(row)?)));
        let found = found.collect::<sqlx::Result<Vec<_>>>()?;
        let page = input::page(found, limit, |(slice, key, listing)| match self.sort_by {
            SortBy::Freshness => After::Fresh { slice: *slice, at: *key, id: listing.id }.write(),
            _ => After::Row(*key, listing.id).write(),
        });
        Ok(Page { data: page.data.into_iter().map(|(_, _, listing)| listing).collect(), next_cursor: page.next_cursor })
    }

    /// The condition to come after a place in the order.
    fn beyond(&self, query: &mut QueryBuilder<Postgres>, after: Option<After>) -> Result<(), Problem> {
        match (after, self.sort_by) {
            (None, _) => {}
            (Some(After::Row(_, id)), SortBy::Relevance) => {
                query.push(" AND l.id < ").push_bind(id);
            }
            (Some(After::Row(key, id)), SortBy::PriceAsc) => {
                query.push(" AND (l.price, l.id) > (").push_bind(key).push(", ").push_bind(id).push(")");
            }
            (Some(After::Row(key, id)), SortBy::PriceDesc) => {
                query.push(" AND (l.price, l.id) < (").push_bind(key).push(", ").push_bind(id).push(")");
            }
            (Some(After::Row(key, id)), SortBy::Quality) => {
                query.push(" AND (coalesce(l.quality, -1), l.id) < (").push_bind(i32::try_from(key).unwrap_or(i32::MAX));
                query.push(", ").push_bind(id).push(")");
            }
            (Some(After::Fresh { slice, at, id }), SortBy::Freshness) => {
                query.push(" AND (l.slice, l.freshness_at, l.id) < (").push_bind(slice).push(", ").push_bind(time_at(at)?);
                query.push(", ").push_bind(id).push(")");
            }
            _ => return Err(another_order()),
        }
        Ok(())
    }

    /// The cheapest or dearest that match, as `l`, with their sellers as `a`.
    fn priced(&self, query: &mut QueryBuilder<Postgres>, words: &str, after: Option<After>, enough: i32) -> Result<(), Problem> {
        let (price, id) = match after {
            None => (None, None),
            Some(After::Row(price, id)) => (Some(price), Some(id)),
            Some(_) => return Err(another_order()),
        };
        query.push("listings_priced(");
        self.filter(query, words);
        query.push(", ").push_bind(self.sort_by == SortBy::PriceAsc).push(", ").push_bind(price).push(", ").push_bind(id);
        query.push(", ").push_bind(enough).push(") AS w").push(FOUND);
        Ok(())
    }

    /// The same of those whose content is the newest.
    fn freshest(
        &self,
        query: &mut QueryBuilder<Postgres>,
        words: &str,
        after: Option<After>,
        enough: i32,
    ) -> Result<(), Problem> {
        let (below, before, id) = match after {
            None => (i32::MAX, None, None),
            Some(After::Fresh { slice, at, id }) => (slice.saturating_add(1), Some(time_at(at)?), Some(id)),
            Some(_) => return Err(another_order()),
        };
        query.push("listings_newest(");
        self.filter(query, words);
        query.push(", ").push_bind(below).push(", 0, ").push_bind(before).push(", ").push_bind(id).push(", ");
        query.push_bind(enough).push(", ").push_bind(enough).push(") AS w").push(FOUND);
        Ok(())
    }

    /// Best match first, window by window: whole slices, whatever the page, so that no page depends on where another ended.
    async fn ranked(
        &self,
        conn: &mut PgConnection,
        (words, sense): (&str, Option<Sense<'_>>),
        after: Option<After>,
        (mut skip, limit): (i64, usize),
    ) -> Result<Page<Listing>, Problem> {
        let mut window = match after {
            None => Window { below: i32::MAX, until: 0, position: None },
            Some(After::Window(below)) => Window { below, until: 0, position: None },
            Some(After::Ranked { below, until, rank, id }) => Window { below, until, position: Some((rank, id)) },
            Some(_) => return Err(another_order()),
        };
        let mut data = Vec::new();
        let next = loop {
            let room = limit - data.len();
            let rows = self.window(&mut *conn, (words, sense), &window, (skip, limit, room)).await?;
            let Some(first) = rows.first() else { break None };
            let (below, until): (i32, i32) = (first.try_get("began")?, first.try_get("ended")?);
            let found: i32 = first.try_get("found")?;
            // A window without any has a row without a listing.
            let is_listing = first.try_get::<Option<i64>, _>("sort_key")?.is_some();
            let shown = rows.iter().take(if is_listing { room } else { 0 });
            data.extend(shown.map(listings::listing).collect::<sqlx::Result<Vec<_>>>()?);
            if rows.len() > room {
                let last = &rows[room - 1];
                break Some(After::Ranked { below, until, rank: last.try_get("sort_key")?, id: last.try_get("id")? });
            }
            if until <= 0 {
                break None;
            }
            if data.len() == limit {
                break Some(After::Window(until));
            }
            skip = (skip - i64::from(found)).max(0);
            window = Window { below: until, until: 0, position: None };
        };
        let next_cursor = next.map(|next| match sense {
            Some(Sense { meaning, .. }) => meaning.write(next.write()),
            None => next.write(),
        });
        Ok(Page { data, next_cursor })
    }

    /// The best of a window with its bounds and how many it has: one more than there is room for. Where a page goes on in a window, that is taken as
    /// it was.
    async fn window(
        &self,
        conn: &mut PgConnection,
        (words, sense): (&str, Option<Sense<'_>>),
        Window { below, until, position }: &Window,
        (skip, limit, room): (i64, usize, usize),
    ) -> sqlx::Result<Vec<PgRow>> {
        let (enough, most) = if position.is_some() { (WINDOW_MAX, WINDOW_MAX) } else { (limit as i32 + 1, RANKED_MAX) };
        let mut query = QueryBuilder::new("SELECT ");
        query.push(COLUMNS).push(", r.sort_key, w.began, w.ended, cardinality(w.ids) AS found FROM listings_newest(");
        self.filter(&mut query, words);
        query.push(", ").push_bind(*below).push(", ").push_bind(*until).push(", NULL, NULL, ");
        query.push_bind(enough).push(", ").push_bind(most);
        query.push(") AS w LEFT JOIN LATERAL (SELECT * FROM (SELECT n.id, n.rank");
        if let Some(Sense { meaning, .. }) = sense {
            // Without a meaning, 0 is the greatest.
            query.push(" + greatest(").push(UNRELATED).push(" - bit_count(m.bits # ").push_bind(meaning.bit_string());
            query.push("::text::bit(1024)), 0) * ").push(NEARNESS).push(" / ").push(UNRELATED);
        }
        query.push(" AS sort_key FROM unnest(w.ids, w.ranks) AS n (id, rank)");
        if let Some(Sense { model, meaning }) = sense {
            query.push(" LEFT JOIN listing_meanings AS m ON m.listing_id = n.id AND m.model = ").push_bind(model);
            query.push(" AND m.dimension = ").push_bind(meaning.dimension());
        }
        query.push(") AS scored");
        if let Some((rank, id)) = position {
            query.push(" WHERE (sort_key, id) < (").push_bind(*rank).push(", ").push_bind(*id).push(")");
        }
        query.push(" ORDER BY sort_key DESC, id DESC LIMIT ").push_bind(room as i64 + 1).push(" OFFSET ").push_bind(skip);
        query.push(
            ") AS r ON TRUE LEFT JOIN listings AS l ON l.id = r.id LEFT JOIN agents AS a ON a.id = l.seller_id
             ORDER BY r.sort_key DESC, l.id DESC",
        );
        query.build().fetch_all(conn).await
    }

    /// What is nearest in meaning, whatever its words, among the newest that have one: at most `limit` besides those `found`, of which at most `far_max`
    /// bits differ.
    pub(super) async fn nearest(
        &self,
        conn: &mut PgConnection,
        Sense { model, meaning }: Sense<'_>,
        far_max: i64,
        found: &[Listing],
        limit: usize,
    ) -> sqlx::Result<Vec<Listing>> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(COLUMNS).push(" FROM (SELECT listing_id, far FROM (SELECT listing_id, bit_count(bits # ");
        query
            .push_bind(meaning.bit_string())
            .push("::text::bit(1024)) AS far FROM (SELECT * FROM listing_meanings ORDER BY listing_id DESC LIMIT ");
        query.push_bind(MEANINGS_MAX).push(") AS newest WHERE model = ").push_bind(model).push(" AND dimension = ");
        query.push_bind(meaning.dimension()).push(") AS measured WHERE far <= ").push_bind(far_max);
        query.push(" ORDER BY far, listing_id DESC LIMIT ").push_bind(NEAR_MAX);
        query.push(") AS near JOIN listings AS l ON l.id = near.listing_id JOIN agents AS a ON a.id = l.seller_id");
        Self { words: None, ..self.clone() }.conditions(&mut query);
        query.push(" AND l.id <> ALL(").push_bind(found.iter().map(|listing| listing.id).collect::<Vec<_>>());
        query.push(") ORDER BY near.far, l.id DESC LIMIT ").push_bind(limit as i64);
        query.build().persistent(false).fetch_all(conn).await?.iter().map(listings::listing).collect()
    }

    /// The newest that match, at most so many: their rows of `listings` as `l`, with these columns.
    pub(crate) fn newest(&self, columns: &str, most: usize) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(columns).push(" FROM ");
        if let Some(words) = &self.words {
            query.push("listings_newest(");
            self.filter(&mut query, words);
            query
                .push(", ")
                .push_bind(i32::MAX)
                .push(", 0, NULL, NULL, ")
                .push_bind(most as i32)
                .push(", ")
                .push_bind(most as i32);
            query.push(") AS w").push(FOUND);
        } else {
            query.push("listings AS l");
            self.conditions(&mut query);
            query.push(" ORDER BY l.id DESC");
        }
        query.push(" LIMIT ").push_bind(most as i64);
        query
    }

    /// What is asked of a listing, as functions of the database take it.
    fn filter(&self, query: &mut QueryBuilder<Postgres>, words: &str) {
        query.push("ROW(websearch_to_tsquery('english', ").push_bind(words.to_owned()).push("), ");
        // Of nothing there is no logarithm, by which prices are in bands, and nothing is cheaper.
        let min_price = self.min_price.map(units).filter(|price| *price > 0);
        query.push_bind(self.category.map(db::name_of)).push(", ").push_bind(min_price).push(", ");
        query.push_bind(self.max_price.map(units)).push(", ").push_bind(self.seller_id).push(", ");
        let quality = self.min_quality.filter(|quality| quality.get() > 0);
        query.push_bind(quality.map(|quality| i32::from(quality.get()))).push(", now() - make_interval(hours => ");
        query.push_bind(self.max_age_hours.map(|hours| hours.min(AGE_MAX_HOURS).cast_signed())).push("), ");
        query.push_bind(Some(&self.tags).filter(|tags| !tags.is_empty()).cloned()).push(")::listing_filter");
    }

    pub(crate) fn conditions(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" WHERE l.status = 'active' AND (l.expires_at IS NULL OR l.expires_at > now())");
        if let Some(words) = &self.words {
            query.push(" AND l.search @@ websearch_to_tsquery('english', ").push_bind(words.clone()).push(")");
        }
        if let Some(category) = self.category {
            query.push(" AND l.category = ").push_bind(db::name_of(category));
        }
        if let Some(price) = self.min_price {
            query.push(" AND l.price >= ").push_bind(units(price));
        }
        if let Some(price) = self.max_price {
            query.push(" AND l.price <= ").push_bind(units(price));
        }
        if let Some(seller) = self.seller_id {
            query.push(" AND l.seller_id = ").push_bind(seller);
        }
        if let Some(quality) = self.min_quality.filter(|quality| quality.get() > 0) {
            // As the index has it.
            query.push(" AND coalesce(l.quality, -1) >= ").push_bind(i32::from(quality.get()));
        }
        if let Some(hours) = self.max_age_hours {
            query.push(" AND l.freshness_at > now() - make_interval(hours => ");
            query.push_bind(hours.min(AGE_MAX_HOURS).cast_signed()).push(")");
        }
        if !self.tags.is_empty() {
            query.push(" AND l.tags @> ").push_bind(self.tags.clone());
        }
    }
}

/// A cursor of something else.
pub(super) fn bad_cursor() -> Problem {
    Problem::invalid("cursor must be the next_cursor of another page of the same search")
}

fn another_order() -> Problem {
    Problem::invalid("cursor is of a search with another order")
}

/// A bound as a column has it; beyond what a column holds, nothing is cut off.
fn units(price: Usdc) -> i64 {
    i64::try_from(price.base_units()).unwrap_or(i64::MAX)
}

fn time_at(micros: i64) -> Result<OffsetDateTime, Problem> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
    time.map_err(|_| Problem::invalid("cursor is of no time there is"))
}
