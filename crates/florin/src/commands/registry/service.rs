//! Registering services and keeping them.

use alloy::primitives::{Address, B256, U256, aliases::U88};
use anyhow::Result;
use contracts::service_registry::{IServiceRegistry, ServiceRegistry as Contract};
use money::Usdc;
use serde_json::json;

use super::{address, sender};
use crate::{
    chain::{Chain, ChainOptions, readable},
    values::{self, Span},
};

/// What the price is for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Pricing {
    /// Every call
    PerCall,
    /// Every period
    Subscription,
    /// Every unit that the description names
    Metered,
}

/// What a service offers.
#[derive(clap::Args, Clone, Debug)]
struct OfferOptions {
    /// Where the service is called, at most 256 bytes
    #[arg(long, value_name = "URL")]
    endpoint: String,

    /// Where its description is, at most 256 bytes
    #[arg(long, value_name = "URL", default_value = "")]
    metadata: String,

    /// keccak256 of that description, if it must not change
    #[arg(long, value_name = "HASH", default_value_t = B256::ZERO, hide_default_value = true)]
    metadata_hash: B256,

    /// What the price is for
    #[arg(long, value_name = "PRICING", default_value = "per-call")]
    pricing: Pricing,

    /// The price, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    price: Usdc,

    /// How long a period of a subscription is
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    period: Span,

    /// ERC-8004 id of the agent that offers it
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    agent_id: u64,
}

impl OfferOptions {
    fn offer(&self, chain: &Chain) -> IServiceRegistry::Offer {
        IServiceRegistry::Offer {
            endpoint: self.endpoint.clone(),
            metadataURI: self.metadata.clone(),
            metadataHash: self.metadata_hash,
            pricing: self.pricing as u8,
            token: chain.deployment.usdc,
            price: U88::from(self.price.base_units()),
            period: self.period.0,
            agentId: U256::from(self.agent_id),
        }
    }
}

/// Register a service; its id follows from your address and its name
///
/// Example: florin registry register --endpoint https://api.example/quote --price 0.01 --name quotes
#[derive(clap::Args, Debug)]
pub(super) struct Register {
    #[command(flatten)]
    offer: OfferOptions,

    /// Text that tells your services apart
    #[arg(long, value_name = "TEXT", value_parser = values::reference)]
    name: B256,

    /// Who is paid [default: the key's address]
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<Address>,

    /// Who may slash the stake after ruling against the service; nobody if left out
    #[arg(long, value_name = "ADDRESS")]
    arbiter: Option<Address>,
}

impl Register {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let contract = Contract::new(registry, sender.chain.provider());
        let service = contract.serviceId(sender.address(), self.name).call().await.map_err(readable)?;
        let call = Contract::registerCall {
            salt: self.name,
            payee: self.payee.unwrap_or(sender.address()),
            arbiter: self.arbiter.unwrap_or_default(),
            offer: self.offer.offer(&sender.chain),
        };
        sender.send(registry, &call).await?;
        options.answer(&json!({ "service": service }), &format!("service {service}"));
        Ok(())
    }
}

/// Publish another offer, as the owner; it counts at once
///
/// Example: florin registry update 0xSERVICE --endpoint https://api.example/quote --price 0.02
#[derive(clap::Args, Debug)]
pub(super) struct Update {
    /// The service's id
    service: B256,

    #[command(flatten)]
    offer: OfferOptions,
}

impl Update {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let call = Contract::updateOfferCall { id: self.service, offer: self.offer.offer(&sender.chain) };
        sender.send(registry, &call).await.map(drop)
    }
}

/// Withdraw the offer for good, as the owner
///
/// Example: florin registry retire 0xSERVICE
#[derive(clap::Args, Debug)]
pub(super) struct Retire {
    /// The service's id
    service: B256,
}

impl Retire {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        sender.send(registry, &Contract::retireCall { id: self.service }).await.map(drop)
    }
}

/// Announce another payee or arbiter, as the owner; they count when the unbonding delay has passed
///
/// Example: florin registry announce 0xSERVICE --payee 0xNEW
#[derive(clap::Args, Debug)]
pub(super) struct Announce {
    /// The service's id
    service: B256,

    /// Who is to be paid [default: who is]
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<Address>,

    /// Who may slash; the zero address for nobody [default: who may]
    #[arg(long, value_name = "ADDRESS")]
    arbiter: Option<Address>,
}

impl Announce {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let now = Contract::new(registry, sender.chain.provider()).serviceOf(self.service).call().await.map_err(readable)?;
        let (payee, arbiter) = (self.payee.unwrap_or(now.payee), self.arbiter.unwrap_or(now.arbiter));
        sender.send(registry, &Contract::announcePartiesCall { id: self.service, payee, arbiter }).await.map(drop)
    }
}

/// Offer a service, stake included, to another owner, who has to accept; the zero address takes it back
///
/// Example: florin registry transfer-ownership 0xSERVICE 0xNEW
#[derive(clap::Args, Debug)]
pub(super) struct TransferOwnership {
    /// The service's id
    service: B256,

    /// Who is to own it
    new_owner: Address,
}

impl TransferOwnership {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let call = Contract::offerOwnershipCall { id: self.service, newOwner: self.new_owner };
        sender.send(registry, &call).await.map(drop)
    }
}

/// Take over a service that its owner offered to the key
///
/// Example: florin registry accept-ownership 0xSERVICE
#[derive(clap::Args, Debug)]
pub(super) struct AcceptOwnership {
    /// The service's id
    service: B256,
}

impl AcceptOwnership {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        sender.send(registry, &Contract::acceptOwnershipCall { id: self.service }).await.map(drop)
    }
}

/// The price of a service in words.
pub(super) fn price_in_words(service: &IServiceRegistry::Service) -> String {
    let price = values::usdc(service.price);
    match service.pricing {
        0 => format!("{price} USDC a call"),
        1 => format!("{price} USDC every {}", Span(service.period)),
        _ => format!("{price} USDC a unit"),
    }
}

/// As the registry knows it; an error when it knows none.
pub(super) async fn known(service: B256, chain: &Chain) -> Result<IServiceRegistry::Service> {
    let contract = Contract::new(address(chain)?, chain.provider());
    let found = contract.serviceOf(service).call().await.map_err(readable)?;
    anyhow::ensure!(!found.owner.is_zero(), "there is no service {service} on chain {}", chain.id());
    Ok(found)
}
