//! `florin wallet`: an agent's wallet.

mod config;
mod create;
mod escrow;
mod operator;
mod owner;
mod payment;
mod show;

use std::process::ExitCode;

use alloy::primitives::Address;
use anyhow::Result;

use crate::chain::{ChainOptions, Target};

pub(super) use config::{Configuration, config_in_words};

/// An agent's wallet: operators' keys that pay within limits, an owner who sets them
///
/// An operator pays by transaction (`pay`), by a signature that anybody relays (`sign-payment`, `relay`), or by x402 (`florin pay --wallet`).
/// What is above its tier needs the approval of the owner or of the approvers (`approve`). A payment id is paid once: repeating is safe.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Example, a payment above the operator's tier, relayed by anybody:
  florin wallet sign-payment --to 0x... --amount 80 --out payment.json > agent.sig
  florin wallet approve payment.json --out owner.sig
  florin wallet relay payment.json --signature agent.sig --signature owner.sig")]
pub(crate) struct Wallet {
    #[command(subcommand)]
    action: Action,

    /// The wallet's address
    #[arg(long, env = "FLORIN_WALLET", value_name = "ADDRESS", global = true)]
    wallet: Option<Address>,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Create(create::Create),
    Show(show::Show),
    Pay(payment::Pay),
    SignPayment(payment::SignPayment),
    Approve(payment::Approve),
    Relay(payment::Relay),
    OpenEscrow(escrow::OpenEscrow),
    ReleaseEscrow(escrow::ReleaseEscrow),
    #[command(subcommand)]
    Operator(operator::Operator),
    Freeze(operator::Freeze),
    Unfreeze(operator::Unfreeze),
    Void(operator::Void),
    Withdraw(owner::Withdraw),
    TransferOwnership(owner::TransferOwnership),
    AcceptOwnership(owner::AcceptOwnership),
    SetGuardian(owner::SetGuardian),
    SetApprovers(owner::SetApprovers),
    #[command(subcommand)]
    Recover(owner::Recover),
}

impl Wallet {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let target = Target { options: self.chain, address: self.wallet, kind: "wallet" };
        match self.action {
            Action::Create(command) => command.run(&target).await,
            Action::Show(command) => command.run(&target).await,
            Action::Pay(command) => command.run(&target).await,
            Action::SignPayment(command) => command.run(&target).await,
            Action::Approve(command) => command.run(&target),
            Action::Relay(command) => command.run(&target).await,
            Action::OpenEscrow(command) => command.run(&target).await,
            Action::ReleaseEscrow(command) => command.run(&target).await,
            Action::Operator(command) => command.run(&target).await,
            Action::Freeze(command) => command.run(&target).await,
            Action::Unfreeze(command) => command.run(&target).await,
            Action::Void(command) => command.run(&target).await,
            Action::Withdraw(command) => command.run(&target).await,
            Action::TransferOwnership(command) => command.run(&target).await,
            Action::AcceptOwnership(command) => command.run(&target).await,
            Action::SetGuardian(command) => command.run(&target).await,
            Action::SetApprovers(command) => command.run(&target).await,
            Action::Recover(command) => command.run(&target).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
