//! Heads of seals on chain, so that nobody, the market included, can show another ledger later.
//!
//! An anchor is a batch of the LedgerAnchor contract whose entries are the heads of the seals since the last one: those of the ledger, then those of
//! the audit log, because an operator has one sequence there. The contract takes sequence numbers in order and each once: an anchor is written
//! down before it is sent, and sent until it is there.

use std::time::Duration;

use alloy::{
    eips::eip2718::Encodable2718,
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use api::ledger::{AnchorProof, merkle};
use contracts::ledger_anchor::LedgerAnchor;
use indexer::read::{self, EventFilter, Finality};
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::SendError;
use crate::{db, ledger::Chain, problem::Problem, service::Market};

/// Heads of each chain in one anchor, at most.
const HEADS_MAX: i64 = 4_096;
/// How often it is looked for what is to be sent, or has become final.
const EVERY: Duration = Duration::from_secs(2);
/// What is not mined is sent again this often, each time offering an eighth more for gas.
const RESEND_SECONDS: i32 = 15;
const RAISES_MAX: u32 = 20;
/// Anchors that are looked for in the mirror at once.
const OPEN_MAX: i64 = 50;
/// Advisory lock of the one instance that anchors: "florin" and the task.
const ANCHOR_LOCK: i64 = 0x666c_6f72_696e_0024;

/// Anchors until `stop`, if this instance is to. Any number of instances may.
pub(crate) async fn anchor(market: Market, stop: CancellationToken) {
    let (Some(signer), Some(every)) = (market.ledger_key.clone(), market.anchor_every) else { return };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let step = tokio::time::timeout(super::SEND_TIMEOUT, once(&market, &signer, every));
        if let Err(error) = step.await.unwrap_or(Err(SendError::Timeout)) {
            warn!(%error, "the ledger is not anchored; trying again");
        }
    }
}

async fn once(market: &Market, signer: &PrivateKeySigner, every: Duration) -> Result<(), SendError> {
    let mut lock = pg::begin(&market.pool).await?;
    let free = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(ANCHOR_LOCK);
    if !free.fetch_one(&mut *lock).await? {
        return Ok(());
    }
    let operator = signer.address();
    note_final(market, operator).await?;
    let contract = LedgerAnchor::new(market.deployment.ledger_anchor, &market.provider);
    let there = contract.headOf(operator).call().await?.sequence;
    let next =
        "SELECT * FROM anchors WHERE operator = $1 AND transaction_hash IS NULL AND sequence > $2 ORDER BY sequence LIMIT 1";
    let next = sqlx::query(next).bind(operator.as_slice()).bind(there.cast_signed()).fetch_optional(&market.pool).await?;
    let row = match next {
        Some(row) => row,
        None => match form(market, operator, there + 1, every).await? {
            Some(row) => row,
            None => return Ok(()),
        },
    };
    send(market, signer, &row).await
}

/// The seals since the last anchor become one, when it is time.
async fn form(market: &Market, operator: Address, sequence: u64, every: Duration) -> Result<Option<PgRow>, SendError> {
    let last =
        "SELECT coalesce(max(first_seal + count), 1) AS next, coalesce(max(first_audit_seal + audit_count), 1) AS next_audit,
             coalesce(max(created_at) + make_interval(secs => $2) <= now(), TRUE) AS due
         FROM anchors WHERE operator = $1";
    let seconds = i32::try_from(every.as_secs()).unwrap_or(i32::MAX);
    let last = sqlx::query(last).bind(operator.as_slice()).bind(seconds).fetch_one(&market.pool).await?;
    if !last.try_get::<bool, _>("due")? {
        return Ok(None);
    }
    let (first, first_audit): (i64, i64) = (last.try_get("next")?, last.try_get("next_audit")?);
    let mut conn = market.pool.acquire().await?;
    let ledger = heads(&mut conn, Chain::Ledger, first, HEADS_MAX).await?;
    let audit = heads(&mut conn, Chain::Audit, first_audit, HEADS_MAX).await?;
    let (count, audit_count) = (ledger.len() as i64, audit.len() as i64);
    let Some(root) = merkle::root(&leaves(&[ledger, audit].concat())) else { return Ok(None) };
    info!(sequence, first_seal = first, seals = count, first_audit, audit_count, "anchoring the ledger");
    let new = "INSERT INTO anchors (operator, sequence, first_seal, count, first_audit_seal, audit_count, root)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *";
    let new = sqlx::query(new).bind(operator.as_slice()).bind(sequence.cast_signed()).bind(first).bind(count);
    Ok(Some(new.bind(first_audit).bind(audit_count).bind(root.as_slice()).fetch_one(&mut *conn).await?))
}

