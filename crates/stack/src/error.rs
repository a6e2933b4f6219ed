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
    #[error("no Postgres found: set DATABASE_URL, install a Postgres server, or run scripts/setup")]
    NoPostgres,
    /// Postgres was found and does not work.
    #[error("Postgres did not start: {said}")]
    Postgres {
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
}
