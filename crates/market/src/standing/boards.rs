//! Who leads.

use std::{cmp::Reverse, sync::Arc};

use api::{Category, Helpfulness, Leader, LeaderQuery, Page};
use axum::{Json, extract::State};
use moka::future::Cache;
use money::Usdc;
use sqlx::{AssertSqlSafe, PgPool, Row, postgres::PgRow};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::views::{QUALITY, SUMS, count, helpfulness, terms};
use crate::{
    db,
    demand::{first, told},
    input::{self, Name, Params},
    moment::Moment,
    problem::Problem,
    service::Market,
};

/// Agents that are compared: those with most counterparties. Their order by score may be another.
const COMPARED_MAX: i64 = 300;
const BOARDS: &str = "There is no such leaderboard: ask for helpfulness, earnings, contributors or category:NAME";

/// What agents are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Board {
    Reputation,
    Helpfulness,
    Earnings,
    Contributors,
    Category(Category),
}

impl Board {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "helpfulness" => Self::Helpfulness,
            "earnings" => Self::Earnings,
            "contributors" => Self::Contributors,
            _ => Self::Category(serde_json::from_value(name.strip_prefix("category:")?.into()).ok()?),
        })
    }

    /// The agents that may be on it, and which figures are shown of them.
    fn candidates(self) -> String {
        let order = match self {
            Self::Reputation | Self::Helpfulness => "f.trust DESC, f.unproven DESC, f.agent_id",
            Self::Earnings => "f.worth DESC, f.agent_id",
            Self::Contributors => "f.listings DESC, f.agent_id",
            Self::Category(_) => "c.worth DESC, c.agent_id",
        };
        let from = match self {
            Self::Category(_) => "agent_categories AS c JOIN agent_figures AS f USING (agent_id)",
            _ => "agent_figures AS f",
        };
        let (figures, condition) = match self {
            Self::Category(_) => ("c.sold, c.worth", "c.category = $2 AND c.sold > 0"),
            _ => ("f.sold, f.worth", "$2::text IS NULL AND f.sold > 0"),
        };
        let quality = QUALITY.replace("$$", "f.agent_id");
        format!(
            "SELECT f.agent_id, a.name, {figures}, f.listings, {SUMS}, {quality} FROM {from} JOIN agents AS a ON a.id = f.agent_id
             WHERE a.active AND {condition} ORDER BY {order} LIMIT $1"
        )
    }
}

/// What was told to anybody some seconds ago.
#[derive(Debug)]
pub(crate) struct Boards {
    told: Cache<Board, Arc<[Leader]>>,
    reading: Semaphore,
}

impl Default for Boards {
    fn default() -> Self {
        Self { told: Cache::builder().max_capacity(16).expire_after(Moment).build(), reading: Semaphore::new(1) }
    }
}

/// `GET /api/v1/reputation/leaderboard`
pub(crate) async fn leaders(
    State(market): State<Market>,
    Params(asked): Params<LeaderQuery>,
) -> Result<Json<Page<Leader>>, Problem> {
    best(&market, Board::Reputation, asked).await
}

/// `GET /api/v1/leaderboard/{board}`
pub(crate) async fn leaderboard(
    State(market): State<Market>,
    Name(board): Name,
    Params(asked): Params<LeaderQuery>,
) -> Result<Json<Page<Leader>>, Problem> {
    let board = Board::named(&board).ok_or_else(|| Problem::new(api::Code::NotFound, BOARDS))?;
    best(&market, board, asked).await
}

/// The agents that lead a board, or the reputations, in their order.
pub(crate) async fn first_of(pool: &PgPool, name: &str) -> sqlx::Result<Vec<Uuid>> {
    let board = if name == "reputation" { Some(Board::Reputation) } else { Board::named(name) };
    let Some(board) = board else { return Ok(Vec::new()) };
    Ok(look(pool, board).await?.iter().map(|leader| leader.agent_id).collect())
}

async fn best(market: &Market, board: Board, asked: LeaderQuery) -> Result<Json<Page<Leader>>, Problem> {
    let limit = input::limit(asked.limit)?;
    let boards = &market.boards;
    Ok(first(&told(&boards.reading, &boards.told, board, look(&market.pool, board)).await?, limit))
}

async fn look(pool: &PgPool, board: Board) -> sqlx::Result<Arc<[Leader]>> {
    let category = if let Board::Category(category) = board { Some(db::name_of(category)) } else { None };
    let rows = sqlx::query(AssertSqlSafe(board.candidates())).bind(COMPARED_MAX).bind(category).fetch_all(pool).await?;
    let mut leaders = rows.iter().map(leader).collect::<sqlx::Result<Vec<_>>>()?;
    let key = |leader: &Leader| -> (u64, u64) {
        let reputation = leader.reputation_bps.get().into();
        match board {
            Board::Reputation => (reputation, leader.earned.base_units()),
            Board::Helpfulness => (leader.helpfulness.score.into(), reputation),
            Board::Earnings | Board::Category(_) => (leader.earned.base_units(), reputation),
            Board::Contributors => (leader.listings, reputation),
        }
    };
    leaders.sort_by_key(|leader| (Reverse(key(leader)), leader.agent_id));
    leaders.truncate(api::LIMIT_MAX as usize);
    for (at, leader) in leaders.iter_mut().enumerate() {
        leader.rank = u32::try_from(at + 1).unwrap_or(u32::MAX);
    }
    Ok(leaders.into())
}

fn leader(row: &PgRow) -> sqlx::Result<Leader> {
    let helpfulness: Helpfulness = helpfulness(row)?;
    Ok(Leader {
        rank: 0,
        agent_id: row.try_get::<Uuid, _>("agent_id")?,
        name: row.try_get("name")?,
        reputation_bps: terms(row)?.score(),
        helpfulness,
        sold: count(row, "sold")?,
        earned: Usdc::from_base_units(count(row, "worth")?),
        listings: count(row, "listings")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_called_by_their_names_only() {
        assert_eq!(Board::named("category:web_search"), Some(Board::Category(Category::WebSearch)));
        assert_eq!(Board::named("earnings"), Some(Board::Earnings));
        for none in ["", "category:", "category:nothing", "web_search", "reputation"] {
            assert_eq!(Board::named(none), None, "{none}");
        }
    }
}
