//! `florin registry`: services, the stake behind them, and what payers say.

mod rate;
mod service;
mod show;
mod stake;

use std::process::ExitCode;

use alloy::primitives::Address;
use anyhow::{Result, bail};

use crate::chain::{Chain, ChainOptions, Sender};

/// Services that agents sell: their price, the stake that stands behind them, and what payers say about them
#[derive(clap::Args, Debug)]
#[command(after_long_help = "Example, from registering to the first rating:
  florin registry register --endpoint https://api.example/quote --price 0.01 --name quotes
  florin registry stake 0xSERVICE --amount 100
  florin registry rate 0xSERVICE --agreement 0xID --score 95")]
pub(crate) struct Registry {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Register(Box<service::Register>),
    Update(Box<service::Update>),
    Retire(service::Retire),
    Announce(service::Announce),
    TransferOwnership(service::TransferOwnership),
    AcceptOwnership(service::AcceptOwnership),
    List(show::List),
    Show(show::Show),
    Stake(stake::Stake),
    Unbond(stake::Unbond),
    Rebond(stake::Rebond),
    WithdrawStake(stake::WithdrawStake),
    Slash(stake::Slash),
    WithdrawCredit(stake::WithdrawCredit),
    Rate(rate::Rate),
}

impl Registry {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let options = &self.chain;
        match self.action {
            Action::Register(command) => command.run(options).await,
            Action::Update(command) => command.run(options).await,
            Action::Retire(command) => command.run(options).await,
            Action::Announce(command) => command.run(options).await,
            Action::TransferOwnership(command) => command.run(options).await,
            Action::AcceptOwnership(command) => command.run(options).await,
            Action::List(command) => command.run(options).await,
            Action::Show(command) => command.run(options).await,
            Action::Stake(command) => command.run(options).await,
            Action::Unbond(command) => command.run(options).await,
            Action::Rebond(command) => command.run(options).await,
            Action::WithdrawStake(command) => command.run(options).await,
            Action::Slash(command) => command.run(options).await,
            Action::WithdrawCredit(command) => command.run(options).await,
            Action::Rate(command) => command.run(options).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The registry of a chain.
fn address(chain: &Chain) -> Result<Address> {
    let registry = chain.deployment.service_registry;
    if registry.is_zero() {
        bail!("there is no service registry on chain {}", chain.id());
    }
    Ok(registry)
}

/// A connection to send with, and the registry.
async fn sender(options: &ChainOptions) -> Result<(Sender, Address)> {
    let sender = options.sender().await?;
    let registry = address(&sender.chain)?;
    Ok((sender, registry))
}
