//! `florin dev`: what it prints on standard output is what it is for.
#![allow(clippy::print_stdout)]

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressStyle};
use stack::{
    Options, Stack,
    story::{self, Audience, Report, Step},
};

use super::service;

/// Run the whole product on a local chain and play one story of payments through it.
///
/// Starts anvil (chain id 84532) with Circle's real USDC, Postgres, the facilitator, the indexer and the marketplace, all on free ports,
/// prints every address, and stays up until Ctrl-C. Nothing it starts outlives it. A fixed port may be asked for where a script needs one.
#[derive(clap::Args, Debug)]
pub(crate) struct Dev {
    /// End after the story, with its status
    #[arg(long, conflicts_with = "no_story")]
    once: bool,

    /// Start the services only
    #[arg(long)]
    no_story: bool,

    /// Port of the chain's node; 0 takes a free one
    #[arg(long, env = "FLORIN_DEV_CHAIN_PORT", default_value_t = 0, value_name = "PORT")]
    chain_port: u16,

    /// Port of the facilitator; 0 takes a free one
    #[arg(long, env = "FLORIN_DEV_FACILITATOR_PORT", default_value_t = 0, value_name = "PORT")]
    facilitator_port: u16,

    /// Port of the indexer; 0 takes a free one
    #[arg(long, env = "FLORIN_DEV_INDEXER_PORT", default_value_t = 0, value_name = "PORT")]
    indexer_port: u16,

    /// Port of the market; 0 takes a free one
    #[arg(long, env = "FLORIN_DEV_MARKET_PORT", default_value_t = 0, value_name = "PORT")]
    market_port: u16,

    /// Seconds between blocks; without it every transaction makes a block at once
    #[arg(long, env = "FLORIN_DEV_BLOCK_SECONDS", value_name = "SECONDS")]
    block_seconds: Option<u64>,

    /// Use this Postgres server instead of an own one; a database is made on it and removed in the end
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
}

impl Dev {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let stop = service::until_signal();
        tokio::select! {
            ended = self.start_and_play() => match ended? {
                Some(stack) => {
                    stop.cancelled().await;
                    stack.shutdown().await;
                    Ok(ExitCode::SUCCESS)
                }
                None => Ok(ExitCode::SUCCESS),
            },
            () = stop.cancelled() => Ok(ExitCode::from(130)),
        }
    }

    /// The stack, still running unless `--once` was given.
    async fn start_and_play(&self) -> Result<Option<Stack>> {
        let mut stage = Stage::default();
        stage.begins("Starting chain, database and services");
        let stack = Stack::start(self.options()).await?;
        stage.clear();
        println!("{}", addresses(&stack));
        if self.no_story {
            println!("Running until Ctrl-C.");
            return Ok(Some(stack));
        }
        let report = story::play(&stack, &mut stage).await;
        stage.clear();
        match report {
            Ok(report) => println!("\n{}\n{}", table(&report), report.reconciliation),
            Err(error) => {
                stack.shutdown().await;
                return Err(error);
            }
        }
        if self.once {
            stack.shutdown().await;
            return Ok(None);
        }
        println!("\nRunning until Ctrl-C.");
        Ok(Some(stack))
    }

    fn options(&self) -> Options {
        Options {
            chain_port: self.chain_port,
            facilitator_port: self.facilitator_port,
            indexer_port: self.indexer_port,
            market_port: self.market_port,
            block_seconds: self.block_seconds,
            database_url: self.database_url.clone(),
            without_market: false,
        }
    }
}

/// What a user needs to try things: where everything listens, and accounts with money and their public keys' secrets.
fn addresses(stack: &Stack) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["what", "where"]);
    for (name, place) in stack.addresses() {
        table.add_row([name, place]);
    }
    table.to_string()
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["step", "payer", "payee", "USDC", "transaction", "took", "outcome"]);
    for step in &report.steps {
        table.add_row([
            step.title.to_owned(),
            step.payer.unwrap_or_default().into(),
            step.payee.unwrap_or_default().into(),
            step.amount.map(|amount| amount.to_string()).unwrap_or_default(),
            step.transaction.map(|hash| hash.to_string()[..10].to_owned()).unwrap_or_default(),
            took(step.took),
            step.outcome.clone(),
        ]);
    }
    for right_aligned in [3, 5] {
        if let Some(column) = table.column_mut(right_aligned) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn took(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Shows the step that is under way as a spinner and each ended one as a line.
#[derive(Default)]
struct Stage {
    spinner: Option<ProgressBar>,
}

impl Stage {
    fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Audience for Stage {
    fn begins(&mut self, title: &'static str) {
        self.clear();
        let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}").expect("a constant template");
        let spinner = ProgressBar::new_spinner().with_style(style).with_message(title);
        spinner.enable_steady_tick(Duration::from_millis(80));
        self.spinner = Some(spinner);
    }

    fn ends(&mut self, step: &Step) {
        self.clear();
        println!("  ✓ {}: {} ({})", step.title, step.outcome, took(step.took));
    }
}
