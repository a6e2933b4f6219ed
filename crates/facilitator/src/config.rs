use std::{net::SocketAddr, num::NonZeroU32, str::FromStr};

use alloy::{
    primitives::{Address, B256, hex},
    signers::local::PrivateKeySigner,
};
use url::Url;
use x402::auth_capture::Deployment;

use crate::journal::JournalFile;

/// Verify and settle x402 payments.
///
/// The signers pay the gas of every settlement and can redirect none. Each needs some of the chain's coin; give every instance its own.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Postgres with the settlement journal, for any number of instances
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// Journal of a single instance in a file instead: file:PATH
    #[arg(long, env = "FLORIN_FACILITATOR_JOURNAL", value_name = "file:PATH")]
    pub journal: Option<JournalFile>,

    /// Nodes to read from and to send to, comma separated; the next is asked when one does not answer
    ///
    /// One alone may be given by ws:// or wss://: it announces new blocks; by http:// they are looked for.
    #[arg(
        long = "rpc-url",
        env = "FLORIN_RPC_URL",
        hide_env_values = true,
        value_name = "URLS",
        required = true,
        value_delimiter = ','
    )]
    pub rpc_urls: Vec<Url>,

    /// Chain id the node must have; without it, whatever the node says
    #[arg(long, env = "FLORIN_CHAIN_ID", value_name = "ID")]
    pub chain_id: Option<u64>,

    /// Where sellers connect; port 0 takes a free one
    #[arg(long, env = "FLORIN_FACILITATOR_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8401")]
    pub listen: SocketAddr,

    /// Private keys that pay gas, comma separated; set the environment variable, a flag shows in process lists
    #[arg(
        long = "signer-keys",
        env = "FLORIN_FACILITATOR_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        required = true,
        value_delimiter = ','
    )]
    pub signer_keys: Vec<SignerKey>,

    /// Factories that may deploy a payer's wallet before its first payment (ERC-6492), comma separated
    #[arg(long, env = "FLORIN_WALLET_FACTORIES", value_name = "ADDRESSES", value_delimiter = ',')]
    pub wallet_factories: Vec<Address>,

    /// Private key that signs claims for sellers whose payment channels (scheme `batch-settlement`) name it; it needs no coin. Refunds
    /// are never signed by it, or anybody could take back what a seller has not claimed yet: sellers that give refunds have a key of
    /// their own
    #[arg(long, env = "FLORIN_CHANNEL_AUTHORIZER_KEY", hide_env_values = true, value_name = "KEY")]
    pub channel_authorizer_key: Option<SignerKey>,

    /// Hold money while sellers work (scheme `auth-capture`): the address of AuthCaptureEscrow and of its ERC3009PaymentCollector
    ///
    /// Each signer is an operator of the escrow: a payment that was put into it through one can be captured or given back by no other. So keep
    /// a signer, and its coin, until the captures of its payments are over; after that payers take back what is left by themselves. Without
    /// this flag the scheme is not served.
    #[arg(long, env = "FLORIN_AUTH_CAPTURE", value_name = "ESCROW:COLLECTOR")]
    pub auth_capture: Option<Deployment>,

    /// How long a settlement may take to be mined before its caller is told that it is pending, in seconds
    #[arg(long, env = "FLORIN_CONFIRM_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 60)]
    pub confirm_timeout_seconds: u64,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub settlement: SettlementConfig,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub admission: AdmissionConfig,
}

