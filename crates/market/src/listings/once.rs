//! Listings that were published with an `Idempotency-Key`: repeated, the request is answered with them, as they are by now.

use api::{Code, Listing};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::find;
use crate::{db, ledger::Key, problem::Problem, wallet};

/// The listing that was published with this key, if there is a key, and one.
pub(super) async fn published(conn: &mut PgConnection, key: Option<Key>) -> Result<Option<Listing>, Problem> {
    let Some(key) = key else { return Ok(None) };
    let row = sqlx::query("SELECT id, fingerprint FROM listings WHERE key = $1").bind(key.key.as_slice());
    let Some(row) = row.fetch_optional(&mut *conn).await? else { return Ok(None) };
    if db::hash(&row, "fingerprint")? != key.fingerprint {
        return Err(reused());
    }
    let id: Uuid = row.try_get("id")?;
    find(conn, id).await.map(Some)
}

/// Refuses a request for several listings whose key published one of another request.
pub(super) async fn same_request(conn: &mut PgConnection, whole: Key, most: usize) -> Result<(), Problem> {
    let keys: Vec<Vec<u8>> = (0..most).map(|at| wallet::part(whole, at).key.to_vec()).collect();
    let other = "SELECT EXISTS (SELECT FROM listings WHERE key = ANY($1) AND fingerprint <> $2)";
    let other: bool = sqlx::query_scalar(other).bind(keys).bind(whole.fingerprint.as_slice()).fetch_one(conn).await?;
    if other { Err(reused()) } else { Ok(()) }
}

fn reused() -> Problem {
    Problem::new(Code::IdempotencyKeyReused, "Use a new key for a new request")
}
