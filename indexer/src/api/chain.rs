use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::{Config, Transfers, chains::Rules, feed::Bell, metrics::Counters, node::Node};

/// Accounts whose balance before the mirror is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Accounts that the node is asked about at the same time. Each holds a connection to the database meanwhile, of which there are twice as many:
/// asking for accounts that nobody asked for before takes the API from nobody.
const ASKED_MAX: usize = 8;

/// A chain that is mirrored here.
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) pool: PgPool,
    /// For webhooks, the only thing that is written here.
    pub(crate) writing: PgPool,
    pub(crate) usdc: Address,
    /// Where services are registered now.
    pub(crate) registry: Address,
    transfers: Transfers,
    /// Neither balances nor state are kept.
    raw: bool,
    /// Our contracts, those that factories created left out.
    pub(crate) contracts: HashSet<Address>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) node: Node,
    pub(crate) bell: Bell,
    pub(crate) rules: Rules,
    /// It never changes: it is of a block before the first.
    held_before: Mutex<HashMap<Address, u64>>,
    asking: Semaphore,
    /// The newest block that was seen, and when first.
    seen: Mutex<(Option<u64>, Instant)>,
}

impl Chain {
    #[expect(clippy::too_many_arguments, reason = "one caller, which names them")]
    pub(crate) fn new(
        name: String,
        id: u64,
        pool: PgPool,
        writing: PgPool,
        usdc: Address,
        registry: Address,
        config: &Config,
        contracts: HashSet<Address>,
        counters: Arc<Counters>,
        node: Node,
        bell: Bell,
        rules: Rules,
    ) -> Self {
        Self {
            name,
            id,
            pool,
            writing,
            usdc,
            registry,
            transfers: config.transfers,
            raw: config.raw,
            contracts,
            counters,
            node,
            bell,
            rules,
            held_before: Mutex::default(),
            asking: Semaphore::new(ASKED_MAX),
            seen: Mutex::new((None, Instant::now())),
        }
    }

    /// For how long the newest block has been this one.
    pub(super) fn seen(&self, newest: Option<u64>) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != newest {
            *seen = (newest, Instant::now());
        }
        seen.1.elapsed()
    }

    /// What an account held before the first mirrored block, in base units. The node is asked once per account.
    pub(super) async fn held_before(&self, start_block: u64, account: Address) -> Result<u64, Problem> {
        let Some(block) = start_block.checked_sub(1) else { return Ok(0) };
        if let Some(held) = self.held_before.lock().unwrap_or_else(PoisonError::into_inner).get(&account) {
            return Ok(*held);
        }
        let asking = self.asking.try_acquire();
        let _asking = asking.map_err(|_| Problem::unavailable("The node is being asked about other accounts, try again"))?;
        let held = self.node.balance_for_readers(self.usdc, account, block).await.map_err(|error| {
            Problem::unavailable(format!("What {account} held before the mirror begins (block {block}) cannot be read: {error}"))
        })?;
        let held = held.saturating_to();
        let mut remembered = self.held_before.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(account, held);
        Ok(held)
    }

    /// Whether balances are kept.
    pub(super) const fn has_balances(&self) -> bool {
        !self.raw
    }

    /// Whether every transfer of the account is mirrored.
    pub(super) async fn has_all_of(&self, conn: &mut PgConnection, account: Address) -> Result<bool, sqlx::Error> {
        if self.transfers == Transfers::All || self.contracts.contains(&account) {
            return Ok(true);
        }
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM chain.checked WHERE address = $1)")
            .bind(account.as_slice())
            .fetch_one(conn)
            .await
    }
}
