use api::{Category, Discover, Listing, Page, SortBy};
use money::{Bps, Usdc};
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{meaning::Meaning, words};
use crate::{db, input, listings, problem::Problem};

/// Listings that are ranked together.
pub(crate) const RANKED_MAX: usize = 500;
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

/// Which active listings are looked for, and in which order.
///
/// Its statements are planned each time they are asked (`persistent(false)`): whether to go by the words or by the order depends on how many
/// listings have the words, which one plan for all words would not know.
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

/// What a search means, by which model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sense<'a> {
    pub(super) model: &'a str,
    pub(super) meaning: Meaning,
}

/// The place in an order after which a page begins.
enum After {
    /// What the rows are ordered by, and the id.
    Row(i64, Uuid),
    /// In the window of listings older than `from` down to `to`, which is nil when that is all: the rank and the id.
    Ranked { from: Uuid, to: Uuid, rank: i64, id: Uuid },
    /// The window of listings older than this.
    Window(Uuid),
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
        pool: &PgPool,
        sense: Option<Sense<'_>>,
        cursor: Option<&str>,
        place: (i64, usize),
    ) -> Result<Page<Listing>, Problem> {
        let after = cursor.map(|cursor| After::read(cursor).ok_or_else(bad_cursor)).transpose()?;
        match self.ranked_by() {
            Some(words) => self.ranked(pool, (words, sense), after, place).await,
            None => self.ordered(pool, after, place).await,
        }
    }

    /// In an order that has an index.
    async fn ordered(&self, pool: &PgPool, after: Option<After>, (skip, limit): (i64, usize)) -> Result<Page<Listing>, Problem> {
        // To the microsecond, which is what a cursor can carry exactly.
        let (column, number, up) = match self.sort_by {
            SortBy::PriceAsc => ("l.price", "l.price", true),
            SortBy::PriceDesc => ("l.price", "l.price", false),
            SortBy::Quality => ("coalesce(l.quality, -1)", "coalesce(l.quality, -1)::bigint", false),
            SortBy::Freshness => ("l.freshness_at", "(extract(epoch FROM l.freshness_at) * 1000000)::bigint", false),
            SortBy::Relevance => ("l.id", "0::bigint", false),
        };
        let (sign, direction) = if up { (">", "ASC") } else { ("<", "DESC") };
        let mut query = QueryBuilder::new("SELECT ");
        query
            .push(COLUMNS)
            .push(", ")
            .push(number)
            .push(" AS sort_key FROM listings AS l JOIN agents AS a ON a.id = l.seller_id");
        self.conditions(&mut query);
        match (after, self.sort_by) {
            (None, _) => {}
            (Some(After::Row(_, id)), SortBy::Relevance) => {
                query.push(" AND l.id < ").push_bind(id);
            }
            (Some(After::Row(key, id)), order) => {
                query.push(" AND (").push(column).push(", l.id) ").push(sign).push(" (");
                match order {
                    SortBy::Freshness => query.push_bind(at(key)?),
                    SortBy::Quality => query.push_bind(i32::try_from(key).unwrap_or(i32::MAX)),
                    _ => query.push_bind(key),
                };
                query.push(", ").push_bind(id).push(")");
            }
            (Some(_), _) => return Err(Problem::invalid("cursor is of a search with another order")),
        }
        query.push(" ORDER BY ").push(column).push(" ").push(direction);
        if self.sort_by != SortBy::Relevance {
            query.push(", l.id ").push(direction);
        }
        query.push(" LIMIT ").push_bind(limit as i64 + 1).push(" OFFSET ").push_bind(skip);
        let rows = query.build().persistent(false).fetch_all(pool).await?;
        let found = rows.iter().map(|row| Ok((row.try_get::<i64, _>("sort_key")?, listings::listing(row)?)));
        let page =
            input::page(found.collect::<sqlx::Result<Vec<_>>>()?, limit, |(key, listing)| After::Row(*key, listing.id).write());
        Ok(Page { data: page.data.into_iter().map(|(_, listing)| listing).collect(), next_cursor: page.next_cursor })
    }

    /// Best match first, window by window.
    async fn ranked(
        &self,
        pool: &PgPool,
        (words, sense): (&str, Option<Sense<'_>>),
        after: Option<After>,
        (skip, limit): (i64, usize),
    ) -> Result<Page<Listing>, Problem> {
        // A whole number of pages, so that those that are asked for by their number do not fall between two windows.
        let window = (RANKED_MAX / limit * limit) as i64;
        let mut query = QueryBuilder::new("SELECT ");
        query.push(COLUMNS).push(
            ", ranked.sort_key, ranked.last, ranked.of
             FROM (SELECT * FROM (SELECT id, (ts_rank(search, websearch_to_tsquery('english', ",
        );
        query.push_bind(words).push(")) * 1000000)::bigint");
        if let Some(Sense { meaning, .. }) = sense {
            // Without a meaning, 0 is the greatest.
            query.push(" + greatest(").push(UNRELATED).push(" - bit_count(m.bits # ").push_bind(meaning.bit_string());
            query.push("::text::bit(1024)), 0) * ").push(NEARNESS).push(" / ").push(UNRELATED);
        }
        query.push(
            " AS sort_key, (min(id::text) OVER ())::uuid AS last, count(*) OVER () AS of
             FROM (SELECT l.id, l.search FROM listings AS l",
        );
        self.conditions(&mut query);
        let (mut from, mut to, mut position) = (Uuid::max(), Uuid::nil(), None);
        match after {
            None => {}
            Some(After::Window(start)) => from = start,
            Some(After::Ranked { from: start, to: end, rank, id }) => {
                (from, to, position) = (start, end, Some((rank, id)));
                query.push(" AND l.id >= ").push_bind(to);
            }
            Some(After::Row(..)) => return Err(Problem::invalid("cursor is of a search with another order")),
        }
        query.push(" AND l.id < ").push_bind(from);
        query.push(" ORDER BY l.id DESC LIMIT ").push_bind(window).push(" OFFSET ").push_bind(skip / window * window);
        query.push(") AS newest");
        if let Some(Sense { model, meaning }) = sense {
            query.push(" LEFT JOIN listing_meanings AS m ON m.listing_id = newest.id AND m.model = ").push_bind(model);
            query.push(" AND m.dimension = ").push_bind(meaning.dimension());
        }
        query.push(") AS scored");
        if let Some((rank, id)) = position {
            query.push(" WHERE (sort_key, id) < (").push_bind(rank).push(", ").push_bind(id).push(")");
        }
        query.push(" ORDER BY sort_key DESC, id DESC LIMIT ").push_bind(limit as i64 + 1);
        query.push(" OFFSET ").push_bind(skip % window);
        query.push(
            ") AS ranked JOIN listings AS l ON l.id = ranked.id JOIN agents AS a ON a.id = l.seller_id
             ORDER BY ranked.sort_key DESC, l.id DESC",
        );
        let rows = query.build().persistent(false).fetch_all(pool).await?;
        if let (None, Some(first)) = (position, rows.first())
            && first.try_get::<i64, _>("of")? == window
        {
            to = first.try_get("last")?;
        }
        let found = rows.iter().map(|row| Ok((row.try_get::<i64, _>("sort_key")?, listings::listing(row)?)));
        let mut page = input::page(found.collect::<sqlx::Result<Vec<_>>>()?, limit, |(rank, listing)| {
            After::Ranked { from, to, rank: *rank, id: listing.id }.write()
        });
        if page.next_cursor.is_none() && !to.is_nil() {
            page.next_cursor = Some(After::Window(to).write());
        }
        let next_cursor = page.next_cursor.map(|cursor| match sense {
            Some(Sense { meaning, .. }) => meaning.write(cursor),
            None => cursor,
        });
        Ok(Page { data: page.data.into_iter().map(|(_, listing)| listing).collect(), next_cursor })
    }

    /// What is nearest in meaning, whatever its words, among the newest that have one: at most `limit` besides those `found`, of which at most `far_max`
    /// bits differ.
    pub(super) async fn nearest(
        &self,
        pool: &PgPool,
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
        query.build().persistent(false).fetch_all(pool).await?.iter().map(listings::listing).collect()
    }

    /// The newest that match, at most so many: their rows of `listings` as `l`, with these columns.
    pub(crate) fn newest(&self, columns: &str, most: usize) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(columns).push(" FROM listings AS l");
        self.conditions(&mut query);
        query.push(" ORDER BY l.id DESC LIMIT ").push_bind(most as i64);
        query
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

impl After {
    fn read(cursor: &str) -> Option<Self> {
        let parts: Vec<_> = cursor.split('_').collect();
        Some(match &parts[..] {
            [from] => Self::Window(from.parse().ok()?),
            [key, id] => Self::Row(key.parse().ok()?, id.parse().ok()?),
            [from, to, rank, id] => {
                Self::Ranked { from: from.parse().ok()?, to: to.parse().ok()?, rank: rank.parse().ok()?, id: id.parse().ok()? }
            }
            _ => return None,
        })
    }

    fn write(&self) -> String {
        match self {
            Self::Row(key, id) => format!("{key}_{id}"),
            Self::Ranked { from, to, rank, id } => format!("{from}_{to}_{rank}_{id}"),
            Self::Window(from) => from.to_string(),
        }
    }
}

/// A bound as a column has it; beyond what a column holds, nothing is cut off.
fn units(price: Usdc) -> i64 {
    i64::try_from(price.base_units()).unwrap_or(i64::MAX)
}

fn at(micros: i64) -> Result<OffsetDateTime, Problem> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
    time.map_err(|_| Problem::invalid("cursor is of no time there is"))
}
