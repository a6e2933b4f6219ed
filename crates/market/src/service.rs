use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use api::{
    Role,
    ledger::{Amount, Asset, Verified},
};
use axum::serve::ListenerExt;
use cache::Hot;
use contracts::Deployment;
use moka::future::Cache;
use money::{Bps, Usdc};
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, warn};
use url::Url;
use uuid::Uuid;
use x402::{FacilitatorClient, Network, Token, TraceContext};

use crate::{
    Config, Error,
    auth::{self, Auth, token::Tokens},
    content::Contents,
    creators, db, demand,
    discover::{
        self,
        meaning::{self, Meanings},
    },
    express::settle,
    feed::Feed,
    fraud, funds,
    ledger::{AccountId, Ledger, Rates},
    limits::Limits,
    mcp::Mcp,
    moment::Moment,
    news,
    proofs::Proofs,
    purchases::{Owned, Reader, Reversals},
    router,
    shortcut::Doors,
    standing, transactions,
    wallet::{self, purchase::Offer},
    webhooks::Webhooks,
};

/// How long the facilitator may take for an answer; a settlement waits for its block.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long connections may take to end: a client that reads nothing keeps no instance from stopping.
const DRAIN_MAX: Duration = Duration::from_secs(90);

/// How long it is good enough to know how many agents, listings and transactions there are.
const COUNTED: Duration = Duration::from_secs(60);

/// Numbers of accounts kept in memory.
const ACCOUNTS_MAX: u64 = 100_000;

/// Listings kept in memory, and purchases.
const OFFERS_MAX: u64 = 10_000;
const OWNED_MAX: u64 = 100_000;
/// Answers about the ledger kept in memory, and how long.
const VERIFIED_MAX: u64 = 1_000;
const VERIFIED: Duration = Duration::from_secs(30);

/// What every request needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Market(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) pool: PgPool,
    pub(crate) auth: Auth,
    pub(crate) limits: Limits,
    /// Proxies of ours that every request comes through.
    pub(crate) proxies: usize,
    pub(crate) provider: DynProvider,
    pub(crate) facilitator: FacilitatorClient,
    pub(crate) contents: Contents,
    /// What is looked for.
    pub(crate) demand: demand::Log,
    /// What was told of that some seconds ago.
    pub(crate) figures: demand::Figures,
    /// What listings and searches mean, where it can be told.
    pub(crate) meanings: Meanings,
    /// What was told of who leads some seconds ago.
    pub(crate) boards: standing::Boards,
    /// What happens, as it happens.
    pub(crate) feed: Feed,
    /// Where that is posted to.
    pub(crate) webhooks: Webhooks,
    pub(crate) ledger: Ledger,
    pub(crate) rates: Rates,
    /// ARD minted for a wallet that is new.
    pub(crate) signup_bonus: Amount,
    pub(crate) fraud_rules: fraud::Rules,
    /// Whom findings keep from paying.
    pub(crate) refused: fraud::Refused,
    /// USDC, or its worth, that one person may send to others in 24 hours.
    pub(crate) transfer_day_max: Amount,
    /// Signs the seals of the ledger.
    pub(crate) ledger_key: Option<PrivateKeySigner>,
    /// How often heads of seals are anchored on chain by that key.
    pub(crate) anchor_every: Option<Duration>,
    /// Numbers of accounts, which never change.
    pub(crate) accounts: Cache<(Uuid, Asset), AccountId>,
    /// What was for sale a moment ago.
    pub(crate) offers: Cache<Uuid, Arc<Offer>>,
    /// What could be read again, by whom, when so many sales were reversed.
    pub(crate) owned: Hot<Reader, Arc<Owned>>,
    /// Sales reversed until a moment ago.
    pub(crate) reversals: Reversals,
    /// How many agents, listings and transactions there are, now and then.
    pub(crate) counted: Cache<(), [u64; 3]>,
    /// What was found of batches of the ledger some seconds ago, and whose turn it is to have some proved.
    pub(crate) verified: Cache<(u64, u32), Verified>,
    pub(crate) verifying: Semaphore,
    /// Whose turn it is to change the catalog: who waits for that holds no connection.
    pub(crate) cataloguing: Semaphore,
    /// Whose turn it is to search.
    pub(crate) searching: Arc<discover::Turns>,
    /// What proofs about contents are made of.
    pub(crate) proofs: Proofs,
    /// What `/metrics` asks for; without it there is none.
    pub(crate) metrics_token: Option<String>,
    /// Bytes of content that one seller may have here.
    pub(crate) content_max_bytes: u64,
    /// Listings of one seller.
    pub(crate) listings_max: u32,
    /// Backs the ledger's USDC on chain.
    pub(crate) custody: Option<Address>,
    /// Signs for it, where withdrawals are sent from.
    pub(crate) custody_key: Option<PrivateKeySigner>,
    pub(crate) withdrawal_limits: funds::withdrawals::Limits,
    pub(crate) deployment: Deployment,
    pub(crate) token: Token,
    pub(crate) public_url: Url,
    pub(crate) terms: DealPolicy,
    /// Above it a model's user must agree to what the model pays.
    pub(crate) mcp_approve_above: Usdc,
    /// What answers models: it serves by the router, which is made of this.
    pub(crate) mcp: OnceLock<Weak<Mcp>>,
    /// The service ends, and so does what goes on until then.
    pub(crate) closing: CancellationToken,
    /// Settlements under way; they are finished before the service ends.
    pub(crate) tasks: TaskTracker,
}

