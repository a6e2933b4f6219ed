//! Whether the mirror is what the chain says: rows proved again, and state compared with what the contracts answer.

mod facts;
mod objects;
mod payments;
mod proposals;
mod treasuries;
mod wallets;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, Bytes, I256, U256},
    sol_types::SolCall,
};
use contracts::{Deployment, multicall3::Multicall3, usdc::Usdc::balanceOfCall};
use sqlx::{PgConnection, PgPool};
use tracing::{error, warn};

use crate::{
    Config, Error, Transfers,
    chains::ARC_USDC,
    db, deployment,
    metrics::Counters,
    node::{At, Node},
    read::{self, Agreement, Head, Service, Subscription},
    service, store,
    sync::{self, Difference, Report},
    watch::{Targets, Watch},
};

/// Objects that are compared at a time, with one request.
const CALLS_AT_ONCE: i64 = 200;
/// Newest blocks whose payments are found again each time.
const PAYMENTS_BLOCKS: u64 = 10_000;
/// Differences that are told in words. There may be as many as there are accounts.
const TOLD_MAX: u64 = 100;

/// What is compared with the chain, by its names in the metric.
pub(crate) const COMPARED: [&str; 8] =
    ["balances", "agreements", "wallets", "treasuries", "subscriptions", "services", "proposals", "payments"];

/// What is not as the chain says.
#[derive(Default)]
pub(crate) struct Found {
    count: u64,
    told: Vec<Difference>,
}

impl Found {
    fn add(&mut self, head: &Head, what: impl FnOnce() -> String) {
        if self.count < TOLD_MAX {
            self.told.push(Difference { block: head.number, what: what() });
        }
        self.count += 1;
    }

    /// All of them; what was not kept as one.
    fn told(self, what: &str, block: u64) -> Vec<Difference> {
        let more = self.count.saturating_sub(TOLD_MAX);
        let more = (more > 0).then(|| Difference { block, what: format!("and {more} more differences in {what}") });
        self.told.into_iter().chain(more).collect()
    }
}

/// Fetches and proves blocks again and compares them with their rows; then compares the state at the newest mirrored block with the chain's.
/// Without bounds, every mirrored block. `progress` is told the last block that was compared.
///
/// Reads only, so it may run beside a writer.
///
/// # Errors
/// When the node or the database cannot be used. What differs is not an error but in the report.
pub async fn verify(config: &Config, from: Option<u64>, to: Option<u64>, progress: impl FnMut(u64)) -> Result<Report, Error> {
    let node = Node::new(config, Arc::new(Counters::default()));
    let chain_id = service::chain_id(config, &node).await?;
    let targets = deployment::resolve(config, chain_id)?;
    let pool = db::read_pool(&config.database_url).await?;
    let mut conn = pool.acquire().await?;
    let mirrored = read::status(&mut conn).await?.and_then(|status| Some(status.start_block..=status.indexed?.number));
    let (from, to) = match &mirrored {
        Some(blocks) => (from.unwrap_or(*blocks.start()), to.unwrap_or(*blocks.end())),
        None => (from.unwrap_or_default(), to.unwrap_or_default()),
    };
    if from > to || !mirrored.as_ref().is_some_and(|blocks| blocks.contains(&from) && blocks.contains(&to)) {
        return Err(Error::NotInMirror { from, to, mirrored });
    }
    let deployed = store::load_watched(&mut conn).await?;
    let mut watch = Watch::new(targets.usdc, &deployed, config.transfers);
    for (address, kind) in store::load_children(&mut conn, None).await? {
        watch.add(address, kind);
    }
    let mut report = sync::verify(&mut conn, &node, &watch, from..=to, progress).await?;
    for (what, found) in COMPARED.into_iter().zip(reconcile(&mut conn, &node, &targets, config, Some(from..=to)).await?) {
        report.differences.extend(found.told(what, to));
    }
    Ok(report)
}

/// Compares the state with the chain again and again, on every instance: each reads, none writes.
pub(crate) async fn keep_reconciling(pool: PgPool, node: Node, targets: Targets, config: Config, counters: Arc<Counters>) {
    let every = Duration::from_secs(config.reconcile_seconds);
    while !every.is_zero() {
        tokio::time::sleep(every).await;
        let compared = async { reconcile(&mut *pool.acquire().await?, &node, &targets, &config, None).await };
        match compared.await {
            Ok(found) => {
                counters.reconciled(found.each_ref().map(|found| found.count));
                for difference in found.iter().flat_map(|found| &found.told) {
                    error!(block = difference.block, "{}", difference.what);
                }
            }
            Err(error) => warn!(%error, "the state could not be compared with the chain"),
        }
    }
}

