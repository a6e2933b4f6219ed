//! Which of several listings or agents to take, and why.

mod agents;
mod score;
mod turns;
mod words;

use std::cmp::Reverse;

use api::{RouteFact, RouteRequest, RouteTerm, Routed, Strategy, StrategyOffer, StrategyTerm};
use axum::{Json, extract::State};
use money::Bps;
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

pub(crate) use agents::route as route_agents;
pub(crate) use turns::clean;

use crate::{
    access::Origin, auth::Caller, db, demand::Source, discover::Search, input, listings, problem::Problem, service::Market,
    standing,
};
use score::Facts;

/// Listings that are compared, and that may be named.
const COMPARED_MAX: usize = 200;
const NAMED_MAX: usize = 100;
const SHOWN_DEFAULT: u32 = 5;
const SHOWN_MAX: u32 = 20;
/// Until somebody judges.
const QUALITY_DEFAULT: u64 = 5_000;
const CAPABILITY_LEN_MAX_CHARS: usize = 64;

/// `GET /api/v1/route/strategies`
pub(crate) async fn strategies(State(_): State<Market>) -> Result<Json<Vec<StrategyOffer>>, Problem> {
    let term =
        |(fact, weight): &(RouteFact, u16)| StrategyTerm { fact: *fact, weight_bps: Bps::new(*weight).unwrap_or_default() };
    let offer = |strategy: Strategy| StrategyOffer {
        strategy,
        terms: score::weights(strategy).iter().map(term).collect(),
        agents: agents::weights(strategy).is_some(),
    };
    Ok(Json(Strategy::ALL.into_iter().map(offer).collect()))
}

/// `POST /api/v1/route/select`
pub(crate) async fn select(
    State(market): State<Market>,
    origin: Origin,
    caller: Caller,
    input::Json(asked): input::Json<RouteRequest>,
) -> Result<Json<Routed>, Problem> {
    let (agent, person) = (caller.agent()?, caller.person()?);
    let shown = shown(asked.limit)?;
    let from = match asked.region {
        None if asked.strategy == Strategy::Locality => home(&market, agent).await?,
        region => region,
    };
    let strategy = match asked.strategy {
        Strategy::Locality if from.is_none() => Strategy::BestValue,
        strategy => strategy,
    };
    let mut found = candidates(&market, agent, &asked).await?;
    let looked_for = (asked.q.as_deref(), asked.category);
    market.demand.search(Source::AutoMatch, origin.principal, looked_for, found.len(), asked.max_price);
    know(&market, strategy, &mut found).await?;
    if strategy == Strategy::RoundRobin {
        turns::take(&market.pool, person, "", &mut found).await?;
    }
    let mut ranked = rank(strategy, &found, score::weights(strategy), from, asked.seed);
    let compared = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let facts: Vec<Facts> = found.iter().map(|one| one.facts).collect();
    let told = words::Told::of(&facts, from);
    ranked.order.truncate(shown);
    let mut conn = market.pool.acquire().await?;
    let mut data = Vec::with_capacity(ranked.order.len());
    for at in ranked.order {
        let terms = std::mem::take(&mut ranked.terms[at]);
        let (score_bps, why) = (score::score(&terms), told.why(&terms, &facts[at]));
        let listing = listings::find(&mut conn, found[at].id).await?;
        data.push(api::Route { listing, score_bps, terms, why });
    }
    Ok(Json(Routed { strategy, compared, seed: ranked.seed, data }))
}

/// One of those that are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    id: Uuid,
    seller: Uuid,
    facts: Facts,
}

/// What is best, as places among those that are compared.
struct Ranked {
    order: Vec<usize>,
    terms: Vec<Vec<RouteTerm>>,
    seed: Option<u32>,
}

/// The best first; of equals the cheaper, then the older.
fn rank(
    strategy: Strategy,
    found: &[Candidate],
    weights: &[(RouteFact, u16)],
    from: Option<api::Region>,
    seed: Option<u32>,
) -> Ranked {
    let facts: Vec<Facts> = found.iter().map(|one| one.facts).collect();
    let even = strategy == Strategy::Random;
    let terms = score::terms(weights, &facts, from, even);
    if even || strategy == Strategy::WeightedRandom {
        let seed = seed.unwrap_or_else(rand::random);
        return Ranked { order: score::draw(&facts, even, seed), terms, seed: Some(seed) };
    }
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|at| (Reverse(score::score(&terms[*at])), facts[*at].before, facts[*at].price, found[*at].id));
    Ranked { order, terms, seed: None }
}

fn shown(limit: Option<u32>) -> Result<usize, Problem> {
    match limit.unwrap_or(SHOWN_DEFAULT) {
        rows @ 1..=SHOWN_MAX => Ok(rows as usize),
        _ => Err(Problem::invalid(format!("limit must be from 1 to {SHOWN_MAX}"))),
    }
}

/// As it is kept.
fn capability(name: &str) -> Result<String, Problem> {
    input::text("capability", name, 1..=CAPABILITY_LEN_MAX_CHARS)?;
    Ok(name.trim().to_lowercase())
}

