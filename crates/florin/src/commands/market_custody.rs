use std::process::ExitCode;

use alloy::primitives::Address;
use anyhow::{Result, bail};

/// Correct the account that backs the marketplace's balances, which the first instance that named one settled for good.
///
/// Only while the ledger owes nothing and no deposit or withdrawal is under way, since what it owes and what came in are counted at that account.
/// Stop all instances first; then start them with the new one.
#[derive(clap::Args, Debug)]
pub(crate) struct MarketCustody {
    /// The account from now on
    #[arg(long, value_name = "ADDRESS")]
    replace: Address,

    /// Database of the marketplace
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl MarketCustody {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        match market::replace_custody(&self.database_url, self.replace).await? {
            Some(old) => eprintln!("{} backs the ledger now, and {old} no more", self.replace),
            None => bail!("this marketplace has no custody account yet: name it with florin market --custody"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
