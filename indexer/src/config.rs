use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;
use url::Url;

/// How the indexer runs.
#[derive(clap::Args, Clone)]
pub struct Config {
    /// Postgres database that holds the schema `chain`, as postgres://user:password@host/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// JSON-RPC endpoints of the chain, separated by commas, the preferred one first; when it fails, lies or falls behind, the next is
    /// asked. ws:// and wss:// push new blocks, http:// and https:// are asked for them
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true, value_delimiter = ',', required = true)]
    pub rpc_url: Vec<Url>,
    /// How many of the endpoints must have a block before it is believed to be the chain's, and say the same of what nothing proves
    #[arg(long, env = "FLORIN_INDEXER_RPC_QUORUM", default_value_t = 1)]
    pub rpc_quorum: usize,
    /// Believe what the node says without proof: for a chain whose blocks cannot be proved by what its nodes answer (cronos). Best with
    /// --rpc-quorum 2 and endpoints of different providers, which must then say the same of every block and receipt
    #[arg(long, env = "FLORIN_INDEXER_TRUST_NODE")]
    pub trust_node: bool,
    /// Chain that the node must be on; without it, whatever the node is on
    #[arg(long, env = "FLORIN_CHAIN_ID")]
    pub chain_id: Option<u64>,
    /// Address on which the query API is served
    #[arg(long, env = "FLORIN_INDEXER_LISTEN", default_value = "127.0.0.1:8082")]
    pub listen: SocketAddr,
    /// File with the addresses of the contracts; without it, the deployment known for the chain
    #[arg(long, env = "FLORIN_DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// First block to mirror; without it, the block of the deployment
    #[arg(long, env = "FLORIN_INDEXER_START_BLOCK")]
    pub start_block: Option<u64>,
    /// Which USDC transfers to mirror
    #[arg(long, env = "FLORIN_INDEXER_TRANSFERS", value_enum, default_value_t)]
    pub transfers: Transfers,
    /// Mirror only what the chain says: no balances and no state of our contracts
    #[arg(long, env = "FLORIN_INDEXER_RAW")]
    pub raw: bool,
    /// Confirmations after which a block is final; the indexer stops rather than undo a final block [default: what is known of the chain, 64 for
    /// others]
    #[arg(long, env = "FLORIN_INDEXER_FINALITY_BLOCKS", value_parser = clap::value_parser!(u64).range(1..=Config::FINALITY_BLOCKS_MAX))]
    pub finality_blocks: Option<u64>,
    /// Seconds between blocks, by which a node or chain that stands still is noticed; 0 where blocks are made on demand [default: what is known
    /// of the chain, 0 for others and for dev nodes]
    #[arg(long, env = "FLORIN_INDEXER_BLOCK_SECONDS")]
    pub block_seconds: Option<u64>,
    /// Requests to the node under way at the same time while catching up
    #[arg(long, env = "FLORIN_INDEXER_FETCH_PARALLEL", default_value_t = Config::FETCH_PARALLEL,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub fetch_parallel: u16,
    /// Seconds between comparisons of every mirrored balance and object with the chain; 0 for none
    #[arg(long, env = "FLORIN_INDEXER_RECONCILE_SECONDS", default_value_t = Config::RECONCILE_SECONDS)]
    pub reconcile_seconds: u64,
    /// File with further chains to mirror and serve: a section per chain ([base], [84532]) with rpc_url (a list), database_url (one of its own)
    /// and what differs: rpc_quorum, trust_node, deployment, start_block, transfers, finality_blocks, block_seconds
    #[arg(long, value_name = "FILE", env = "FLORIN_INDEXER_MORE_CHAINS")]
    pub more_chains: Option<PathBuf>,
    /// Token that registers webhooks, sent as `Authorization: Bearer`; without it nobody can
    #[arg(long, env = "FLORIN_INDEXER_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// Seconds after which a reader of the stream that takes nothing is dropped; it can come back with its cursor
    #[arg(long, env = "FLORIN_INDEXER_STREAM_SLOW_SECONDS", default_value_t = Config::STREAM_SLOW_SECONDS)]
    pub stream_slow_seconds: u64,
    /// Readers of the stream from one address at the same time; 0 for any number, behind a reverse proxy that limits them itself
    #[arg(long, env = "FLORIN_INDEXER_READERS_PER_ADDRESS", default_value_t = Config::READERS_PER_ADDRESS)]
    pub readers_per_address: u32,
    /// How long the writer looks for what contracts got before they were created (`--transfers ours`) between two looks at the node
    #[arg(skip = Config::EARLIER_TURN)]
    pub earlier_turn: Duration,
    /// For development: webhooks may also go to this machine, and without TLS
    #[arg(long, env = "FLORIN_INDEXER_WEBHOOK_LOOPBACK")]
    pub webhook_loopback: bool,
}

/// Which USDC transfers are mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfers {
    /// Every transfer of the token: balances of all accounts
    #[default]
    All,
    /// Those from or to one of our contracts, wallets and treasuries
    Ours,
}

impl Transfers {
    /// As in the command line and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ours => "ours",
        }
    }
}

impl Config {
    /// Default of [`Config::finality_blocks`] for chains of which nothing is known.
    pub const FINALITY_BLOCKS: u64 = 64;
    /// Most blocks that can be kept revocable: their hashes are held in memory.
    pub const FINALITY_BLOCKS_MAX: u64 = 100_000;
    /// Default of [`Config::fetch_parallel`].
    pub const FETCH_PARALLEL: u16 = 4;

    /// Default of [`Config::reconcile_seconds`].
    pub const RECONCILE_SECONDS: u64 = 300;

    /// Default of [`Config::stream_slow_seconds`].
    pub const STREAM_SLOW_SECONDS: u64 = 30;

    /// Default of [`Config::readers_per_address`].
    pub const READERS_PER_ADDRESS: u32 = 32;

    /// Default of [`Config::earlier_turn`].
    pub const EARLIER_TURN: Duration = Duration::from_secs(1);

    /// The defaults of the command line for a database and a node.
    pub fn new(database_url: impl Into<String>, rpc_url: Url) -> Self {
        Self {
            database_url: database_url.into(),
            rpc_url: vec![rpc_url],
            rpc_quorum: 1,
            trust_node: false,
            chain_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            deployment: None,
            start_block: None,
            transfers: Transfers::All,
            raw: false,
            finality_blocks: None,
            block_seconds: None,
            fetch_parallel: Self::FETCH_PARALLEL,
            reconcile_seconds: Self::RECONCILE_SECONDS,
            more_chains: None,
            admin_token: None,
            stream_slow_seconds: Self::STREAM_SLOW_SECONDS,
            readers_per_address: Self::READERS_PER_ADDRESS,
            earlier_turn: Self::EARLIER_TURN,
            webhook_loopback: false,
        }
    }
}

/// Leaves out the URLs, which may carry credentials, and the token.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("rpc_quorum", &self.rpc_quorum)
            .field("trust_node", &self.trust_node)
            .field("chain_id", &self.chain_id)
            .field("listen", &self.listen)
            .field("deployment", &self.deployment)
            .field("start_block", &self.start_block)
            .field("transfers", &self.transfers)
            .field("raw", &self.raw)
            .field("finality_blocks", &self.finality_blocks)
            .field("block_seconds", &self.block_seconds)
            .field("fetch_parallel", &self.fetch_parallel)
            .finish_non_exhaustive()
    }
}
