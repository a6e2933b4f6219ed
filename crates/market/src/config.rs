use std::{fmt, net::SocketAddr, path::PathBuf};

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use api::ledger::Amount;
use money::Usdc;
use url::Url;

use crate::{content::ContentAt, fraud, funds::withdrawals::Limits, ledger::Rates};

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
    #[arg(long, env = "FLORIN_FACILITATOR_URL", default_value = "http://127.0.0.1:8401")]
    pub facilitator_url: Url,
    /// Where the content is: a directory that every instance sees, or s3://BUCKET/PREFIX with AWS_ENDPOINT, AWS_REGION and the like in the
    /// environment, or s3://BUCKET/PREFIX?endpoint=URL&region=REGION
    #[arg(long, env = "FLORIN_MARKET_CONTENT", hide_env_values = true)]
    pub content: ContentAt,
    /// Where clients reach the marketplace, named in offers, tokens and messages to sign. All instances have the same: the first that names one
    /// writes it down, and it is the default of the others. Before any did, the address it listens on
    #[arg(long, env = "FLORIN_MARKET_PUBLIC_URL")]
    pub public_url: Option<Url>,
    /// To change it, stop all instances and name the one until now here, once
    #[arg(long, env = "FLORIN_MARKET_MOVED_FROM", requires = "public_url")]
    pub moved_from: Option<Url>,
    /// File with the addresses of the contracts; without it, the deployment known for the chain
    #[arg(long, env = "FLORIN_DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
    /// Purchases in steps that cost so much USDC or more go through the Escrow contract, unless the buyer asks for something else; others are paid into
    /// a hold of the ledger
    #[arg(long, env = "FLORIN_MARKET_ESCROW_FROM", default_value_t = Config::ESCROW_FROM, value_name = "USDC")]
    pub escrow_from: Usdc,
    /// Seconds a buyer has to pay a purchase in steps into the ledger
    #[arg(long, env = "FLORIN_MARKET_PAY_WITHIN_SECONDS", default_value_t = Config::PAY_WITHIN_SECONDS,
          value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub pay_within_seconds: u32,
    /// Who rules on disputes about escrowed purchases; without it nobody does
    #[arg(long, env = "FLORIN_MARKET_ARBITER")]
    pub arbiter: Option<Address>,
    /// Seconds a seller has to deliver a purchase in steps
    #[arg(long, env = "FLORIN_MARKET_DELIVER_WITHIN_SECONDS", default_value_t = Config::DELIVER_WITHIN_SECONDS,
          value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub deliver_within_seconds: u32,
    /// Seconds a buyer has to dispute a delivery
    #[arg(long, env = "FLORIN_MARKET_REVIEW_SECONDS", default_value_t = Config::REVIEW_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    pub review_seconds: u32,
    /// Bond that a buyer puts up to dispute a delivery, in basis points of the price, rounded up: through the escrow the arbiter's ruling says whose it
    /// becomes; from the ledger it is the seller's when more of the price goes to the seller than to the buyer. Without one, whoever has the content holds
    /// the seller's money up for nothing
    #[arg(long, env = "FLORIN_MARKET_DISPUTE_BOND_BPS", default_value_t = Config::DISPUTE_BOND_BPS,
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub dispute_bond_bps: u16,
    /// Least bond of a purchase from the ledger, in USDC or its worth in ARD; never more than the price
    #[arg(long, env = "FLORIN_MARKET_DISPUTE_BOND_LEAST", default_value_t = Config::DISPUTE_BOND_LEAST, value_name = "USDC")]
    pub dispute_bond_least: Usdc,
    /// Largest bond of a purchase from the ledger, in USDC or its worth in ARD
    #[arg(long, env = "FLORIN_MARKET_DISPUTE_BOND_MOST", default_value_t = Config::DISPUTE_BOND_MOST, value_name = "USDC")]
    pub dispute_bond_most: Usdc,
    /// Blocks on top of an escrow's funding, its own included, before the content is handed out
    #[arg(long, env = "FLORIN_MARKET_CONFIRMATIONS", default_value_t = 1)]
    pub confirmations: u64,
    /// Private key that signs the seals of the ledger. Without it they are not signed; it needs coin for gas only if it anchors them, too
    #[arg(long, env = "FLORIN_MARKET_LEDGER_KEY", hide_env_values = true)]
    pub ledger_key: Option<PrivateKeySigner>,
    /// Secrets (32 bytes, hex) that the keys of access tokens are derived from, the same for every instance. The first signs; name the one it
    /// replaced after it for a while. Without it one is made up, and tokens end with the process
    #[arg(long, env = "FLORIN_MARKET_TOKEN_SECRETS", hide_env_values = true, value_delimiter = ',')]
    pub token_secrets: Vec<B256>,
    /// Requests that an agent, wallet or creator may make in a minute, over all instances; 0 for any number
    #[arg(long, env = "FLORIN_MARKET_REQUESTS_PER_MINUTE", default_value_t = Config::REQUESTS_PER_MINUTE)]
    pub requests_per_minute: u32,
    /// Requests that may come from one address in a minute without credentials, over all instances; 0 for any number
    #[arg(long, env = "FLORIN_MARKET_REQUESTS_PER_MINUTE_UNKNOWN", default_value_t = Config::REQUESTS_PER_MINUTE_UNKNOWN)]
    pub requests_per_minute_unknown: u32,
    /// Reverse proxies in front that add to X-Forwarded-For; with 0 that header is not believed
    #[arg(long, env = "FLORIN_MARKET_PROXIES", default_value_t = 0)]
    pub proxies: usize,
    /// Seconds between anchors of the ledger on chain (LedgerAnchor), sent and paid for by FLORIN_MARKET_LEDGER_KEY; without it there are none
    #[arg(long, env = "FLORIN_MARKET_ANCHOR_SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub anchor_seconds: Option<u64>,
    /// Token (16 characters or more) that GET /metrics asks for, as Authorization: Bearer; without it there are no metrics
    #[arg(long = "metrics-token-from-env", env = "FLORIN_MARKET_METRICS_TOKEN", hide = true, hide_env_values = true, value_parser = metrics_token)]
    pub metrics_token: Option<String>,
    /// Endpoint of an OpenAI-compatible API, as https://api.openai.com/v1, whose /embeddings tells what listings and searches mean: by relevance, what is
    /// nearer in meaning then comes first, and what has none of the words is found. Without it searches go by words alone
    #[arg(long, env = "FLORIN_MARKET_EMBEDDING_URL", hide_env_values = true, value_parser = http_url)]
    pub embedding_url: Option<Url>,
    /// Its model. All instances have the same; after a change all listings are read once more
    #[arg(long, env = "FLORIN_MARKET_EMBEDDING_MODEL", default_value = Config::EMBEDDING_MODEL)]
    pub embedding_model: String,
    /// API key that it asks for, if it does
    #[arg(long = "embedding-key-from-env", env = "FLORIN_MARKET_EMBEDDING_KEY", hide = true, hide_env_values = true, value_parser = api_key)]
    pub embedding_key: Option<String>,
    /// Degrees between a search and what it finds without its words, at most; 0 for none. Models differ: what has nothing to do with each other is 75
    /// to 90 apart by some, and 40 by others
    #[arg(long, env = "FLORIN_MARKET_EMBEDDING_ANGLE_MAX", default_value_t = Config::EMBEDDING_ANGLE_MAX,
          value_parser = clap::value_parser!(u8).range(0..=90))]
    pub embedding_angle_max: u8,
    /// Bytes of content that one seller may have here, all versions counted
    #[arg(long, env = "FLORIN_MARKET_CONTENT_MAX_BYTES", default_value_t = Config::CONTENT_MAX_BYTES, value_name = "BYTES")]
    pub content_max_bytes: u64,
    /// Listings that one seller may have that are not delisted: drafts and expired ones, too
    #[arg(long, env = "FLORIN_MARKET_LISTINGS_MAX", default_value_t = Config::LISTINGS_MAX, value_name = "LISTINGS",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub listings_max: u32,
    /// For development: webhooks may also go to this machine, and without TLS
    #[arg(long, env = "FLORIN_MARKET_WEBHOOK_LOOPBACK", hide = true)]
    pub webhook_loopback: bool,
    /// Account on chain that backs all USDC of the ledger: deposits are what comes to it. Without it USDC neither comes in nor goes out
    #[arg(long, env = "FLORIN_MARKET_CUSTODY", value_name = "ADDRESS")]
    pub custody: Option<Address>,
    /// Private key of the custody account: this instance sends withdrawals, in batches, and pays their gas. Give it to as few instances as can be
    #[arg(long = "custody-key-from-env", env = "FLORIN_MARKET_CUSTODY_KEY", hide = true, hide_env_values = true)]
    pub custody_key: Option<PrivateKeySigner>,
    /// Least USDC of a withdrawal
    #[arg(long, env = "FLORIN_MARKET_WITHDRAWAL_LEAST", default_value_t = Config::WITHDRAWAL_LEAST, value_name = "USDC")]
    pub withdrawal_least: Usdc,
    /// ARD minted for every wallet that registers its first agent. Wallets cost nothing to make, and ARD is redeemed: give it only where you know
    /// who comes
    #[arg(long, env = "FLORIN_MARKET_SIGNUP_BONUS", default_value = "0", value_name = "ARD")]
    pub signup_bonus: Amount,
    /// What sales cost and bring.
    #[command(flatten)]
    pub rates: Rates,
    /// What looks like fraud.
    #[command(flatten)]
    pub fraud: fraud::Rules,
    /// Most USDC, or its worth in ARD, that one person (the creator of the agents, else their wallet) can send to others' agents in 24 hours
    #[arg(long, env = "FLORIN_MARKET_TRANSFER_DAY_MAX", default_value_t = Config::TRANSFER_DAY_MAX, value_name = "USDC")]
    pub transfer_day_max: Usdc,
    /// Most USDC that one person can withdraw in 24 hours
    #[arg(long, env = "FLORIN_MARKET_WITHDRAWAL_DAY_MAX", default_value_t = Config::WITHDRAWAL_DAY_MAX, value_name = "USDC")]
    pub withdrawal_day_max: Usdc,
    /// USDC that one person can withdraw in 24 hours, to the proven wallet, before an operator has to approve
    #[arg(long, env = "FLORIN_MARKET_WITHDRAWAL_UNAPPROVED_MAX", default_value_t = Config::WITHDRAWAL_UNAPPROVED_MAX, value_name = "USDC")]
    pub withdrawal_unapproved_max: Usdc,
    /// USDC, or its worth in ARD, above which a model that pays through the MCP server must have its user agree first
    #[arg(long, env = "FLORIN_MARKET_MCP_APPROVE_ABOVE", default_value_t = Config::MCP_APPROVE_ABOVE, value_name = "USDC")]
    pub mcp_approve_above: Usdc,
}

