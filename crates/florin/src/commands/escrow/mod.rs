//! `florin escrow`: money that waits for a delivery.

mod dispute;
mod open;
mod release;
mod show;
mod terms;

use std::process::ExitCode;

use anyhow::Result;

use crate::chain::ChainOptions;

pub(super) use terms::{Terms, find_terms, terms_in_words};

/// Money that waits for a delivery: the seller delivers, the buyer releases or disputes, the arbiter rules
///
/// Whoever stays silent loses nothing to the other: at every time `show` says whose default applies, and until when. An agreement is named by
/// its id, or by the file with its terms.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Example, from the buyer's money to the seller's:
  florin escrow open --seller 0x... --amount 50 --deliver-by 7d
  florin escrow deliver 0xID --file report.pdf
  florin escrow release 0xID")]
pub(crate) struct Escrow {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Open(open::Open),
    Fund(open::Fund),
    TopUp(open::TopUp),
    Show(show::Show),
    Deliver(release::Deliver),
    SignRelease(release::SignRelease),
    Release(release::Release),
    Refund(release::Refund),
    Dispute(dispute::Dispute),
    Resolve(dispute::Resolve),
    Default(dispute::ApplyDefault),
    Withdraw(dispute::Withdraw),
}

impl Escrow {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let options = &self.chain;
        match self.action {
            Action::Open(command) => command.run(options).await,
            Action::Fund(command) => command.run(options).await,
            Action::TopUp(command) => command.run(options).await,
            Action::Show(command) => command.run(options).await,
            Action::Deliver(command) => command.run(options).await,
            Action::SignRelease(command) => command.run(options).await,
            Action::Release(command) => command.run(options).await,
            Action::Refund(command) => command.run(options).await,
            Action::Dispute(command) => command.run(options).await,
            Action::Resolve(command) => command.run(options).await,
            Action::Default(command) => command.run(options).await,
            Action::Withdraw(command) => command.run(options).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
