//! A chain with the real USDC, a database, and indexers to start and kill.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::{TransactionReceipt, TransactionRequest},
    sol_types::SolCall,
};
use contracts::{
    Deployment, dev,
    usdc::Usdc::{balanceOfCall, transferCall},
};
use indexer::Config;
use money::Usdc;
use serde_json::Value;
use sqlx::PgPool;
use stack::{Anvil, AnvilOptions, Postgres};
use tokio::{net::TcpListener, sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// A dev chain of its own.
pub(crate) struct Chain {
    anvil: Anvil,
    pub(crate) provider: DynProvider,
    pub(crate) accounts: Vec<Address>,
    pub(crate) deployment: Deployment,
}

impl Chain {
    /// A dev chain where each of ten accounts holds 1,000 USDC.
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(anvil.rpc_url().clone()).erased();
        provider.client().set_poll_interval(Duration::from_millis(2));
        let deployment = dev::set_up(&provider).await.unwrap();
        let accounts = provider.get_accounts().await.unwrap();
        for to in &accounts {
            dev::mint(&provider, *to, Usdc::from_whole(1_000).unwrap()).await.unwrap();
        }
        Self { anvil, provider, accounts, deployment }
    }

    pub(crate) fn url(&self) -> &url::Url {
        self.anvil.rpc_url()
    }

    pub(crate) async fn send(&self, tx: TransactionRequest) -> TransactionReceipt {
        let receipt = self.provider.send_transaction(tx).await.unwrap().with_timeout(Some(WAIT)).get_receipt().await.unwrap();
        assert!(receipt.status());
        receipt
    }

    pub(crate) fn tx(&self, from: Address, call: impl SolCall) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(from)
            .with_to(self.deployment.usdc)
            .with_gas_limit(300_000)
            .with_input(call.abi_encode())
    }

    pub(crate) async fn call(&self, from: Address, call: impl SolCall) -> TransactionReceipt {
        self.send(self.tx(from, call)).await
    }

    /// Pays between two of the accounts, by index.
    pub(crate) async fn pay(&self, from: usize, to: usize, amount: u64) -> TransactionReceipt {
        self.call(self.accounts[from], transfer(self.accounts[to], amount)).await
    }

    /// Mines one block with these payments.
    pub(crate) async fn block(&self, payments: &[(usize, usize, u64)]) {
        self.provider.anvil_set_auto_mine(false).await.unwrap();
        for (from, to, amount) in payments {
            let call = transfer(self.accounts[*to], *amount);
            let _ = self.provider.send_transaction(self.tx(self.accounts[*from], call)).await.unwrap();
        }
        self.provider.evm_mine(None).await.unwrap();
        self.provider.anvil_set_auto_mine(true).await.unwrap();
    }

    pub(crate) async fn balance(&self, account: Address) -> u64 {
        let call = TransactionRequest::default().with_to(self.deployment.usdc).with_input(balanceOfCall { account }.abi_encode());
        U256::from_be_slice(&self.provider.call(call).await.unwrap()).to()
    }

    pub(crate) async fn height(&self) -> u64 {
        self.provider.get_block_number().await.unwrap()
    }
}

pub(crate) fn transfer(to: Address, base_units: u64) -> transferCall {
    transferCall { to, value: U256::from(base_units) }
}

/// An empty database.
pub(crate) async fn database() -> String {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(|| async { Postgres::start(None).await.unwrap() }).await;
    let name = format!("indexer_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    server.create(&name, None).await.unwrap().url
}

/// A running indexer.
pub(crate) struct Indexer {
    pub(crate) url: String,
    pub(crate) task: JoinHandle<Result<(), indexer::Error>>,
    shutdown: CancellationToken,
}

pub(crate) fn config(chain: &Chain, database: &str) -> Config {
    let mut config = Config::new(database, chain.url().clone());
    config.start_block = Some(chain.deployment.start_block);
    config.finality_blocks = Some(Config::FINALITY_BLOCKS);
    config
}

impl Indexer {
    pub(crate) async fn start(chain: &Chain, database: &str) -> Self {
        let indexer = Self::start_with(config(chain, database)).await;
        indexer.ready().await;
        indexer
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(indexer::serve(config, listener, shutdown.clone()));
        Self { url, task, shutdown }
    }

    /// Waits until it says that it is healthy.
    pub(crate) async fn ready(&self) {
        let healthy = async {
            loop {
                if let Ok(response) = reqwest::get(format!("{}/ready", self.url)).await
                    && response.status().is_success()
                {
                    return;
                }
                assert!(!self.task.is_finished(), "the indexer ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WAIT, healthy).await.expect("the indexer becomes healthy");
    }

    /// Waits until it answers anything, or ends.
    pub(crate) async fn started(&self) -> bool {
        while reqwest::get(format!("{}/health", self.url)).await.is_err() || self.task.is_finished() {
            if self.task.is_finished() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Ends it as a crash would: nothing is finished.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn pool(database: &str) -> PgPool {
    PgPool::connect(database).await.unwrap()
}

/// Waits until the mirror ends with the node's newest block.
pub(crate) async fn synced(chain: &Chain, pool: &PgPool) {
    let same = async {
        loop {
            let head = chain.provider.get_block_by_number(Default::default()).await.unwrap().unwrap().header;
            indexer::read::wait_for_block(pool, head.number, WAIT).await.unwrap();
            let mirrored = indexer::read::head(&mut pool.acquire().await.unwrap()).await.unwrap().unwrap();
            if mirrored.hash == head.hash {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, same).await.expect("the mirror reaches the node's newest block");
}

/// Every row that follows from the chain, as text.
pub(crate) async fn dump(pool: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'chain'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
         AND relname NOT IN ('sync', 'reorgs', '_sqlx_migrations') ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut text = String::new();
    for table in tables {
        let rows = format!("SELECT t::text FROM chain.{table} AS t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(pool).await.unwrap();
        text += &format!("{table}: {} rows\n{}\n", rows.len(), rows.join("\n"));
    }
    text
}

/// Fails unless the mirror is what indexing the chain from scratch gives.
pub(crate) async fn assert_as_from_scratch(chain: &Chain, pool: &PgPool) {
    let fresh = database().await;
    let indexer = Indexer::start(chain, &fresh).await;
    let fresh = self::pool(&fresh).await;
    synced(chain, &fresh).await;
    indexer.stop().await;
    let (ours, theirs) = (dump(pool).await, dump(&fresh).await);
    if let Some((a, b)) = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b) {
        panic!("the mirror differs from one made from scratch\n  has  {a}\n  not  {b}");
    }
    assert_eq!(ours.len(), theirs.len(), "one mirror has more rows");
}

/// Fails unless every mirrored balance is what the token says.
pub(crate) async fn assert_balances(chain: &Chain, pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    for account in &chain.accounts {
        let mirrored = indexer::read::account(&mut conn, chain.deployment.usdc, *account, None).await.unwrap();
        assert_eq!(mirrored.balance.to_usdc().unwrap().base_units(), chain.balance(*account).await, "balance of {account}");
    }
}
