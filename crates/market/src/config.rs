use std::{fmt, net::SocketAddr, path::PathBuf};

use alloy::{primitives::Address, signers::local::PrivateKeySigner};
use url::Url;

/// How the marketplace runs.
#[derive(clap::Args, Clone)]
pub struct Config {
    /// Postgres database with the schemas `market` and `chain`, as postgres://user:password@host/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// JSON-RPC endpoint of the node, asked whether a contract wallet signed
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true)]
    pub rpc_url: Url,
    /// Chain that the node must be on; without it, whatever the node is on
    #[arg(long, env = "FLORIN_CHAIN_ID")]
    pub chain_id: Option<u64>,
    /// Address on which the marketplace is served
    #[arg(long, env = "FLORIN_MARKET_LISTEN", default_value = "127.0.0.1:8083")]
    pub listen: SocketAddr,
    /// The facilitator that verifies and settles payments
    #[arg(long, env = "FLORIN_FACILITATOR_URL", default_value = "http://127.0.0.1:8081")]
    pub facilitator_url: Url,
    /// Directory of the content; every instance must see the same one
    #[arg(long, env = "FLORIN_MARKET_CONTENT")]
    pub content: PathBuf,
    /// Where clients reach the marketplace, named in offers and in messages to sign; without it, the address it listens on
    #[arg(long, env = "FLORIN_MARKET_PUBLIC_URL")]
    pub public_url: Option<Url>,
    /// File with the addresses of the contracts; without it, the deployment known for the chain
    #[arg(long, env = "FLORIN_DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Who rules on disputes about escrowed purchases; without it nobody does
    #[arg(long, env = "FLORIN_MARKET_ARBITER")]
    pub arbiter: Option<Address>,
    /// Seconds a seller has to deliver an escrowed purchase
    #[arg(long, env = "FLORIN_MARKET_DELIVER_WITHIN_SECONDS", default_value_t = Config::DELIVER_WITHIN_SECONDS,
          value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub deliver_within_seconds: u32,
    /// Seconds a buyer has to dispute a delivery
    #[arg(long, env = "FLORIN_MARKET_REVIEW_SECONDS", default_value_t = Config::REVIEW_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    pub review_seconds: u32,
    /// Blocks on top of an escrow's funding, its own included, before the content is handed out
    #[arg(long, env = "FLORIN_MARKET_CONFIRMATIONS", default_value_t = 1)]
    pub confirmations: u64,
    /// Private key that signs the seals of the ledger; it needs no funds. Without it they are not signed
    #[arg(long, env = "FLORIN_MARKET_LEDGER_KEY", hide_env_values = true)]
    pub ledger_key: Option<PrivateKeySigner>,
}

impl Config {
    /// Default of [`Config::deliver_within_seconds`]: a day.
    pub const DELIVER_WITHIN_SECONDS: u32 = 86_400;
    /// Default of [`Config::review_seconds`]: a day.
    pub const REVIEW_SECONDS: u32 = 86_400;

    /// The defaults of the command line.
    pub fn new(database_url: impl Into<String>, rpc_url: Url, facilitator_url: Url, content: PathBuf) -> Self {
        Self {
            database_url: database_url.into(),
            rpc_url,
            chain_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
            facilitator_url,
            content,
            public_url: None,
            deployment: None,
            arbiter: None,
            deliver_within_seconds: Self::DELIVER_WITHIN_SECONDS,
            review_seconds: Self::REVIEW_SECONDS,
            confirmations: 1,
            ledger_key: None,
        }
    }
}

/// Leaves out URLs that may carry credentials.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("chain_id", &self.chain_id)
            .field("listen", &self.listen)
            .field("content", &self.content)
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}
