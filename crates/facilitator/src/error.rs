use std::path::PathBuf;

use alloy::{
    primitives::Address,
    transports::{RpcError, TransportErrorKind},
};

/// Why the facilitator does not start, or cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database does not answer or refuses.
    #[error("the database cannot be used: {0}; is it running and is DATABASE_URL right?")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("the schema `facilitator` cannot be made: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The node does not answer or refuses.
    #[error("the node cannot be used: {0}; is it running and is --rpc-url right?")]
    Node(#[from] RpcError<TransportErrorKind>),
    /// The node shows a part of what happened, and not the rest of it.
    #[error("the node does not show yet what used the nonce of a payment: ask again with the same payment")]
    Behind,
    /// The node is of another chain.
    #[error("the node is on chain {found} and --chain-id says {expected}: correct one of them")]
    WrongChain {
        /// What was configured.
        expected: u64,
        /// What the node says.
        found: u64,
    },
    /// Not every signer can pay gas.
    #[error("signers without coin for gas on chain {chain_id}: send some to {}", list(signers))]
    NoGas {
        /// The chain.
        chain_id: u64,
        /// Those that have none.
        signers: Vec<Address>,
    },
    /// Another instance uses the key: two would use the same nonces.
    #[error("another facilitator on this database uses the signer {0}: give every instance its own keys")]
    SignerInUse(Address),
    /// The journal's file cannot be read or written.
    #[error("the journal {path}: {source}")]
    JournalFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Another process has the journal.
    #[error("another facilitator uses the journal {0}: give every instance its own, and its own keys")]
    JournalInUse(PathBuf),
    /// Neither a database nor a file was given.
    #[error("there is no journal: give --database-url, or --journal file:PATH")]
    NoJournal,
    /// The address given for the PaymentRouter has no code.
    #[error("there is no contract at the payment router's address {0} on chain {1}: correct --payment-router or leave it out")]
    NoRouter(Address, u64),
    /// An address given for the escrow, or for its collector, has no code.
    #[error("there is no contract at {0} on chain {1}: correct --auth-capture or leave it out")]
    NoEscrow(Address, u64),
    /// Too many settlements wait, or the journal or the node failed just now.
    #[error("the settlement was not begun: ask again with the same payment")]
    Busy,
    /// The payer's money does not cover this beside the payments of his that are under way.
    #[error("the payer's balance does not cover this beside what is under way: ask again with the same payment")]
    Owes,
    /// Gas costs more than the operator pays.
    #[error("gas costs {asked} wei now, and at most {cap} is paid (--gas-price-max): ask again with the same payment")]
    GasPrice {
        /// Wei per gas.
        asked: u128,
        /// Wei per gas.
        cap: u128,
    },
    /// A settlement that only one signer can send, and it is not one of ours.
    #[error("{0} must send this and is not one of the signers: add its key to the signer keys")]
    SignerUnknown(Address),
    /// The listener failed.
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
    /// A transaction could not be signed.
    #[error("a transaction could not be signed: {0}")]
    Sign(#[from] alloy::signers::Error),
}

impl Error {
    /// Whether the node did answer, and its answer is the error.
    pub(crate) fn is_told(&self) -> bool {
        match self {
            Self::Behind => true,
            Self::Node(error) => error.is_error_resp(),
            _ => false,
        }
    }
}

fn list(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