/// What purchases in steps are offered on.
pub(crate) struct DealPolicy {
    /// From this price on the escrow is the default.
    pub(crate) escrow_from: Usdc,
    pub(crate) pay_within_seconds: u32,
    pub(crate) arbiter: Option<Address>,
    pub(crate) deliver_within_seconds: u32,
    pub(crate) review_seconds: u32,
    /// Of the price, from a buyer who disputes; from the ledger within limits.
    pub(crate) dispute_bond: Bps,
    pub(crate) dispute_bond_least: Usdc,
    pub(crate) dispute_bond_most: Usdc,
    pub(crate) confirmations: u64,
}

impl DealPolicy {
    /// What a buyer puts up to dispute a purchase from the ledger: the share, rounded up, but no less than the least, no more than the most, and never
    /// more than the price. Without a share, nothing.
    pub(crate) fn bond(&self, asset: Asset, price: Amount) -> Amount {
        if self.dispute_bond == Bps::ZERO {
            return Amount::ZERO;
        }
        let limit = |usdc| asset.price_of(usdc).unwrap_or(Amount::MAX);
        let share = price.mul_div_ceil(self.dispute_bond.get().into(), Bps::WHOLE.get().into()).unwrap_or(Amount::MAX);
        share.max(limit(self.dispute_bond_least)).min(limit(self.dispute_bond_most)).min(price)
    }
}

impl std::ops::Deref for Market {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    /// Does something for the request at hand that goes on when its client hangs up, and when the service is told to end.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn(TraceContext::carried(work.in_current_span()))
    }
}

