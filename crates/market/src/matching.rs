//! Which listing fits a need best, why, and buying it.

use std::{cmp::Reverse, collections::HashMap};

use api::{AutoMatch, AutoMatched, AutoPurchase, Category, Code, Match, MatchTerms, ledger::Asset};
use axum::{Json, extract::State};
use money::{Bps, Usdc};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::{
    access::Origin,
    auth::Caller,
    db,
    demand::{self, Source},
    discover, input,
    ledger::{How, Key},
    listings,
    problem::Problem,
    service::Market,
    wallet::{
        Idempotency,
        purchase::{self, BuyQuery, Method},
    },
};

/// Listings that are scored: the newest that have all words, and the newest that have any.
const SCORED_MAX: i64 = 200;
const SHOWN_MAX: usize = 5;
/// Below, nothing is bought unseen.
const BUY_SCORE_MIN: u32 = 3_000;
const BUY_PRICE_DEFAULT: Usdc = Usdc::from_base_units(50_000);
/// The seller's newest listings, by which it is specialized.
const SPECIALIZED_BY: i64 = 50;
const FRESH_SECONDS: i64 = 24 * 3_600;
/// Until it is judged.
const QUALITY_DEFAULT: u32 = 5_000;

/// `POST /api/v1/agents/auto-match`
pub(crate) async fn auto_match(
    State(market): State<Market>,
    origin: Origin,
    caller: Caller,
    key: Option<Idempotency>,
    input::Json(asked): input::Json<AutoMatch>,
) -> Result<Json<AutoMatched>, Problem> {
    let agent = caller.agent()?;
    let words = discover::words(Some(&asked.q))?.map(|words| demand::pattern(&words)).unwrap_or_default();
    if words.is_empty() {
        return Err(Problem::invalid("q must have a word"));
    }
    let mut key = key.map(|key| key.of(agent, "/agents/auto-match", &asked));
    if !asked.auto_buy {
        key = None;
    } else if key.is_none() {
        return Err(Problem::new(Code::IdempotencyKeyMissing, "Send the header Idempotency-Key with auto_buy"));
    } else {
        caller.must_have(api::Scope::Buy)?;
    }
    if let Some(key) = &key
        && let Some(purchase) = bought_before(&market, key).await?
    {
        return Ok(Json(AutoMatched { data: Vec::new(), purchase: Some(purchase) }));
    }
    let data = best(&market, agent, &words, &asked).await?;
    market.demand.search(Source::AutoMatch, origin.principal, (Some(&words), asked.category), data.len(), asked.max_price);
    let price_max = asked.auto_buy_max_price.or(asked.max_price).unwrap_or(BUY_PRICE_DEFAULT);
    let mut purchase = None;
    if let (Some(key), Some(first)) = (key, data.first())
        && u32::from(first.score_bps.get()) >= BUY_SCORE_MIN
        && first.listing.price <= price_max
    {
        let listing = first.listing.id;
        let payment_method = if asked.asset == Some(Asset::Ard) { Method::Token } else { Method::Balance };
        let query = BuyQuery { payment_method, max_price: Some(price_max), content_hash: None };
        let (posted, ..) = purchase::charge(&market, listing, &caller, query, key).await?;
        purchase = match posted.how {
            // Another request with the same key was faster, and may have found another one best.
            How::Replayed => bought_before(&market, &key).await?,
            _ => Some(AutoPurchase { purchase_id: posted.reference, listing_id: listing, replayed: false }),
        };
    }
    Ok(Json(AutoMatched { data, purchase }))
}

/// What a request with this key bought, whatever would fit best by now.
async fn bought_before(market: &Market, key: &Key) -> Result<Option<AutoPurchase>, Problem> {
    let before = "SELECT s.id, s.listing_id, s.reversed, done.fingerprint
         FROM (SELECT id AS transfer, fingerprint FROM transfers WHERE key = $1
               UNION ALL SELECT transfer, fingerprint FROM owned_keys WHERE key = $1) AS done JOIN sales AS s USING (transfer)";
    let Some(row) = sqlx::query(before).bind(key.key.as_slice()).fetch_optional(&market.pool).await? else { return Ok(None) };
    if db::hash(&row, "fingerprint")? != key.fingerprint {
        return Err(Problem::new(Code::IdempotencyKeyReused, "Use a new key for a new request"));
    }
    if row.try_get("reversed")? {
        return Err(Problem::new(Code::WrongState, "The purchase was reversed: to buy again, use a new key"));
    }
    Ok(Some(AutoPurchase { purchase_id: row.try_get("id")?, listing_id: row.try_get("listing_id")?, replayed: true }))
}