impl Config {
    /// Default of [`Config::escrow_from`]: 10 USDC.
    pub const ESCROW_FROM: Usdc = Usdc::from_base_units(10_000_000);
    /// Default of [`Config::pay_within_seconds`]: an hour.
    pub const PAY_WITHIN_SECONDS: u32 = 3_600;
    /// Default of [`Config::deliver_within_seconds`]: a day.
    pub const DELIVER_WITHIN_SECONDS: u32 = 86_400;
    /// Default of [`Config::review_seconds`]: a day.
    pub const REVIEW_SECONDS: u32 = 86_400;

    /// Default of [`Config::requests_per_minute`].
    pub const REQUESTS_PER_MINUTE: u32 = 6_000;
    /// Default of [`Config::requests_per_minute_unknown`].
    pub const REQUESTS_PER_MINUTE_UNKNOWN: u32 = 600;
    /// Default of [`Config::withdrawal_least`]: a tenth of a USDC.
    pub const WITHDRAWAL_LEAST: Usdc = Usdc::from_base_units(100_000);
    /// Default of [`Config::dispute_bond_bps`]: a twentieth.
    pub const DISPUTE_BOND_BPS: u16 = 500;
    /// Default of [`Config::dispute_bond_least`]: a cent.
    pub const DISPUTE_BOND_LEAST: Usdc = Usdc::from_base_units(10_000);
    /// Default of [`Config::dispute_bond_most`]: 50 USDC.
    pub const DISPUTE_BOND_MOST: Usdc = Usdc::from_base_units(50_000_000);
    /// Default of [`Config::embedding_model`].
    pub const EMBEDDING_MODEL: &str = "text-embedding-3-small";
    /// Default of [`Config::embedding_angle_max`]: a cosine of 0.4.
    pub const EMBEDDING_ANGLE_MAX: u8 = 66;
    /// Default of [`Config::content_max_bytes`]: 10 GiB.
    pub const CONTENT_MAX_BYTES: u64 = 10 << 30;
    /// Default of [`Config::listings_max`].
    pub const LISTINGS_MAX: u32 = 10_000;
    /// Default of [`Config::transfer_day_max`]: 1,000 USDC.
    pub const TRANSFER_DAY_MAX: Usdc = Usdc::from_base_units(1_000_000_000);
    /// Default of [`Config::withdrawal_day_max`]: 10,000 USDC.
    pub const WITHDRAWAL_DAY_MAX: Usdc = Usdc::from_base_units(10_000_000_000);
    /// Default of [`Config::withdrawal_unapproved_max`]: 1,000 USDC.
    pub const WITHDRAWAL_UNAPPROVED_MAX: Usdc = Usdc::from_base_units(1_000_000_000);
    /// Default of [`Config::mcp_approve_above`]: 1 USDC.
    pub const MCP_APPROVE_ABOVE: Usdc = Usdc::from_base_units(1_000_000);

