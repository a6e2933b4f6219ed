//! How the market is: whether it works, what there is, and how content is served.

use api::{Code, ContentHealth, Health};
use axum::{Json, extract::State};
use serde_json::{Value, json};
use sqlx::Row;

use crate::{problem::Problem, service::Market};

/// `GET /health`: for whoever watches this instance.
pub(crate) async fn works(State(market): State<Market>) -> Result<Json<Value>, Problem> {
    sqlx::query("SELECT 1").execute(&market.pool).await.map_err(|_| down())?;
    Ok(Json(json!({"status": "ok", "chain_id": market.deployment.chain_id})))
}

/// `GET /api/v1/health`
pub(crate) async fn counts(State(market): State<Market>) -> Result<Json<Health>, Problem> {
    let [agents, listings, transactions] = counted(&market).await?;
    let chain_id = market.deployment.chain_id;
    Ok(Json(Health { status: "ok".into(), chain_id, agents, listings, transactions, content: market.contents.health() }))
}

/// How many agents, listings and transactions there are: counted once a minute at most, whoever asks.
pub(crate) async fn counted(market: &Market) -> Result<[u64; 3], Problem> {
    let count = async {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM agents WHERE active) AS agents,
                 (SELECT count(*) FROM listings WHERE status = 'active' AND coalesce(expires_at > now(), TRUE)) AS listings,
                 (SELECT count(*) FROM sales) + (SELECT count(*) FROM purchases WHERE status = 'settled')
                     + (SELECT count(*) FROM transactions) AS transactions",
        );
        let row = row.fetch_one(&market.pool).await?;
        let [agents, listings, transactions] = ["agents", "listings", "transactions"].map(|name| row.try_get::<i64, _>(name));
        Ok::<_, sqlx::Error>([agents?, listings?, transactions?].map(i64::unsigned_abs))
    };
    market.counted.try_get_with((), count).await.map_err(|_| down())
}

/// `GET /api/v1/health/cdn`
pub(crate) async fn content(State(market): State<Market>) -> Result<Json<ContentHealth>, Problem> {
    Ok(Json(market.contents.health()))
}

pub(crate) fn down() -> Problem {
    Problem::new(Code::Unavailable, "The database does not answer")
}
