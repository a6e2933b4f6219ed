use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use alloy::{
    primitives::{Address, U256, keccak256},
    providers::{DynProvider, ext::AnvilApi},
    signers::local::PrivateKeySigner,
};
use contracts::{DeployError, Deployment};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::{
    Account, AnvilOptions, CHAIN_ID, Chain, Database, Error, Postgres,
    service::{Service, listen},
    shared,
};

const CONFIRM_TIMEOUT_SECONDS: u64 = 60;
/// What the custody account of the market has for gas: 10 ETH.
const CUSTODY_GAS_WEI: u128 = 10_000_000_000_000_000_000;

/// How to start the stack. Every port may be zero for a free one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Port of the chain's node.
    pub chain_port: u16,
    /// Port of the facilitator.
    pub facilitator_port: u16,
    /// Port of the indexer.
    pub indexer_port: u16,
    /// Port of the market.
    pub market_port: u16,
    /// Seconds between blocks; without it every transaction makes a block at once.
    pub block_seconds: Option<u64>,
    /// A Postgres server to use instead of an own one; a database is made on it and removed in the end.
    pub database_url: Option<String>,
    /// Starts no market: a test of the market starts those it needs, in this stack's database.
    pub without_market: bool,
}

/// The whole product, running. Dropping it stops everything; [`Stack::shutdown`] also waits for it.
#[derive(Debug)]
pub struct Stack {
    services: Services,
    // Before the chain and the database, so that services are told to stop while both are still there.
    stop: DropGuard,
    chain: Chain,
    database: OwnDatabase,
}

#[derive(Debug)]
struct Services {
    facilitator: Service,
    indexer: Service,
    market: Option<Service>,
}

/// A database of this stack, and the server if it is this stack's as well.
#[derive(Debug)]
struct OwnDatabase {
    database: Database,
    server: Option<Server>,
}

#[derive(Debug)]
enum Server {
    Own(Box<Postgres>),
    Shared(&'static Postgres),
}

impl Stack {
    /// Starts chain, database and services, and returns when all of them answer.
    ///
    /// # Errors
    /// The first part that does not start says why; what had been started is stopped.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let anvil = AnvilOptions { port: options.chain_port, block_seconds: options.block_seconds, load_state: None };
        let (chain, database) = tokio::try_join!(Chain::start(&anvil), OwnDatabase::start(options.database_url.as_deref()))?;
        migrate(&database.database.url).await?;
        Self::serve(&options, chain, database).await
    }

    /// A stack for one test: a chain and a database of its own, copied from ones that are set up once per process.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn for_test() -> Result<Self, Error> {
        Self::copy(&Options::default()).await
    }

    /// The same for a test of the market: see [`Options::without_market`].
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn without_market() -> Result<Self, Error> {
        Self::copy(&Options { without_market: true, ..Options::default() }).await
    }

    async fn copy(options: &Options) -> Result<Self, Error> {
        let shared = shared::get().await?;
        let copy = async {
            let database = shared.postgres.create(&unique_name(), Some(&shared.template)).await?;
            Ok(OwnDatabase { database, server: Some(Server::Shared(&shared.postgres)) })
        };
        let (chain, database) = tokio::try_join!(Chain::resume(&shared.state), copy)?;
        Self::serve(options, chain, database).await
    }

    async fn serve(options: &Options, chain: Chain, database: OwnDatabase) -> Result<Self, Error> {
        let token = CancellationToken::new();
        let stop = token.clone().drop_guard();
        let services = Services::start(options, &chain, &database.database.url, &token).await?;
        Ok(Self { services, stop, chain, database })
    }

    /// The chain.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Where the chain's node answers JSON-RPC.
    pub fn rpc_url(&self) -> &Url {
        self.chain.rpc_url()
    }

    /// A connection to the chain's node, which signs for the dev accounts itself.
    pub const fn provider(&self) -> &DynProvider {
        self.chain.provider()
    }

    /// Where the contracts are.
    pub const fn deployment(&self) -> &Deployment {
        self.chain.deployment()
    }

    /// The database of the services.
    pub fn database_url(&self) -> &str {
        &self.database.database.url
    }

    /// Where the facilitator answers.
    pub const fn facilitator_url(&self) -> &Url {
        self.services.facilitator.url()
    }

    /// Where the indexer answers.
    pub const fn indexer_url(&self) -> &Url {
        self.services.indexer.url()
    }

    /// Where the market answers.
    ///
    /// # Panics
    /// When there is none: see [`Options::without_market`].
    pub const fn market_url(&self) -> &Url {
        self.services.market.as_ref().expect("a stack with a market").url()
    }

    /// The account that backs the market's balances. The market has its key, and sends withdrawals from it.
    pub fn custody(&self) -> Address {
        custody().address()
    }

    /// One of the accounts with money, by its place among the ten.
    ///
    /// # Panics
    /// When `index` is not below [`Account::COUNT`].
    pub fn account(&self, index: usize) -> Account {
        Account::at(index)
    }

    /// What a person needs to try things: where everything answers, where the contracts are, accounts with money and their keys.
    pub fn addresses(&self) -> Vec<(String, String)> {
        let services = [
            ("chain", self.rpc_url()),
            ("facilitator", self.facilitator_url()),
            ("indexer", self.indexer_url()),
            ("market", self.market_url()),
        ];
        let mut lines: Vec<_> = services.iter().map(|(name, url)| ((*name).to_owned(), url.to_string())).collect();
        lines.push(("market's custody".into(), self.custody().to_string()));
        lines.push(("database".into(), self.database_url().into()));
        lines.extend(self.deployment().addresses().into_iter().map(|(name, address)| (name.to_owned(), address.to_string())));
        lines.extend(Account::all().iter().map(|account| {
            let role = account.role().map(|role| format!(" ({role})")).unwrap_or_default();
            (format!("account {}{role}", account.index), format!("{} key {}", account.address, account.key()))
        }));
        lines
    }

    /// Stops everything in order and waits until it has ended: services finish what they do, then the database and the chain go.
    pub async fn shutdown(self) {
        let Self { services, stop, chain, database } = self;
        drop(stop);
        services.stopped().await;
        database.stop().await;
        chain.stop().await;
    }
}