/// How settlements are sent and watched.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SettlementConfig {
    /// PaymentRouter that settles payments which wait together in one transaction; without it, the one deployed on the chain, if there is one
    #[arg(long, env = "FLORIN_PAYMENT_ROUTER", value_name = "ADDRESS")]
    pub payment_router: Option<Address>,

    /// Send every payment in a transaction of its own
    #[arg(long, env = "FLORIN_NO_BATCHES", conflicts_with = "payment_router")]
    pub no_batches: bool,

    /// Blocks on top of a settlement before it is final; until then it is sent again if a reorganisation takes it away [default: by chain]
    #[arg(long, env = "FLORIN_CONFIRMATIONS", value_name = "BLOCKS")]
    pub confirmations: Option<u64>,

    /// How many seconds a node may fail to show what became of a settlement before it counts as failed, if it is also as many blocks deep as
    /// --confirmations says; the reason told is one that sellers do not take as final [default: 60]
    #[arg(long, env = "FLORIN_GIVE_UP_SECONDS", value_name = "SECONDS")]
    pub give_up_seconds: Option<u64>,

    /// Replace a transaction that is not mined by one with higher fees after so many seconds [default: 30]
    #[arg(long, env = "FLORIN_REPLACE_SECONDS", value_name = "SECONDS")]
    pub replace_seconds: Option<u64>,

    /// The most to offer per gas, in wei; while gas costs more, nothing is verified or begun, and what is under way waits [default: by
    /// chain, in gwei: Ethereum 100; Optimism, Base and Arbitrum 5; Polygon 2,000; others 500]
    #[arg(long, env = "FLORIN_GAS_PRICE_MAX", value_name = "WEI")]
    pub gas_price_max: Option<u128>,

    /// Smallest payment that is worth its gas, in base units of the token [default: 0]
    ///
    /// The same for what a claim or a payout of payment channels moves together, and for a refund of a part. Claims that the facilitator's own
    /// --channel-authorizer-key signs must move at least 10,000 also where this says less: anybody can have them made.
    #[arg(long, env = "FLORIN_MIN_PAYMENT", value_name = "UNITS")]
    pub min_payment: Option<u128>,

    /// Carry approvals of Permit2 that come along with payments (extension `erc20ApprovalGasSponsoring`), and give a payer who has no coin
    /// for its approval at most so many wei
    ///
    /// A payer may keep what it is given and approve nothing, so keep it low: 70,000 gas at a usual price. Without this flag no approvals
    /// are carried.
    #[arg(long, env = "FLORIN_APPROVAL_GAS_MAX", value_name = "WEI")]
    pub approval_gas_max: Option<u128>,

    /// The most that is given for approvals in 24 hours, by this instance since its start [default: 100 times --approval-gas-max]
    #[arg(long, env = "FLORIN_APPROVAL_GAS_DAILY", value_name = "WEI", requires = "approval_gas_max")]
    pub approval_gas_daily: Option<u128>,

    /// Longest wait between two looks for a block, in milliseconds [default: 10 for a node on this machine, else 250]
    #[arg(long, env = "FLORIN_POLL_MILLISECONDS", value_name = "MILLISECONDS")]
    pub poll_milliseconds: Option<u64>,
}

/// Who may ask, how often, and for what.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct AdmissionConfig {
    /// Tokens that are settled, comma separated; without it, any
    #[arg(long, env = "FLORIN_FACILITATOR_ASSETS", value_name = "ADDRESSES", value_delimiter = ',')]
    pub assets: Vec<Address>,

    /// Who may call /verify and /settle, comma separated: NAME=SHA256 of the key in hexadecimal; without it, everybody
    ///
    /// A caller sends `Authorization: Bearer KEY`. Make a key and its hash: `k=$(openssl rand -hex 32); echo $k; printf %s $k | sha256sum`.
    #[arg(long, env = "FLORIN_FACILITATOR_API_KEYS", hide_env_values = true, value_name = "KEYS", value_delimiter = ',')]
    pub api_keys: Vec<ApiKey>,

    /// Requests a second that each API key may make; a burst of ten seconds' worth is let through
    #[arg(long, env = "FLORIN_FACILITATOR_KEY_RATE", value_name = "RATE")]
    pub key_rate: Option<NonZeroU32>,

    /// The same for each IP address that connects (of IPv6, each /64); behind a proxy, set the limit there
    #[arg(long, env = "FLORIN_FACILITATOR_IP_RATE", value_name = "RATE")]
    pub ip_rate: Option<NonZeroU32>,

    /// The same for payments to each payee
    #[arg(long, env = "FLORIN_FACILITATOR_PAYEE_RATE", value_name = "RATE")]
    pub payee_rate: Option<NonZeroU32>,
}

/// A caller, and the hash of the secret by which it is known.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// For the operator's log.
    pub(crate) name: String,
    pub(crate) sha256: [u8; 32],
}

/// Not `NAME=SHA256`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an API key is NAME=HASH: a name without `=`, and the SHA-256 of the key as 64 hex digits")]
pub struct MalformedApiKey;

impl FromStr for ApiKey {
    type Err = MalformedApiKey;

    fn from_str(text: &str) -> Result<Self, MalformedApiKey> {
        let (name, hash) = text.trim().split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(MalformedApiKey)?;
        let sha256 = hex::decode_to_array(hash).map_err(|_| MalformedApiKey)?;
        Ok(Self { name: name.to_owned(), sha256 })
    }
}

/// A private key that shows only its address.
#[derive(Clone)]
pub struct SignerKey(pub(crate) PrivateKeySigner);

/// Not a private key. Does not repeat what was given.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a signer key is 64 hex digits, with or without 0x in front (the value is not shown here)")]
pub struct MalformedKey;

impl From<PrivateKeySigner> for SignerKey {
    fn from(signer: PrivateKeySigner) -> Self {
        Self(signer)
    }
}

impl FromStr for SignerKey {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let digits = text.trim().trim_start_matches("0x");
        let key: B256 = if digits.len() == 64 { digits.parse().map_err(|_| MalformedKey)? } else { return Err(MalformedKey) };
        PrivateKeySigner::from_bytes(&key).map(Self).map_err(|_| MalformedKey)
    }
}

impl std::fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SignerKey").field(&self.0.address()).finish()
    }
}