/// Serves the marketplace until `shutdown`, then finishes requests and settlements under way.
///
/// # Errors
/// At once when the database, the node, the chain or the content directory cannot be used as configured.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let (market, seen) = open(&config, &listener, &shutdown).await?;
    let mut beside = JoinSet::new();
    let stop = || shutdown.child_token();
    beside.spawn(settle::follow_up(market.clone(), stop()));
    beside.spawn(wallet::upkeep(market.clone(), stop()));
    beside.spawn(funds::follow(market.clone(), stop()));
    beside.spawn(funds::anchor::anchor(market.clone(), stop()));
    beside.spawn(transactions::follow(market.clone(), stop()));
    beside.spawn(demand::follow(market.pool.clone(), stop()));
    beside.spawn(news::follow(market.clone(), stop()));
    beside.spawn(meaning::follow(market.clone(), stop()));
    beside.spawn(standing::follow(market.pool.clone(), market.deployment.escrow, stop()));
    beside.spawn(fraud::follow(market.clone(), stop()));
    let live = market.clone();
    beside.spawn(async move { live.feed.follow(&live.pool).await });
    let (live, end) = (market.clone(), stop());
    beside.spawn(async move { live.webhooks.follow(&live.pool, live.feed.hub.newest(), end).await });
    // Until the last request was answered.
    let logged = CancellationToken::new();
    beside.spawn(demand::write(market.pool.clone(), seen, logged.clone()));
    let service = Doors::new(market.clone(), router::router(market.clone()));
    // An answer whose head and body are written one after the other must not wait for the client to acknowledge the head.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            warn!(%error, "a connection stays slow");
        }
    });
    let serving = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let served = tokio::select! {
        served = serving => served,
        () = late => Ok(()),
    };
    shutdown.cancel();
    market.tasks.close();
    market.tasks.wait().await;
    // They end after what is at hand.
    logged.cancel();
    while beside.join_next().await.is_some() {}
    served.map_err(Error::Http)
}

/// Gives the creator with this email address a role. `false` when nobody has registered that address.
///
/// # Errors
/// When the database cannot be reached or fails.
pub async fn grant(database_url: &str, email: &str, role: Role) -> Result<bool, Error> {
    Ok(creators::grant_by_email(&db::pool(database_url).await?, email, role).await?)
}

/// Names another custody account for a ledger that owes nothing: how a mistyped first one is corrected. All instances must be stopped. The account
/// until now; none when there was none, and then the first instance names one.
///
/// # Errors
/// When the ledger owes something, or the database cannot be reached or fails.
pub async fn replace_custody(database_url: &str, new: Address) -> Result<Option<Address>, Error> {
    db::migrate(database_url).await?;
    db::replace_custody(&db::pool(database_url).await?, new).await
}