/// Where the calling agent says it is.
async fn home(market: &Market, agent: Uuid) -> Result<Option<api::Region>, Problem> {
    let row = sqlx::query("SELECT region FROM agents WHERE id = $1 AND region IS NOT NULL").bind(agent);
    let row = row.fetch_optional(&market.pool).await?;
    Ok(row.map(|row| db::named(&row, "region")).transpose()?)
}

/// The newest that are asked for, of others.
async fn candidates(market: &Market, caller: Uuid, asked: &RouteRequest) -> Result<Vec<Candidate>, Problem> {
    if asked.listing_ids.len() > NAMED_MAX {
        return Err(Problem::invalid(format!("at most {NAMED_MAX} listing_ids")));
    }
    let search = Search::new(&api::Discover {
        q: asked.q.clone(),
        category: asked.category,
        max_price: asked.max_price,
        ..api::Discover::default()
    })?;
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT l.id, l.seller_id, l.price, l.content_size, l.quality, extract(epoch FROM now() - l.freshness_at)::bigint AS age, a.region,
             a.capacity_per_hour
         FROM listings AS l JOIN agents AS a ON a.id = l.seller_id",
    );
    search.conditions(&mut query);
    query.push(" AND l.seller_id <> ").push_bind(caller);
    if !asked.listing_ids.is_empty() {
        query.push(" AND l.id = ANY(").push_bind(asked.listing_ids.clone()).push(")");
    }
    if let Some(name) = &asked.capability {
        query.push(" AND a.capabilities @> ").push_bind(vec![capability(name)?]);
    }
    query.push(" ORDER BY l.id DESC LIMIT ").push_bind(COMPARED_MAX as i64);
    let rows = query.build().persistent(false).fetch_all(&market.pool).await?;
    Ok(rows.iter().map(candidate).collect::<sqlx::Result<_>>()?)
}

fn candidate(row: &PgRow) -> sqlx::Result<Candidate> {
    let quality = row.try_get::<Option<i16>, _>("quality")?;
    let facts = Facts {
        price: row.try_get::<i64, _>("price")?.unsigned_abs(),
        length: row.try_get::<Option<i64>, _>("content_size")?.unwrap_or_default().unsigned_abs(),
        quality: quality.map_or(QUALITY_DEFAULT, |bps| bps.unsigned_abs().into()),
        judged: quality.is_some(),
        age_seconds: row.try_get::<Option<i64>, _>("age")?.map_or(u64::MAX, |age| age.max(0).unsigned_abs()),
        ..of_agent(row)?
    };
    Ok(Candidate { id: row.try_get("id")?, seller: row.try_get("seller_id")?, facts })
}

/// What the registry says of an agent.
fn of_agent(row: &PgRow) -> sqlx::Result<Facts> {
    let region = row.try_get::<Option<&str>, _>("region")?.map(|_| db::named(row, "region")).transpose()?;
    let capacity = row.try_get::<i32, _>("capacity_per_hour")?.unsigned_abs().into();
    Ok(Facts { region, capacity, ..Facts::default() })
}

/// Looks up of the sellers what the strategy needs.
async fn know(market: &Market, strategy: Strategy, found: &mut [Candidate]) -> sqlx::Result<()> {
    let mut sellers: Vec<Uuid> = found.iter().map(|one| one.seller).collect();
    sellers.sort_unstable();
    sellers.dedup();
    let goes_by = |fact| score::weights(strategy).iter().any(|(of, _)| *of == fact);
    if goes_by(RouteFact::Reputation) || strategy == Strategy::WeightedRandom {
        let terms = standing::terms_of(&market.pool, &sellers).await?;
        for one in found.iter_mut() {
            one.facts.reputation = terms.get(&one.seller).map_or(0, |terms| terms.score().get().into());
        }
    }
    if goes_by(RouteFact::Room) {
        sold_lately(market, &sellers, found).await?;
    }
    Ok(())
}

/// What sellers sold in the last hour, as far as it is looked at. Ids of sales begin with their time.
async fn sold_lately(market: &Market, sellers: &[Uuid], found: &mut [Candidate]) -> sqlx::Result<()> {
    let sold = "SELECT s.id, (SELECT count(*) FROM (SELECT FROM sales WHERE seller_id = s.id AND id >= $2 LIMIT $3) AS few)
             + (SELECT count(*) FROM (SELECT FROM purchases WHERE seller_id = s.id AND id >= $2 AND status = 'settled' LIMIT $3) AS few) AS sold
         FROM unnest($1::uuid[]) AS s (id)";
    let rows = sqlx::query(sold).bind(sellers).bind(id_at(OffsetDateTime::now_utc() - Duration::HOUR));
    for row in rows.bind(score::LOOKED_AT_MAX.cast_signed()).fetch_all(&market.pool).await? {
        let (id, sold): (Uuid, i64) = (row.try_get("id")?, row.try_get("sold")?);
        found.iter_mut().filter(|one| one.seller == id).for_each(|one| one.facts.sold = sold.unsigned_abs());
    }
    Ok(())
}

/// Below every UUID of version 7 made since.
fn id_at(at: OffsetDateTime) -> Uuid {
    let ms = u128::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Uuid::from_u128(ms << 80)
}