impl Services {
    async fn start(options: &Options, chain: &Chain, database_url: &str, stop: &CancellationToken) -> Result<Self, Error> {
        let (facilitator, indexer) = tokio::try_join!(
            start_facilitator(options.facilitator_port, chain, database_url, stop),
            start_indexer(options.indexer_port, chain, database_url, stop),
        )?;
        let market = match options.without_market {
            true => None,
            false => Some(start_market(options.market_port, chain, database_url, facilitator.url(), stop).await?),
        };
        Ok(Self { facilitator, indexer, market })
    }

    async fn stopped(self) {
        if let Some(market) = self.market {
            market.stopped().await;
        }
        self.facilitator.stopped().await;
        self.indexer.stopped().await;
    }
}

/// Brings the schemas of all services up to date.
pub(crate) async fn migrate(database_url: &str) -> Result<(), Error> {
    let failed = |name, source: Box<dyn std::error::Error + Send + Sync>| Error::Service { name, source };
    facilitator::migrate(database_url).await.map_err(|error| failed("facilitator", Box::new(error)))?;
    indexer::migrate(database_url).await.map_err(|error| failed("indexer", Box::new(error)))?;
    market::migrate(database_url).await.map_err(|error| failed("market", Box::new(error)))?;
    Ok(())
}

async fn start_facilitator(port: u16, chain: &Chain, database_url: &str, stop: &CancellationToken) -> Result<Service, Error> {
    let (listener, address) = listen(port).await?;
    let (escrow, collector) = contracts::dev::AUTH_CAPTURE;
    let config = facilitator::Config {
        database_url: Some(database_url.to_owned()),
        journal: None,
        rpc_urls: vec![chain.rpc_url().clone()],
        chain_id: Some(CHAIN_ID),
        listen: address,
        signer_keys: vec![Account::at(Account::FACILITATOR).signer.into()],
        wallet_factories: vec![chain.deployment().agent_wallet_factory],
        channel_authorizer_key: None,
        auth_capture: Some(x402::auth_capture::Deployment { escrow, collector }),
        confirm_timeout_seconds: CONFIRM_TIMEOUT_SECONDS,
        settlement: facilitator::SettlementConfig::default(),
        admission: facilitator::AdmissionConfig::default(),
    };
    Service::start("facilitator", address, facilitator::serve(config, listener, stop.clone())).await
}

async fn start_indexer(port: u16, chain: &Chain, database_url: &str, stop: &CancellationToken) -> Result<Service, Error> {
    let (listener, address) = listen(port).await?;
    let mut config = indexer::Config::new(database_url, chain.rpc_url().clone());
    // Not that of the chain it stands in for: nobody waits for it here.
    config.finality_blocks = Some(indexer::Config::FINALITY_BLOCKS);
    config.chain_id = Some(CHAIN_ID);
    config.start_block = Some(chain.deployment().start_block);
    config.listen = address;
    Service::start("indexer", address, indexer::serve(config, listener, stop.clone())).await
}

async fn start_market(
    port: u16,
    chain: &Chain,
    database_url: &str,
    facilitator: &Url,
    stop: &CancellationToken,
) -> Result<Service, Error> {
    let (listener, address) = listen(port).await?;
    // In the chain's directory, which is removed whatever ends us.
    let content = chain.directory().join("content");
    let mut config = market::Config::new(database_url, chain.rpc_url().clone(), facilitator.clone(), content);
    config.chain_id = Some(CHAIN_ID);
    config.listen = address;
    let key = custody();
    chain.provider().anvil_set_balance(key.address(), U256::from(CUSTODY_GAS_WEI)).await.map_err(DeployError::from)?;
    config.custody_key = Some(key);
    Service::start("market", address, market::serve(config, listener, stop.clone())).await
}

/// Its own key, beside the ten accounts, so that it has USDC by deposits only.
fn custody() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("florin dev custody")).expect("a hash is a scalar of the curve")
}

impl OwnDatabase {
    async fn start(url: Option<&str>) -> Result<Self, Error> {
        let server = Postgres::start(url).await?;
        let database = server.create(&unique_name(), None).await?;
        Ok(Self { database, server: Some(Server::Own(Box::new(server))) })
    }

    /// A server of our own takes its databases with it.
    async fn stop(mut self) {
        match self.server.take() {
            Some(Server::Own(server)) if !server.is_external() => server.stop().await,
            Some(Server::Own(server)) => remove(&server, &self.database.name).await,
            Some(Server::Shared(server)) => remove(server, &self.database.name).await,
            None => {}
        }
    }
}

/// Without [`Stack::shutdown`] a database on somebody else's server would stay. Dropping cannot wait, so a thread does.
impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let Some(Server::Own(server)) = self.server.take() else { return };
        if !server.is_external() {
            return;
        }
        let name = self.database.name.clone();
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(remove(&server, &name)))
        });
        let _ = removal.join();
    }
}

async fn remove(server: &Postgres, name: &str) {
    if let Err(error) = server.drop_database(name).await {
        tracing::warn!(database = name, %error, "the database could not be removed");
    }
}

/// A name that no other stack on the same server has.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("florin_{}_{}_{}", process::id(), started, COUNT.fetch_add(1, Ordering::Relaxed))
}