async fn send(market: &Market, signer: &PrivateKeySigner, row: &PgRow) -> Result<(), SendError> {
    let (sequence, attempts): (i64, i32) = (row.try_get("sequence")?, row.try_get("attempts")?);
    // Noted before it is sent: what is noted and never left is sent again all the same.
    let due = "UPDATE anchors SET attempts = attempts + 1, sent_at = now()
         WHERE operator = $1 AND sequence = $2 AND (sent_at IS NULL OR sent_at < now() - make_interval(secs => $3))";
    let due = sqlx::query(due).bind(signer.address().as_slice()).bind(sequence);
    if due.bind(RESEND_SECONDS).execute(&market.pool).await?.rows_affected() == 0 {
        return Ok(());
    }
    let call = LedgerAnchor::appendCall {
        sequence: sequence.unsigned_abs(),
        root: db::hash(row, "root")?,
        entryCount: (row.try_get::<i64, _>("count")? + row.try_get::<i64, _>("audit_count")?).unsigned_abs(),
    };
    let request = TransactionRequest::default()
        .with_from(signer.address())
        .with_to(market.deployment.ledger_anchor)
        .with_input(call.abi_encode())
        .with_chain_id(market.deployment.chain_id);
    let (gas, fees) = (market.provider.estimate_gas(request.clone()).await?, market.provider.estimate_eip1559_fees().await?);
    let raises = attempts.unsigned_abs().min(RAISES_MAX);
    let raised = |wei: u128| (0..raises).fold(wei, |wei, _| wei + wei / 8 + 1);
    // The first nonce that is free on chain: what was sent before and is not mined is replaced.
    let nonce = market.provider.get_transaction_count(signer.address()).await?;
    let request = request
        .with_nonce(nonce)
        .with_gas_limit(gas + gas / 4)
        .with_max_fee_per_gas(raised(fees.max_fee_per_gas))
        .with_max_priority_fee_per_gas(raised(fees.max_priority_fee_per_gas));
    let envelope = request.build(&EthereumWallet::from(signer.clone())).await.map_err(alloy::signers::Error::other)?;
    // Whether it is mined is asked of the contract.
    let _ = market.provider.send_raw_transaction(&envelope.encoded_2718()).await?;
    Ok(())
}

