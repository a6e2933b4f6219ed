use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use alloy::primitives::{Address, B256};

/// Why the indexer cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres does not answer, or refuses us.
    #[error("the database is unreachable ({0}): check --database-url (DATABASE_URL) and that Postgres is running")]
    DatabaseUnreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema `chain` could not be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database URL is not one.
    #[error("the database URL is malformed ({0}): write postgres://user:password@host/database")]
    DatabaseUrl(#[source] sqlx::Error),
    /// The node does not answer.
    #[error("no node answers at {url} ({source}): check --rpc-url (FLORIN_RPC_URL) and that the node is running")]
    NodeUnreachable {
        /// Where it was looked for, without path and credentials.
        url: String,
        /// What happened.
        source: crate::node::Error,
    },
    /// More endpoints must agree than there are.
    #[error("--rpc-quorum is {quorum}, but --rpc-url names {endpoints}: give it 1 to {endpoints}, or more endpoints")]
    Quorum {
        /// How many must agree.
        quorum: usize,
        /// How many there are.
        endpoints: usize,
    },
    /// The same endpoint twice would count as two of a quorum.
    #[error("--rpc-url names {0} twice: give each endpoint once")]
    EndpointTwice(String),
    /// Blocks that cannot be compared because they are not mirrored.
    #[error("blocks {from} to {to} are not all mirrored{}", mirrored_words(.mirrored.as_ref()))]
    NotInMirror {
        /// First block asked for.
        from: u64,
        /// Last block asked for.
        to: u64,
        /// What is mirrored; none before the first block.
        mirrored: Option<RangeInclusive<u64>>,
    },
    /// A contract did not answer as it must.
    #[error("{contract} does not answer as Multicall3 does: is the node of a chain that has it?")]
    Unreadable {
        /// The contract.
        contract: Address,
    },
    /// The node does not answer any more.
    #[error(transparent)]
    Node(#[from] crate::node::Error),
    /// The node is of another chain than asked for.
    #[error("{url} is on chain {actual}, not {expected}: point --rpc-url at chain {expected} or change --chain-id")]
    WrongChain {
        /// The endpoint, without path and credentials.
        url: String,
        /// Asked for.
        expected: u64,
        /// What the node says.
        actual: u64,
    },
    /// The database holds the mirror of something else.
    #[error(
        "the database mirrors {mirrored}, but this indexer was started for {asked}: use another database, or drop the schema `chain` to \
         index again"
    )]
    OtherMirror {
        /// What the database says.
        mirrored: String,
        /// What the configuration says.
        asked: String,
    },
    /// The file of further chains cannot be used.
    #[error("the file of chains {path}: {why}")]
    ChainsFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A chain would be mirrored twice.
    #[error("chain {0} is asked for twice: name each chain once")]
    ChainTwice(u64),
    /// The chain's nodes do not tell what a block's hash commits to.
    #[error(
        "blocks of {0} cannot be proved by what its nodes answer: pass --trust-node to mirror them on the node's word, best with --rpc-quorum 2 \
         and endpoints of different providers"
    )]
    Unprovable(&'static str),
    /// Where to begin is not known.
    #[error("no deployment is known for chain {0}: pass --start-block, the block from which on to mirror, or --deployment FILE")]
    NoStart(u64),
    /// No contract addresses are known.
    #[error("{0} (--deployment FILE)")]
    Deployment(#[from] contracts::DeploymentError),
    /// The contract addresses are those of another chain.
    #[error("the deployment is that of chain {deployment}, the node is on chain {chain}: pass the --deployment of chain {chain}")]
    OtherDeployment {
        /// In the file.
        deployment: u64,
        /// What the node says.
        chain: u64,
    },
    /// More blocks would have to be undone than finality allows.
    #[error(
        "block {block} ({hash}) is final here, but the chain no longer contains it: the node is on another chain or the chain reorganised \
         deeper than {finality_blocks} blocks. Nothing was changed. Check the node; then raise --finality-blocks or index again"
    )]
    ReorgTooDeep {
        /// The oldest block of ours that had to go.
        block: u64,
        /// Its hash.
        hash: B256,
        /// How many confirmations make a block final.
        finality_blocks: u64,
    },
    /// A USDC transfer that cannot be.
    #[error("{token} reported a transfer of more than 2^63 base units in block {block}: it is not a token that can be mirrored")]
    AmountTooLarge {
        /// The token.
        token: Address,
        /// The block.
        block: u64,
    },
    /// The query API could not be served.
    #[error("cannot serve HTTP on {addr:?}: {source}")]
    Http {
        /// Where.
        addr: Option<SocketAddr>,
        /// Why.
        source: std::io::Error,
    },
    /// A wait ended without what was waited for.
    #[error("block {block} was not mirrored within {timeout:?}")]
    NotMirrored {
        /// The block.
        block: u64,
        /// How long was waited.
        timeout: Duration,
    },
}

impl Error {
    /// Whether it may be over later without anybody doing anything about it here.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::NodeUnreachable { .. } | Self::Node(_) | Self::DatabaseUnreachable(_) | Self::Database(_))
    }
}

fn mirrored_words(mirrored: Option<&RangeInclusive<u64>>) -> String {
    mirrored.map_or_else(
        || ": nothing is yet, start the indexer first".into(),
        |blocks| format!("; those from {} to {} are", blocks.start(), blocks.end()),
    )
}
