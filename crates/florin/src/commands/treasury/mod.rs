//! `florin treasury`: an organisation's money, its owners, its policies.

mod approve;
mod change;
mod create;
mod document;
mod order;
mod policy;
mod show;

use std::process::ExitCode;

use alloy::primitives::Address;
use anyhow::Result;
use contracts::treasury::Treasury as Contract;

use crate::chain::{ChainOptions, Target};

/// An organisation's treasury: several owners, limits per spender, a timelock on all that widens power
///
/// Money moves by orders. What a spender's policy lets it move alone is paid at once; every other order waits until enough owners approved
/// it, by a transaction (`approve`) or by a signature from a machine without a network (`sign`). Who may do what is altered by changes:
/// written (`change`), approved in the same way, scheduled (`schedule`), and executed after the timelock (`execute`).
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Example, a payment that two owners sign offline:
  florin treasury pay --to 0x... --amount 250 --out order.json
  florin treasury sign order.json --out alice.sig
  florin treasury execute order.json --signature alice.sig --signature bob.sig")]
pub(crate) struct Treasury {
    #[command(subcommand)]
    action: Action,

    /// The treasury's address
    #[arg(long, env = "FLORIN_TREASURY", value_name = "ADDRESS", global = true)]
    treasury: Option<Address>,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Create(create::Create),
    Show(show::Show),
    Pay(order::Pay),
    Batch(order::Batch),
    CreateWallet(order::CreateWallet),
    OpenEscrow(order::OpenEscrow),
    DisputeEscrow(order::DisputeEscrow),
    ReleaseEscrow(order::ReleaseEscrow),
    CallRouter(order::CallRouter),
    Sign(approve::Sign),
    Approve(approve::Approve),
    Unapprove(approve::Unapprove),
    Execute(approve::Execute),
    Cancel(approve::Cancel),
    Change(change::Change),
    Schedule(approve::Schedule),
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Stop every order at once, by an owner or a guardian; only a change unpauses
    ///
    /// Example: florin treasury pause
    Pause,
    WithdrawCredit(order::WithdrawCredit),
}

impl Treasury {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let target = Target { options: self.chain, address: self.treasury, kind: "treasury" };
        match self.action {
            Action::Create(command) => command.run(&target).await,
            Action::Show(command) => command.run(&target).await,
            Action::Pay(command) => command.run(&target).await,
            Action::Batch(command) => command.run(&target).await,
            Action::CreateWallet(command) => command.run(&target).await,
            Action::OpenEscrow(command) => command.run(&target).await,
            Action::DisputeEscrow(command) => command.run(&target).await,
            Action::ReleaseEscrow(command) => command.run(&target).await,
            Action::CallRouter(command) => command.run(&target).await,
            Action::Sign(command) => command.run(&target),
            Action::Approve(command) => command.run(&target).await,
            Action::Unapprove(command) => command.run(&target).await,
            Action::Execute(command) => command.run(&target).await,
            Action::Cancel(command) => command.run(&target).await,
            Action::Change(command) => command.run(&target).await,
            Action::Schedule(command) => command.run(&target).await,
            Action::Policy(command) => command.run(&target).await,
            Action::Pause => target.send(&Contract::pauseCall {}).await,
            Action::WithdrawCredit(command) => command.run(&target).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