/// Writes down which anchors a final block has.
async fn note_final(market: &Market, operator: Address) -> sqlx::Result<()> {
    let open = "SELECT sequence, root FROM anchors WHERE operator = $1 AND transaction_hash IS NULL ORDER BY sequence LIMIT $2";
    let mut tx = pg::begin(&market.pool).await?;
    for row in sqlx::query(open).bind(operator.as_slice()).bind(OPEN_MAX).fetch_all(&mut *tx).await? {
        let sequence: i64 = row.try_get("sequence")?;
        let filter = EventFilter {
            contract: Some(market.deployment.ledger_anchor),
            name: Some("BatchAnchored".into()),
            account: Some(operator),
            reference: Some(db::hash(&row, "root")?),
            limit: 1,
            ..EventFilter::default()
        };
        let event = read::events(&mut tx, &filter).await?.pop();
        let Some(event) = event.filter(|event| event.place.finality == Finality::Final) else { continue };
        sqlx::query(
            "WITH done AS (UPDATE anchors SET transaction_hash = $3
                           WHERE operator = $1 AND sequence = $2 AND transaction_hash IS NULL
                           RETURNING first_seal, count, first_audit_seal, audit_count),
                  audited AS (UPDATE audit_seals SET anchor = $3 FROM done
                              WHERE sequence >= done.first_audit_seal AND sequence < done.first_audit_seal + done.audit_count)
             UPDATE seals SET anchor = $3 FROM done
             WHERE seals.sequence >= done.first_seal AND seals.sequence < done.first_seal + done.count",
        )
        .bind(operator.as_slice())
        .bind(sequence)
        .bind(event.place.transaction_hash.as_slice())
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// How many of a chain's seals from one on are anchored without a gap, each proved against the contract again; or what is wrong.
pub(crate) async fn anchored(market: &Market, chain: Chain, from: u64, seals: u64) -> Result<(u64, Option<String>), Problem> {
    let Some(operator) = market.ledger_key.as_ref().map(PrivateKeySigner::address) else { return Ok((0, None)) };
    let contract = LedgerAnchor::new(market.deployment.ledger_anchor, &market.provider);
    let (first_seal, count) = columns(chain);
    let rows = format!(
        "SELECT * FROM anchors WHERE operator = $1 AND {count} > 0 AND {first_seal} < $3 AND {first_seal} + {count} > $2
             AND transaction_hash IS NOT NULL ORDER BY {first_seal}"
    );
    let (first, end) = (from.cast_signed(), from.saturating_add(seals).cast_signed());
    let rows = sqlx::query(AssertSqlSafe(rows)).bind(operator.as_slice()).bind(first).bind(end).fetch_all(&market.pool).await?;
    let mut proved = first;
    for row in rows {
        let (first_seal, count): (i64, i64) = (row.try_get(first_seal)?, row.try_get(count)?);
        let sequence = row.try_get::<i64, _>("sequence")?.unsigned_abs();
        let heads = heads_of(&mut *market.pool.acquire().await?, &row).await?;
        let root = merkle::root(&leaves(&heads)).unwrap_or_default();
        let asked = contract.isAnchored(operator, sequence, root, heads.len() as u64).call().await;
        if !asked.map_err(|_| Problem::new(api::Code::Unavailable, "The node does not answer, so anchors cannot be compared"))? {
            let problem = format!("the heads of batches {first_seal} to {} are not what was anchored", first_seal + count - 1);
            return Ok(((proved - first).unsigned_abs(), Some(problem)));
        }
        proved = proved.max((first_seal + count).min(end));
    }
    Ok(((proved - first).unsigned_abs(), None))
}

/// The way from a chain's seal to its anchor; none before it is anchored.
pub(crate) async fn proof(conn: &mut PgConnection, chain: Chain, seal: u64) -> sqlx::Result<Option<AnchorProof>> {
    let (first_seal, count) = columns(chain);
    let row = format!(
        "SELECT * FROM anchors WHERE {first_seal} <= $1 AND {first_seal} + {count} > $1 AND transaction_hash IS NOT NULL LIMIT 1"
    );
    let Some(row) = sqlx::query(AssertSqlSafe(row)).bind(seal.cast_signed()).fetch_optional(&mut *conn).await? else {
        return Ok(None);
    };
    let before = if chain == Chain::Audit { row.try_get("count")? } else { 0_i64 };
    let index = seal - row.try_get::<i64, _>(first_seal)?.unsigned_abs() + before.unsigned_abs();
    let leaves = leaves(&heads_of(conn, &row).await?);
    let path = merkle::path(&leaves, usize::try_from(index).unwrap_or(usize::MAX)).unwrap_or_default();
    let sequence = row.try_get::<i64, _>("sequence")?.unsigned_abs();
    Ok(Some(AnchorProof { operator: db::address(&row, "operator")?, sequence, count: leaves.len() as u64, index, path }))
}

/// The columns that say which seals of a chain an anchor has.
const fn columns(chain: Chain) -> (&'static str, &'static str) {
    match chain {
        Chain::Ledger => ("first_seal", "count"),
        Chain::Audit => ("first_audit_seal", "audit_count"),
    }
}

/// All heads that an anchor has.
async fn heads_of(conn: &mut PgConnection, row: &PgRow) -> sqlx::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for chain in [Chain::Ledger, Chain::Audit] {
        let (first_seal, count) = columns(chain);
        all.extend(heads(conn, chain, row.try_get(first_seal)?, row.try_get(count)?).await?);
    }
    Ok(all)
}

async fn heads(conn: &mut PgConnection, chain: Chain, first: i64, limit: i64) -> sqlx::Result<Vec<Vec<u8>>> {
    let table = chain.seals_table();
    let heads = format!("SELECT head FROM {table} WHERE sequence >= $1 AND sequence < $1 + $2 ORDER BY sequence");
    sqlx::query_scalar(AssertSqlSafe(heads)).bind(first).bind(limit).fetch_all(conn).await
}

fn leaves(heads: &[Vec<u8>]) -> Vec<B256> {
    heads.iter().map(|head| merkle::leaf(head)).collect()
}
