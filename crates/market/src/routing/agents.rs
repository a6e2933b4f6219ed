//! Which agent to take for a task.

use std::collections::HashMap;

use api::{AgentRoute, AgentRouteRequest, AgentsRouted, RouteFact, Strategy};
use axum::{Json, extract::State};
use sqlx::Row;
use uuid::Uuid;

use super::{Candidate, capability, of_agent, rank, score, score::Facts, shown, sold_lately, turns, words};
use crate::{agents, auth::Caller, input, problem::Problem, service::Market, standing};

/// Agents that are compared.
const COMPARED_MAX: i64 = 1_000;
const KNOWN: &str = "strategy must be round_robin, cheapest, least_loaded, highest_quality or random";

/// What a strategy goes by where it is agents that are compared; nothing for those that need a listing.
pub(super) const fn weights(strategy: Strategy) -> Option<&'static [(RouteFact, u16)]> {
    match strategy {
        Strategy::RoundRobin | Strategy::Cheapest | Strategy::LeastLoaded | Strategy::Random => Some(score::weights(strategy)),
        Strategy::HighestQuality => Some(&[(RouteFact::Reputation, 10_000)]),
        _ => None,
    }
}

/// `POST /api/v1/route/agents`
pub(crate) async fn route(
    State(market): State<Market>,
    caller: Caller,
    input::Json(asked): input::Json<AgentRouteRequest>,
) -> Result<Json<AgentsRouted>, Problem> {
    let (agent, person) = (caller.agent()?, caller.person()?);
    let shown = shown(asked.limit)?;
    let strategy = asked.strategy.unwrap_or(Strategy::RoundRobin);
    let weights = weights(strategy).ok_or_else(|| Problem::invalid(KNOWN))?;
    let what = capability(&asked.capability)?;
    let able = "SELECT * FROM agents WHERE active AND capabilities @> ARRAY[$1::text] AND id <> $2
             AND (availability = 'online' OR ($3 AND availability = 'busy')) AND ($4::bigint IS NULL OR cost_per_task <= $4)
             AND NOT ($5 AND cost_per_task IS NULL) LIMIT $6";
    let rows = sqlx::query(able)
        .bind(&what)
        .bind(agent)
        .bind(asked.busy)
        .bind(asked.max_cost.map(|cost| i64::try_from(cost.base_units()).unwrap_or(i64::MAX)))
        .bind(strategy == Strategy::Cheapest)
        .bind(COMPARED_MAX)
        .fetch_all(&market.pool)
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, cost): (Uuid, Option<i64>) = (row.try_get("id")?, row.try_get("cost_per_task")?);
        let facts = Facts { price: cost.map_or(u64::MAX, i64::unsigned_abs), ..of_agent(row)? };
        found.push(Candidate { id, seller: id, facts });
    }
    let ids: Vec<Uuid> = found.iter().map(|one| one.id).collect();
    sold_lately(&market, &ids, &mut found).await?;
    // Who has room comes first, and only those take turns as long as there are any.
    let full = |one: &Candidate| score::loaded(&one.facts) == 10_000;
    found.sort_by_key(|one| (full(one), one.id));
    let free = found.iter().filter(|one| !full(one)).count();
    let (free, full) = found.split_at_mut(free);
    let mut data = Vec::new();
    let mut seed = None;
    let rows: HashMap<Uuid, _> = rows.iter().map(|row| Ok((row.try_get("id")?, row))).collect::<sqlx::Result<_>>()?;
    for (part, takes) in [(&mut *free, true), (&mut *full, false)] {
        if strategy == Strategy::RoundRobin && (takes || data.is_empty()) {
            turns::take(&market.pool, person, &what, part).await?;
        }
        if strategy == Strategy::HighestQuality {
            let ids: Vec<Uuid> = part.iter().map(|one| one.id).collect();
            let terms = standing::terms_of(&market.pool, &ids).await?;
            for one in part.iter_mut() {
                one.facts.reputation = terms.get(&one.id).map_or(0, |terms| terms.score().get().into());
            }
        }
        let mut ranked = rank(strategy, part, weights, None, asked.seed.or(seed));
        seed = ranked.seed.or(seed);
        let facts: Vec<Facts> = part.iter().map(|one| one.facts).collect();
        let told = words::Told::of(&facts, None);
        for at in ranked.order.into_iter().take(shown - data.len()) {
            let terms = std::mem::take(&mut ranked.terms[at]);
            let (score_bps, why) = (score::score(&terms), told.why(&terms, &facts[at]));
            let row = rows.get(&part[at].id).ok_or_else(|| Problem::not_found("agent"))?;
            data.push(AgentRoute { agent: agents::agent(row)?, score_bps, terms, why });
        }
    }
    Ok(Json(AgentsRouted { strategy, compared: u32::try_from(rows.len()).unwrap_or(u32::MAX), seed, data }))
}