/// Compares every mirrored balance and object with what the chain says at the newest mirrored block, and the payments of `payments`, or of the
/// newest blocks, with the rows that tell of them. In the order of [`COMPARED`].
///
/// All are read at that block, so nothing that happens meanwhile makes a difference. Read in pages: memory does not grow with the mirror.
pub(crate) async fn reconcile(
    conn: &mut PgConnection,
    node: &Node,
    targets: &Targets,
    config: &Config,
    payments: Option<RangeInclusive<u64>>,
) -> Result<[Found; COMPARED.len()], Error> {
    let mut tx = sqlx::Connection::begin(conn).await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
    let Some(head) = read::head(&mut tx).await? else { return Ok(Default::default()) };
    let first = targets.start_block.max(head.number.saturating_sub(PAYMENTS_BLOCKS - 1));
    let payments = payments.unwrap_or(first..=head.number);
    Ok([
        reconcile_balances(&mut tx, node, targets, config, &head).await?,
        objects::reconcile::<Agreement>(&mut tx, node, &head).await?,
        wallets::reconcile(&mut tx, node, &head).await?,
        treasuries::reconcile(&mut tx, node, &head).await?,
        objects::reconcile::<Subscription>(&mut tx, node, &head).await?,
        objects::reconcile::<Service>(&mut tx, node, &head).await?,
        proposals::reconcile(&mut tx, node, &head).await?,
        if config.raw { Found::default() } else { payments::reconcile(&mut tx, &head, payments).await? },
    ])
}

/// A mirrored balance is what came and went since the start block, so it is compared with the change since the block before it. Where USDC pays
/// for gas too, that is not all that changes it, and nothing is compared.
async fn reconcile_balances(
    conn: &mut PgConnection,
    node: &Node,
    targets: &Targets,
    config: &Config,
    head: &Head,
) -> Result<Found, Error> {
    if targets.usdc == ARC_USDC {
        return Ok(Found::default());
    }
    let complete = config.transfers == Transfers::All;
    let ours: Vec<Vec<u8>> = targets.contracts.iter().map(|address| address.to_vec()).collect();
    let (mut found, mut after) = (Found::default(), Vec::new());
    loop {
        let page: Vec<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT account, balance FROM chain.balances WHERE until_block IS NULL AND token = $1 AND account > $2 AND account <> $3
             AND ($4 OR account = ANY($5) OR EXISTS (SELECT FROM chain.checked WHERE address = account)) ORDER BY account LIMIT $6",
        )
        .bind(targets.usdc.as_slice())
        .bind(&after)
        .bind(Address::ZERO.as_slice())
        .bind(complete)
        .bind(&ours)
        .bind(CALLS_AT_ONCE)
        .fetch_all(&mut *conn)
        .await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        let accounts: Vec<Address> = page.iter().map(|(account, _)| Address::from_slice(account)).collect();
        let now = balances(node, targets.usdc, &accounts, At::Hash(head.hash)).await?;
        let before = match targets.start_block.checked_sub(1) {
            Some(block) => balances(node, targets.usdc, &accounts, At::Number(block)).await?,
            None => vec![None; accounts.len()],
        };
        for ((account, (_, mirrored)), (now, before)) in accounts.iter().zip(page).zip(now.into_iter().zip(before)) {
            let change = now.map(|now| I256::from_raw(now) - I256::from_raw(before.unwrap_or_default()));
            if change != I256::try_from(mirrored).ok() {
                let change = change.map_or_else(|| "unreadable".to_owned(), |change| change.to_string());
                found.add(head, || {
                    format!("{account}: the mirror says {mirrored} base units of USDC since its first block, the chain {change}")
                });
            }
        }
    }
}

/// What accounts hold at a block; none where the token does not say, as before it was there.
async fn balances(node: &Node, token: Address, accounts: &[Address], at: At) -> Result<Vec<Option<U256>>, Error> {
    let calls = accounts.iter().map(|account| (token, balanceOfCall { account: *account }.abi_encode()));
    let answers = ask(node, at, calls.collect()).await?;
    Ok(answers.iter().map(|answer| balanceOfCall::abi_decode_returns(answer).ok()).collect())
}

/// The answers to calls at a block, in their order; empty where a call failed, and all of them before Multicall3 was there.
async fn ask(node: &Node, at: At, calls: Vec<(Address, Vec<u8>)>) -> Result<Vec<Bytes>, Error> {
    let count = calls.len();
    let calls = calls.into_iter().map(|(target, data)| (target, true, Bytes::from(data))).collect();
    let call = Multicall3::aggregate3Call { calls }.abi_encode();
    let answer = node.call(Deployment::MULTICALL3, call.into(), at).await?;
    if answer.is_empty() && matches!(at, At::Number(_)) {
        return Ok(vec![Bytes::new(); count]);
    }
    let answers = Multicall3::aggregate3Call::abi_decode_returns(&answer).unwrap_or_default();
    if answers.len() != count {
        return Err(Error::Unreadable { contract: Deployment::MULTICALL3 });
    }
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}
