//! What the two sides of a purchase say: texts, and hashes of what proves them.

use alloy::primitives::B256;
use api::{Code, Evidence, SubmitEvidence, TransactionActor as Actor};
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{db, input, problem::Problem};

const TEXT_LEN_MAX_BYTES: usize = 4_096;
const HASHES_MAX: usize = 20;
/// Of each side.
const PIECES_MAX: i64 = 20;

/// Refuses what is too much.
pub(super) fn check(said: &SubmitEvidence) -> Result<(), Problem> {
    input::text("text", &said.text, 1..=TEXT_LEN_MAX_BYTES)?;
    if said.text.len() > TEXT_LEN_MAX_BYTES {
        return Err(Problem::invalid(format!("text has {} bytes, allowed are {TEXT_LEN_MAX_BYTES}", said.text.len())));
    }
    if said.content_hashes.len() > HASHES_MAX {
        return Err(Problem::invalid(format!("content_hashes are at most {HASHES_MAX}")));
    }
    Ok(())
}

/// Keeps a piece of evidence, once however often it is sent.
pub(super) async fn keep(pool: &PgPool, id: Uuid, by: Actor, said: &SubmitEvidence) -> Result<Evidence, Problem> {
    check(said)?;
    let hash = hash(said);
    let mut tx = pg::begin(pool).await?;
    // So that two at once are counted one after the other.
    sqlx::query("SELECT FROM transactions WHERE id = $1 FOR UPDATE").bind(id).execute(&mut *tx).await?;
    let known = "SELECT * FROM transaction_evidence WHERE transaction_id = $1 AND party = $2 ORDER BY id";
    let known = sqlx::query(known).bind(id).bind(db::name_of(by)).fetch_all(&mut *tx).await?;
    let known: Vec<Evidence> = known.iter().map(evidence).collect::<sqlx::Result<_>>()?;
    if let Some(known) = known.iter().find(|known| known.hash == hash) {
        return Ok(known.clone());
    }
    if i64::try_from(known.len()).unwrap_or(i64::MAX) >= PIECES_MAX {
        return Err(Problem::new(Code::OverLimit, format!("Each side says at most {PIECES_MAX} things")));
    }
    let keep = "INSERT INTO transaction_evidence (id, transaction_id, party, text, content_hashes, hash) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *";
    let hashes: Vec<&[u8]> = said.content_hashes.iter().map(|hash| hash.as_slice()).collect();
    let keep = sqlx::query(keep).bind(Uuid::now_v7()).bind(id).bind(db::name_of(by)).bind(&said.text).bind(hashes);
    let row = keep.bind(hash.as_slice()).fetch_one(&mut *tx).await?;
    let kept = evidence(&row)?;
    tx.commit().await?;
    Ok(kept)
}

/// What both sides said, oldest first.
pub(super) async fn all(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Evidence>> {
    let all = sqlx::query("SELECT * FROM transaction_evidence WHERE transaction_id = $1 ORDER BY id").bind(id);
    all.fetch_all(pool).await?.iter().map(evidence).collect()
}

/// What commits to a piece of evidence.
fn hash(said: &SubmitEvidence) -> B256 {
    let mut hash = Sha256::new_with_prefix(&said.text).chain_update([0]);
    said.content_hashes.iter().for_each(|content| hash.update(content));
    B256::from_slice(&hash.finalize())
}

fn evidence(row: &PgRow) -> sqlx::Result<Evidence> {
    let hashes: Vec<Vec<u8>> = row.try_get("content_hashes")?;
    let hashes = hashes.iter().map(|hash| B256::try_from(&hash[..]).map_err(|error| sqlx::Error::Decode(error.into())));
    Ok(Evidence {
        id: row.try_get("id")?,
        by: db::named(row, "party")?,
        text: row.try_get("text")?,
        content_hashes: hashes.collect::<sqlx::Result<_>>()?,
        hash: db::hash(row, "hash")?,
        created_at: row.try_get("created_at")?,
    })
}
