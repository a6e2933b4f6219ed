//! Whether the mirror is what the chain says: rows proved again, and state compared with what the contracts answer.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use contracts::{escrow::Escrow::agreementOfCall, multicall3::Multicall3, usdc::Usdc::balanceOfCall};
use sqlx::{PgConnection, PgPool, Row};
use tracing::{error, warn};

use crate::{
    Config, Error, db, deployment,
    metrics::Counters,
    node::Node,
    read::{self, Head},
    service, store,
    sync::{self, Difference, Report},
    watch::{Targets, Watch},
};

/// Calls that are asked for in one request.
const CALLS_AT_ONCE: usize = 200;

/// Fetches and proves blocks again and compares them with their rows; then compares the state at the newest mirrored block with the chain's.
/// Without a range, every mirrored block. `progress` is told the last block that was compared.
///
/// Reads only, so it may run beside a writer.
///
/// # Errors
/// When the node or the database cannot be used. What differs is not an error but in the report.
pub async fn verify(config: &Config, from: Option<u64>, to: Option<u64>, progress: impl FnMut(u64)) -> Result<Report, Error> {
    let node = Node::new(&config.rpc_url, config.rpc_quorum, Arc::new(Counters::default()));
    let chain_id = service::chain_id(config, &node).await?;
    let targets = deployment::resolve(config, chain_id)?;
    let pool = db::read_pool(&config.database_url).await?;
    let mut conn = pool.acquire().await?;
    let Some(head) = read::head(&mut conn).await? else { return Ok(Report::default()) };
    let first = read::status(&mut conn).await?.map_or(0, |status| status.start_block);
    let range: RangeInclusive<u64> = from.unwrap_or(first).max(first)..=to.unwrap_or(head.number).min(head.number);
    let mut watch = Watch::new(&targets, config.transfers);
    for (address, kind) in store::load_children(&mut conn, None).await? {
        watch.add(address, kind);
    }
    let mut report = sync::verify(&mut conn, &node, &watch, range, progress).await?;
    report.differences.extend(reconcile(&mut conn, &node, &targets, config).await?);
    Ok(report)
}

/// Compares the state with the chain again and again, on every instance: each reads, none writes.
pub(crate) async fn keep_reconciling(pool: PgPool, node: Node, targets: Targets, config: Config, counters: Arc<Counters>) {
    let every = Duration::from_secs(config.reconcile_seconds);
    while !every.is_zero() {
        tokio::time::sleep(every).await;
        let compared = async { reconcile(&mut *pool.acquire().await?, &node, &targets, &config).await };
        match compared.await {
            Ok(found) => {
                counters.reconciled(found.len());
                for difference in &found {
                    error!(block = difference.block, "{}", difference.what);
                }
            }
            Err(error) => warn!(%error, "the state could not be compared with the chain"),
        }
    }
}

/// Compares every mirrored balance and agreement with what the chain says at the newest mirrored block.
///
/// Both are read at that block, so nothing that happens meanwhile makes a difference.
pub(crate) async fn reconcile(
    conn: &mut PgConnection,
    node: &Node,
    targets: &Targets,
    config: &Config,
) -> Result<Vec<Difference>, Error> {
    let mut tx = sqlx::Connection::begin(conn).await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    let Some(head) = read::head(&mut tx).await? else { return Ok(Vec::new()) };
    let complete = config.transfers == crate::Transfers::All;
    let balances: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT account, balance FROM chain.balances AS b WHERE until_block IS NULL AND token = $1 AND account <> $3
         AND ($2 OR EXISTS (SELECT FROM chain.contracts WHERE address = account) OR account = ANY($4)) ORDER BY account",
    )
    .bind(targets.usdc.as_slice())
    .bind(complete)
    .bind(Address::ZERO.as_slice())
    .bind(targets.contracts.iter().map(|address| address.to_vec()).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await?;
    let mut found = Vec::new();
    for balances in balances.chunks(CALLS_AT_ONCE) {
        let accounts = balances.iter().map(|(account, _)| Address::from_slice(account));
        let calls = accounts.map(|account| (targets.usdc, balanceOfCall { account }.abi_encode()));
        for ((account, mirrored), answer) in balances.iter().zip(ask(node, &head, calls).await?) {
            let actual = balanceOfCall::abi_decode_returns(&answer).unwrap_or(U256::MAX);
            if U256::try_from(*mirrored).ok() != Some(actual) {
                let account = Address::from_slice(account);
                let what = format!("{account} holds {actual} base units of USDC, the mirror says {mirrored}");
                found.push(Difference { block: head.number, what });
            }
        }
    }
    found.extend(reconcile_agreements(&mut tx, node, targets, &head).await?);
    Ok(found)
}

async fn reconcile_agreements(
    conn: &mut PgConnection,
    node: &Node,
    targets: &Targets,
    head: &Head,
) -> Result<Vec<Difference>, Error> {
    let rows = sqlx::query("SELECT key, status, funded::text, released::text FROM chain.agreements WHERE until_block IS NULL");
    let rows = rows.fetch_all(conn).await?;
    let mut found = Vec::new();
    for rows in rows.chunks(CALLS_AT_ONCE) {
        let ids: Vec<B256> =
            rows.iter().map(|row| row.try_get::<Vec<u8>, _>("key").map(|id| B256::from_slice(&id))).collect::<Result<_, _>>()?;
        let calls = ids.iter().map(|id| (targets.escrow, agreementOfCall { id: *id }.abi_encode()));
        for ((id, row), answer) in ids.iter().zip(rows).zip(ask(node, head, calls).await?) {
            let actual = agreementOfCall::abi_decode_returns(&answer)
                .map(|state| (status(state.status), state.funded.to_string(), state.released.to_string()))
                .unwrap_or_default();
            let mirrored: (String, String, String) = (row.try_get("status")?, row.try_get("funded")?, row.try_get("released")?);
            if (actual.0, &actual.1, &actual.2) != (mirrored.0.as_str(), &mirrored.1, &mirrored.2) {
                found.push(Difference {
                    block: head.number,
                    what: format!("the agreement {id} is {actual:?} (state, funded, released), the mirror says {mirrored:?}"),
                });
            }
        }
    }
    Ok(found)
}

/// The contract's number of a state, as the mirror calls it.
fn status(number: u8) -> &'static str {
    ["none", "funded", "delivered", "disputed", "released", "refunded", "resolved"].get(usize::from(number)).unwrap_or(&"unknown")
}

/// The answers to calls at a block; empty where a call failed.
async fn ask(node: &Node, head: &Head, calls: impl Iterator<Item = (Address, Vec<u8>)>) -> Result<Vec<Bytes>, Error> {
    let calls = calls.map(|(target, data)| (target, true, Bytes::from(data))).collect();
    let call = Multicall3::aggregate3Call { calls }.abi_encode();
    let answer = node.call(contracts::Deployment::MULTICALL3, call.into(), head.hash).await?;
    let answers = Multicall3::aggregate3Call::abi_decode_returns(&answer).unwrap_or_default();
    Ok(answers.into_iter().map(|answer| answer.1).collect())
}
