//! Stdout is the result.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::service;

/// Mirror the chain's payments into Postgres and answer queries about them; or prove again what is mirrored.
///
/// Example: florin indexer verify --from 1000 --to 2000 --database-url postgres://... --rpc-url https://...
#[derive(clap::Args, Debug)]
pub(crate) struct Indexer {
    /// What to do
    #[arg(value_enum, default_value_t)]
    action: Action,

    /// verify: first block [default: the first that is mirrored]
    #[arg(long, value_name = "BLOCK")]
    from: Option<u64>,

    /// verify: last block [default: the newest that is mirrored]
    #[arg(long, value_name = "BLOCK")]
    to: Option<u64>,

    /// verify: write the result as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ::indexer::Config,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Default)]
enum Action {
    /// Mirror and answer queries until Ctrl-C
    #[default]
    Run,
    /// Fetch and prove blocks again, compare them with their rows, and every balance and object with the chain; exit code 1 if anything differs
    Verify,
}

impl Indexer {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Run => service::indexer(self.config).await,
            Action::Verify => self.verify().await,
        }
    }

    async fn verify(self) -> Result<ExitCode> {
        let style =
            ProgressStyle::with_template("proved up to block {pos} ({per_sec}, {elapsed})").expect("the template is right");
        let bar = ProgressBar::no_length().with_style(style);
        let report = ::indexer::verify(&self.config, self.from, self.to, |block| bar.set_position(block)).await?;
        bar.finish_and_clear();
        if self.json {
            let differences: Vec<_> = report.differences.iter().map(|d| json!({"block": d.block, "what": d.what})).collect();
            println!("{}", json!({"blocks": report.blocks, "rows": report.rows, "differences": differences}));
        } else {
            for difference in &report.differences {
                println!("block {}: {}", difference.block, difference.what);
            }
            println!("{} blocks proved, {} rows compared, {} differences", report.blocks, report.rows, report.differences.len());
        }
        Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
