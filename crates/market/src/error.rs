use std::io;

use crate::content::ContentAt;

/// Why the marketplace does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database's URL cannot be read.
    #[error("DATABASE_URL cannot be read: {0}; write it like postgres://user:password@host/database")]
    DatabaseUrl(#[source] sqlx::Error),
    /// The database does not answer.
    #[error("the database cannot be reached: {0}; is it running, and is DATABASE_URL right?")]
    DatabaseUnreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("the schema market cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The node does not answer.
    #[error("the node cannot be reached: {0}; is it running, and is FLORIN_RPC_URL right?")]
    NodeUnreachable(#[source] alloy::transports::TransportError),
    /// The node is on another chain.
    #[error("the node serves chain {actual}, but chain {expected} was asked for: correct FLORIN_RPC_URL or FLORIN_CHAIN_ID")]
    WrongChain {
        /// Asked for.
        expected: u64,
        /// Served.
        actual: u64,
    },
    /// Nothing is known of the chain.
    #[error(transparent)]
    Deployment(#[from] contracts::DeploymentError),
    /// The key is not the custody account's.
    #[error("--custody is {address}, but FLORIN_MARKET_CUSTODY_KEY is the key of {key}: name one account")]
    CustodyKey {
        /// Named.
        address: alloy::primitives::Address,
        /// The key's.
        key: alloy::primitives::Address,
    },
    /// The ledger is backed by another account.
    #[error(
        "the custody account given is {given}, but this market's ledger is backed by {kept}: name that one (--custody or \
         FLORIN_MARKET_CUSTODY_KEY), since what is owed and what came in are counted there"
    )]
    Custody {
        /// Given here.
        given: alloy::primitives::Address,
        /// What the ledger has.
        kept: alloy::primitives::Address,
    },
    /// The ledger still needs its account.
    #[error(
        "the ledger owes {owed} USDC, and {open} deposits and withdrawals are under way: its custody account stays until it owes nothing and \
         nothing is under way"
    )]
    CustodyOwes {
        /// What it owes.
        owed: money::Usdc,
        /// Deposits, withdrawals and batches of them that are not over.
        open: u64,
    },
    /// No USDC is known on the chain.
    #[error(transparent)]
    Asset(#[from] x402::UnknownAsset),
    /// The content store cannot be used.
    #[error("the content store {at} cannot be used: {source}; name a writable directory or another URL with --content")]
    Content {
        /// Where it is.
        at: ContentAt,
        /// What the system said.
        source: io::Error,
    },
    /// Instances differ about where the market is.
    #[error(
        "--public-url is {given}, but this market's database says {kept}: give all instances the same, since tokens and signatures are made \
         for it; to move the market, stop all of them and start with --moved-from {kept}"
    )]
    PublicUrl {
        /// Given here.
        given: url::Url,
        /// What the others have.
        kept: String,
    },
    /// The facilitator's address cannot be used.
    #[error("FLORIN_FACILITATOR_URL: {0}")]
    Facilitator(#[from] x402::FacilitatorError),
    /// The server broke.
    #[error("the server stopped: {0}")]
    Http(#[source] io::Error),
}
