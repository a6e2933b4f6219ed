use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use money::Usdc;
use x402::client::{Journal, Receipt};

use crate::values::utc;

/// What is kept of purchases.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Kept {
    /// What was paid, oldest first, as far as the sellers said
    Receipts {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Signed payments that may still settle: the same request sends the same payment again
    Outstanding,
}

impl Kept {
    pub(super) fn run(&self, journal: Option<Journal>) -> Result<ExitCode> {
        let journal = journal.context("nothing is kept: name a folder with --state")?;
        match self {
            Self::Receipts { json } => show_receipts(&journal.receipts()?, *json),
            Self::Outstanding => show_outstanding(&journal),
        }
    }
}

#[allow(clippy::print_stdout)]
fn show_receipts(receipts: &[Receipt], json: bool) -> Result<ExitCode> {
    if json {
        for receipt in receipts {
            println!("{}", serde_json::to_string(receipt)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["when", "usdc", "what", "payee", "transaction"]);
    for Receipt { at, url, requirement, settlement, .. } in receipts {
        let transaction = match settlement {
            Some(settlement) if settlement.success => settlement.transaction.clone(),
            Some(_) => "failed".into(),
            None => "not charged".into(),
        };
        let price = requirement.amount.to_usdc().unwrap_or(Usdc::MAX).to_string();
        table.add_row([utc(*at), price, url.to_string(), requirement.pay_to.clone(), transaction]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout)]
fn show_outstanding(journal: &Journal) -> Result<ExitCode> {
    let mut table = table(["usdc", "what", "payee", "may settle until"]);
    for (url, requirement, valid_before) in journal.outstanding()? {
        let price = requirement.amount.to_usdc().unwrap_or(Usdc::MAX).to_string();
        table.add_row([price, url.to_string(), requirement.pay_to, utc(valid_before)]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// Columns without borders, so that a line can be cut and searched.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}