    pub(crate) fn withdrawal_limits(&self) -> Limits {
        Limits {
            least: amount(self.withdrawal_least),
            day_max: amount(self.withdrawal_day_max),
            unapproved_max: amount(self.withdrawal_unapproved_max),
        }
    }

    pub(crate) fn transfer_day_max(&self) -> Amount {
        amount(self.transfer_day_max)
    }

    /// The defaults of the command line.
    pub fn new(database_url: impl Into<String>, rpc_url: Url, facilitator_url: Url, content: impl Into<ContentAt>) -> Self {
        Self {
            database_url: database_url.into(),
            rpc_url,
            chain_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
            facilitator_url,
            content: content.into(),
            public_url: None,
            moved_from: None,
            deployment: None,
            escrow_from: Self::ESCROW_FROM,
            pay_within_seconds: Self::PAY_WITHIN_SECONDS,
            arbiter: None,
            deliver_within_seconds: Self::DELIVER_WITHIN_SECONDS,
            review_seconds: Self::REVIEW_SECONDS,
            dispute_bond_bps: Self::DISPUTE_BOND_BPS,
            dispute_bond_least: Self::DISPUTE_BOND_LEAST,
            dispute_bond_most: Self::DISPUTE_BOND_MOST,
            confirmations: 1,
            ledger_key: None,
            token_secrets: Vec::new(),
            requests_per_minute: Self::REQUESTS_PER_MINUTE,
            requests_per_minute_unknown: Self::REQUESTS_PER_MINUTE_UNKNOWN,
            proxies: 0,
            anchor_seconds: None,
            metrics_token: None,
            embedding_url: None,
            embedding_model: Self::EMBEDDING_MODEL.into(),
            embedding_key: None,
            embedding_angle_max: Self::EMBEDDING_ANGLE_MAX,
            content_max_bytes: Self::CONTENT_MAX_BYTES,
            listings_max: Self::LISTINGS_MAX,
            webhook_loopback: false,
            custody: None,
            custody_key: None,
            signup_bonus: Amount::ZERO,
            rates: Rates::default(),
            fraud: fraud::Rules::default(),
            transfer_day_max: Self::TRANSFER_DAY_MAX,
            withdrawal_least: Self::WITHDRAWAL_LEAST,
            withdrawal_day_max: Self::WITHDRAWAL_DAY_MAX,
            withdrawal_unapproved_max: Self::WITHDRAWAL_UNAPPROVED_MAX,
            mcp_approve_above: Self::MCP_APPROVE_ABOVE,
        }
    }
}

/// What is short is guessed.
fn metrics_token(text: &str) -> Result<String, &'static str> {
    if text.len() < 16 { Err("use 16 characters or more") } else { Ok(text.to_owned()) }
}

fn http_url(text: &str) -> Result<Url, &'static str> {
    text.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https")).ok_or("give an http or https address")
}

/// What a file or a terminal put around it is no part of it.
fn api_key(text: &str) -> Result<String, &'static str> {
    let key = text.trim();
    let is_one = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(key.to_owned()) } else { Err("a key is one word of visible ASCII characters") }
}

fn amount(usdc: Usdc) -> Amount {
    Amount::from_units(usdc.base_units()).unwrap_or(Amount::MAX)
}

/// Leaves out URLs that may carry credentials.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("chain_id", &self.chain_id)
            .field("listen", &self.listen)
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}