async fn open(
    config: &Config,
    listener: &TcpListener,
    shutdown: &CancellationToken,
) -> Result<(Market, mpsc::Receiver<demand::Seen>), Error> {
    let provider = ProviderBuilder::new().connect_http(config.rpc_url.clone()).erased();
    let chain_id = provider.get_chain_id().await.map_err(Error::NodeUnreachable)?;
    if let Some(expected) = config.chain_id.filter(|expected| *expected != chain_id) {
        return Err(Error::WrongChain { expected, actual: chain_id });
    }
    let deployment = match &config.deployment {
        Some(path) => Deployment::load(path)?,
        None => Deployment::for_chain(chain_id)?,
    };
    if let (Some(address), Some(key)) = (config.custody, &config.custody_key)
        && key.address() != address
    {
        return Err(Error::CustodyKey { address, key: key.address() });
    }
    let token = Token::usdc(&Network::evm(chain_id))?;
    db::migrate(&config.database_url).await?;
    let contents = Contents::open(&config.content).await;
    let local = listener.local_addr().map_err(Error::Http)?;
    let default_url = || Url::parse(&format!("http://{local}/")).expect("a socket address makes a URL");
    let secrets: Vec<_> = config.token_secrets.iter().map(|secret| secret.0).collect();
    if secrets.is_empty() {
        warn!("without FLORIN_MARKET_TOKEN_SECRETS access tokens end with this process, and are good at this instance only");
    }
    let secrets = if secrets.is_empty() { vec![auth::random().0] } else { secrets };
    let (pool, rates) = (db::pool(&config.database_url).await?, config.rates.clone());
    let public_url = db::public_url(&pool, config.public_url.as_ref(), config.moved_from.as_ref()).await?;
    let public_url = public_url.unwrap_or_else(default_url);
    let custody = config.custody.or(config.custody_key.as_ref().map(PrivateKeySigner::address));
    let custody = db::custody(&pool, custody).await?;
    let (demand, seen) = demand::Log::open(&pool).await?;
    let refused = fraud::Refused::default();
    refused.read(&pool).await?;
    let parts = Parts {
        feed: Feed::open(&pool, shutdown.child_token()).await?,
        webhooks: Webhooks::new(config.webhook_loopback),
        ledger: Ledger::start(pool.clone(), rates.clone()),
        rates,
        fraud_rules: config.fraud.clone(),
        refused,
        signup_bonus: config.signup_bonus,
        transfer_day_max: config.transfer_day_max(),
        ledger_key: config.ledger_key.clone(),
        anchor_every: config.anchor_seconds.map(Duration::from_secs),
        accounts: Cache::new(ACCOUNTS_MAX),
        offers: Cache::builder().max_capacity(OFFERS_MAX).expire_after(Moment).build(),
        owned: Hot::of_equals(OWNED_MAX),
        reversals: Reversals::default(),
        counted: Cache::builder().max_capacity(1).time_to_live(COUNTED).build(),
        verified: Cache::builder().max_capacity(VERIFIED_MAX).time_to_live(VERIFIED).build(),
        verifying: Semaphore::new(1),
        cataloguing: Semaphore::new(1),
        searching: discover::Turns::new(pool.clone()),
        proofs: Proofs::default(),
        metrics_token: config.metrics_token.clone(),
        content_max_bytes: config.content_max_bytes,
        listings_max: config.listings_max,
        pool,
        provider,
        facilitator: FacilitatorClient::new(config.facilitator_url.clone())?.timeout(SETTLE_TIMEOUT),
        meanings: Meanings::new(config),
        demand,
        figures: demand::Figures::default(),
        boards: standing::Boards::default(),
        contents: contents.map_err(|source| Error::Content { at: config.content.clone(), source })?,
        custody,
        custody_key: config.custody_key.clone(),
        withdrawal_limits: config.withdrawal_limits(),
        deployment,
        token,
        auth: Auth::new(Tokens::new(public_url.as_str(), &secrets)),
        limits: Limits::new(config.requests_per_minute, config.requests_per_minute_unknown),
        proxies: config.proxies,
        public_url,
        terms: DealPolicy {
            escrow_from: config.escrow_from,
            pay_within_seconds: config.pay_within_seconds,
            arbiter: config.arbiter,
            deliver_within_seconds: config.deliver_within_seconds,
            review_seconds: config.review_seconds,
            dispute_bond: Bps::new(config.dispute_bond_bps).unwrap_or(Bps::WHOLE),
            dispute_bond_least: config.dispute_bond_least,
            dispute_bond_most: config.dispute_bond_most,
            confirmations: config.confirmations,
        },
        mcp_approve_above: config.mcp_approve_above,
        mcp: OnceLock::new(),
        closing: shutdown.child_token(),
        tasks: TaskTracker::new(),
    };
    Ok((Market(Arc::new(parts)), seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bond_is_a_share_rounded_up_within_its_limits_and_never_more_than_the_price() {
        let policy = |bps| DealPolicy {
            escrow_from: Usdc::ZERO,
            pay_within_seconds: 0,
            arbiter: None,
            deliver_within_seconds: 0,
            review_seconds: 0,
            dispute_bond: Bps::new(bps).unwrap_or_default(),
            dispute_bond_least: Config::DISPUTE_BOND_LEAST,
            dispute_bond_most: Config::DISPUTE_BOND_MOST,
            confirmations: 1,
        };
        let bond = |bps, asset, price| policy(bps).bond(asset, Amount::from_units(price).unwrap_or_default()).units();
        assert_eq!(bond(500, Asset::Usdc, 1_000_001), 50_001);
        assert_eq!(bond(500, Asset::Usdc, 100_000), 10_000, "a cent at least");
        assert_eq!(bond(500, Asset::Ard, 100_000_000), 10_000_000, "or its worth");
        assert_eq!(bond(500, Asset::Usdc, 5_000_000_000), 50_000_000, "50 USDC at most");
        assert_eq!(bond(500, Asset::Usdc, 3), 3, "the price at most");
        assert_eq!(bond(0, Asset::Usdc, 1_000_000), 0);
    }
}
