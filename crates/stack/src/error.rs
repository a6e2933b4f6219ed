use std::{io, path::PathBuf};

/// Why the stack does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nowhere to put data.
    #[error("cannot make a directory below {}: {source}", std::env::temp_dir().display())]
    Directory {
        /// What the system said.
        source: io::Error,
    },
    /// A program that is there cannot be run.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No anvil anywhere.
    #[error("no anvil found: run scripts/setup, or name one with FLORIN_ANVIL")]
    NoAnvil,
    /// The port that was asked for is taken.
    #[error("port {port} is in use: choose another, or 0 for a free one")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// Anvil ended or was silent.
    #[error("anvil did not start: {said}")]
    Anvil {
        /// The end of what it printed.
        said: String,
    },
    /// No Postgres anywhere.
    #[error(
        "no Postgres found: set DATABASE_URL, install a Postgres server, run scripts/setup, or name a folder of server programs with FLORIN_POSTGRES"
    )]
    NoPostgres,
    /// Postgres was found and does not work.
    #[error("Postgres did not start: {said}")]
    Postgres {
        /// The end of what it printed.
        said: String,
    },
    /// No Redis anywhere.
    #[error("no redis-server found: run scripts/setup --tests, or name one with FLORIN_REDIS")]
    NoRedis,
    /// Redis ended or was silent.
    #[error("Redis did not start: {said}")]
    Redis {
        /// The end of what it printed.
        said: String,
    },
    /// No S3 server anywhere.
    #[error("no moto_server found: run scripts/setup, or name one with FLORIN_S3")]
    NoS3,
    /// The S3 server ended or was silent.
    #[error("the S3 server did not start: {said}")]
    S3 {
        /// The end of what it printed.
        said: String,
    },
    /// As root there must be another user to run Postgres, which refuses root.
    #[error(
        "Postgres refuses to run as root and there is no user `postgres` or `nobody` to run it as: create one, or set DATABASE_URL"
    )]
    NoPostgresUser,
    /// The server of `DATABASE_URL` does not answer, or not to us.
    #[error(
        "cannot use the database server ({source}): is it running, is DATABASE_URL right, and may its user create databases?"
    )]
    Database {
        /// What the driver said.
        #[from]
        source: sqlx::Error,
    },
    /// The node is of another chain.
    #[error("the node serves chain {actual}, the dev chain is {expected}")]
    WrongChain {
        /// The dev chain.
        expected: u64,
        /// What the node answered.
        actual: u64,
    },
    /// The chain could not be set up.
    #[error("cannot set up the dev chain: {0}")]
    Deploy(#[from] contracts::DeployError),
    /// The node did not answer a question.
    #[error("the node refused: {0}")]
    Node(#[from] alloy::contract::Error),
    /// A service did not start, or failed while it ran.
    #[error("{name}: {source}")]
    Service {
        /// Which.
        name: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A service ended by itself.
    #[error("{name} ended without being asked to")]
    Ended {
        /// Which.
        name: &'static str,
    },
    /// A service runs and does not answer.
    #[error("{name} did not answer GET /health within {seconds} s")]
    NotReady {
        /// Which.
        name: &'static str,
        /// How long it was asked.
        seconds: u64,
    },
}
