//! The stake behind a service.

use alloy::primitives::{Address, B256};
use anyhow::Result;
use contracts::{
    escrow::IEscrow,
    service_registry::{IEscrow as RegistryEscrow, ServiceRegistry as Contract},
};
use money::Usdc;

use super::sender;
use crate::{
    chain::{ChainOptions, SignedPermit},
    commands::escrow::find_terms,
    values::reencode,
};

/// How long a permit made for a transaction can be used.
const PERMIT_SECONDS: u64 = 3_600;

/// Add to a service's stake; only its owner ever takes it out
///
/// Example: florin registry stake 0xSERVICE --amount 100
#[derive(clap::Args, Debug)]
pub(super) struct Stake {
    /// The service's id
    service: B256,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,
}

impl Stake {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let (id, amount) = (self.service, self.amount.into());
        if sender.prints_calldata() {
            return sender.send(registry, &Contract::addStakeCall { id, amount }).await.map(drop);
        }
        let SignedPermit { deadline, v, r, s } = sender.permit(registry, self.amount, sender.chain.now + PERMIT_SECONDS).await?;
        sender.send(registry, &Contract::addStakeWithPermitCall { id, amount, deadline, v, r, s }).await.map(drop)
    }
}

/// Begin to take stake out, as the owner; until the delay has passed it can still be slashed
///
/// Example: florin registry unbond 0xSERVICE --amount 40
#[derive(clap::Args, Debug)]
pub(super) struct Unbond {
    /// The service's id
    service: B256,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,
}

impl Unbond {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let call = Contract::beginUnbondingCall { id: self.service, amount: self.amount.into() };
        sender.send(registry, &call).await.map(drop)
    }
}

/// Bond everything again that is on its way out, as the owner
///
/// Example: florin registry rebond 0xSERVICE
#[derive(clap::Args, Debug)]
pub(super) struct Rebond {
    /// The service's id
    service: B256,
}

impl Rebond {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        sender.send(registry, &Contract::cancelUnbondingCall { id: self.service }).await.map(drop)
    }
}

/// Withdraw what has been unbonding long enough, as the owner
///
/// Example: florin registry withdraw-stake 0xSERVICE --to 0xME
#[derive(clap::Args, Debug)]
pub(super) struct WithdrawStake {
    /// The service's id
    service: B256,

    /// Who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
}

impl WithdrawStake {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        sender.send(registry, &Contract::withdrawStakeCall { id: self.service, to: self.to }).await.map(drop)
    }
}

/// Pay the buyer of an agreement from the stake, as the arbiter who ruled against the service
///
/// Example: florin registry slash 0xSERVICE --agreement 0xID --amount 5
#[derive(clap::Args, Debug)]
pub(super) struct Slash {
    /// The service's id
    service: B256,

    /// The agreement's id, or the file with its terms
    #[arg(long, value_name = "AGREEMENT")]
    agreement: String,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,
}

impl Slash {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let terms = reencode::<IEscrow::Terms, RegistryEscrow::Terms>(&terms)?;
        let call = Contract::slashCall { id: self.service, terms, amount: self.amount.into() };
        sender.send(registry, &call).await.map(drop)
    }
}

/// Pull what the token refused to pay to you, to an address of your choice
///
/// Example: florin registry withdraw-credit --to 0xME
#[derive(clap::Args, Debug)]
pub(super) struct WithdrawCredit {
    /// Who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
}

impl WithdrawCredit {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let token = sender.chain.deployment.usdc;
        sender.send(registry, &Contract::withdrawCall { token, to: self.to }).await.map(drop)
    }
}