/// The best for these words, of others than the caller.
async fn best(market: &Market, caller: Uuid, words: &str, asked: &AutoMatch) -> Result<Vec<Match>, Problem> {
    let found = |all: &str| {
        format!(
            "(SELECT l.id FROM listings AS l WHERE status = 'active' AND (expires_at IS NULL OR expires_at > now())
                  AND search @@ {all} AND ($3::text IS NULL OR category = $3) AND ($4::bigint IS NULL OR price <= $4) AND seller_id <> $5
              ORDER BY l.id DESC LIMIT $6)"
        )
    };
    let (all, any) = (found("plainto_tsquery('english', $1)"), found("to_tsquery('english', $2)"));
    // Words that mean nothing by themselves count for nobody.
    let text = format!(
        "WITH words AS MATERIALIZED (SELECT word FROM (SELECT plainto_tsquery('english', unnest(string_to_array($1, ' '))) AS word) AS w WHERE numnode(word) > 0),
             found AS ({all} UNION {any})
         SELECT l.id, l.seller_id, l.category, l.quality, extract(epoch FROM now() - l.freshness_at)::bigint AS age,
             (SELECT count(*) FROM words WHERE l.search @@ word) AS has, (SELECT count(*) FROM words) AS of
         FROM found JOIN listings AS l USING (id)"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(words)
        .bind(words.replace(' ', " | "))
        .bind(asked.category.map(db::name_of))
        .bind(asked.max_price.map(|price| i64::try_from(price.base_units()).unwrap_or(i64::MAX)))
        .bind(caller)
        .bind(SCORED_MAX)
        // Planned for these words.
        .persistent(false)
        .fetch_all(&market.pool)
        .await?;
    let mut sellers = rows.iter().map(|row| row.try_get("seller_id")).collect::<sqlx::Result<Vec<Uuid>>>()?;
    sellers.sort_unstable();
    sellers.dedup();
    let special = specializations(market, &sellers).await?;
    let mut scored = Vec::with_capacity(rows.len());
    for row in &rows {
        let (seller, category): (Uuid, Category) = (row.try_get("seller_id")?, db::named(row, "category")?);
        let quality = row.try_get::<Option<i16>, _>("quality")?.and_then(|bps| u32::try_from(bps).ok());
        let (has, of): (i64, i64) = (row.try_get("has")?, row.try_get("of")?);
        let age = row.try_get::<Option<i64>, _>("age")?.unwrap_or(FRESH_SECONDS);
        let terms = terms((has, of), quality, age, special.get(&seller) == Some(&asked.category.unwrap_or(category)));
        scored.push((Reverse(score(terms)), Reverse(row.try_get::<Uuid, _>("id")?), terms));
    }
    scored.sort_unstable_by_key(|(score, id, _)| (*score, *id));
    scored.truncate(SHOWN_MAX);
    let mut best = Vec::with_capacity(scored.len());
    for (Reverse(score_bps), Reverse(id), terms) in scored {
        let listing = listings::find(&mut *market.pool.acquire().await?, id).await?;
        let saving = listing_anew(listing.category).checked_sub(listing.price).filter(|saving| !saving.is_zero());
        best.push(Match { listing, score_bps, terms, saving });
    }
    Ok(best)
}

/// The category that most of a seller's newest listings have.
async fn specializations(market: &Market, sellers: &[Uuid]) -> Result<HashMap<Uuid, Category>, Problem> {
    let most = "SELECT s.id, c.category FROM unnest($1::uuid[]) AS s (id) CROSS JOIN LATERAL (
             SELECT category FROM (SELECT category FROM listings WHERE seller_id = s.id ORDER BY id DESC LIMIT $2) AS newest
             GROUP BY category ORDER BY count(*) DESC, category LIMIT 1) AS c";
    let rows = sqlx::query(most).bind(sellers).bind(SPECIALIZED_BY).fetch_all(&market.pool).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get("id")?, db::named(row, "category")?))).collect::<sqlx::Result<_>>()?)
}

/// As [`MatchTerms`] says.
fn terms((has, of): (i64, i64), quality: Option<u32>, age_seconds: i64, specialized: bool) -> MatchTerms {
    let share = |weight: i64, part: i64, of: i64| u32::try_from(weight * part.clamp(0, of) / of.max(1)).unwrap_or_default();
    MatchTerms {
        words: share(5_000, has, of),
        quality: quality.unwrap_or(QUALITY_DEFAULT).min(10_000) * 3 / 10,
        freshness: share(2_000, FRESH_SECONDS - age_seconds.max(0), FRESH_SECONDS),
        specialization: if specialized { 1_000 } else { 0 },
    }
}

fn score(terms: MatchTerms) -> Bps {
    let sum = (terms.words + terms.quality + terms.freshness + terms.specialization).min(10_000);
    u16::try_from(sum).ok().and_then(Bps::new).unwrap_or_default()
}

/// What making something of a category anew is taken to cost.
fn listing_anew(category: Category) -> Usdc {
    Usdc::from_base_units(match category {
        Category::WebSearch | Category::DocumentSummary => 10_000,
        Category::ApiResponse => 15_000,
        Category::CodeAnalysis => 20_000,
        Category::Computation => 25_000,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_sum_of_its_terms_and_at_most_all() {
        let most = terms((3, 3), Some(10_000), 0, true);
        assert_eq!(most, MatchTerms { words: 5_000, quality: 3_000, freshness: 2_000, specialization: 1_000 });
        assert_eq!(score(most), Bps::new(10_000).unwrap());
        let some = terms((1, 2), None, 12 * 3_600, false);
        assert_eq!(
            (some, score(some).get()),
            (MatchTerms { words: 2_500, quality: 1_500, freshness: 1_000, specialization: 0 }, 5_000)
        );
        let none = terms((0, 0), Some(0), i64::MAX, false);
        assert_eq!((none, score(none).get()), (MatchTerms::default(), 0));
        assert_eq!(terms((1, 1), Some(0), -5, false).freshness, 2_000, "a clock that is ahead makes nothing fresher than fresh");
    }
}
