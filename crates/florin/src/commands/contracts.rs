use std::{path::PathBuf, process::ExitCode};

/// The Solidity side: build it, check what is committed, show where it lives.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Contracts {
    /// Compile contracts/ and write the committed artifacts that `cargo build` embeds
    Build {
        /// Only compare; fails and names what differs
        #[arg(long)]
        check: bool,
        /// Root of the checkout
        #[arg(long, default_value = ".", value_name = "DIR")]
        root: PathBuf,
    },
}

impl Contracts {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Build { check, root } => {
                contracts::build::run(&root, check)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
