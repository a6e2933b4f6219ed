use alloy::{primitives::B256, rpc::types::Filter, sol_types::SolEvent};
use anyhow::Result;
use contracts::{
    Contract as Kind, Event,
    service_registry::{
        IServiceRegistry,
        ServiceRegistry::{self as Contract, OfferPublished, ServiceRegistered, ServiceRegistryEvents},
    },
};
use serde_json::json;

use super::{
    address,
    service::{known, price_in_words},
};
use crate::{
    chain::{Chain, ChainOptions, readable},
    values::{usdc, utc},
    words::{printable, unless_usdc},
};

/// List the services that are offered: their price, stake and score
///
/// Example: florin registry list
#[derive(clap::Args, Debug)]
pub(super) struct List {
    /// Also those that were retired
    #[arg(long)]
    all: bool,
}

impl List {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let chain = options.connect().await?;
        let filter = Filter::new().address(address(&chain)?).event_signature(ServiceRegistered::SIGNATURE_HASH);
        let (mut lines, mut services) = (String::new(), Vec::new());
        for event in chain.events(Kind::ServiceRegistry, filter).await? {
            let Event::ServiceRegistry(ServiceRegistryEvents::ServiceRegistered(told)) = event else { continue };
            let service = known(told.service, &chain).await?;
            if service.retired && !self.all {
                continue;
            }
            let reputation = reputation(told.service, &chain).await?;
            let (price, stake, score) = (price_in_words(&service), usdc(service.stake), score_in_words(&reputation));
            lines += &format!("{}\n  {price}, stake {stake} USDC, {score}\n", told.service);
            lines += &unless_usdc(service.token, chain.deployment.usdc);
            services.push(json!({
                "service": told.service,
                "owner": service.owner,
                "payee": service.payee,
                "token": service.token,
                "price": usdc(service.price),
                "stake": stake,
                "score": mean_score(&reputation),
                "retired": service.retired,
            }));
        }
        options.answer(&json!({ "services": services }), if lines.is_empty() { "no service is offered" } else { &lines });
        Ok(())
    }
}

/// Show a service: its offer, who is paid, its stake and what payers said
///
/// Example: florin registry show 0xSERVICE
#[derive(clap::Args, Debug)]
pub(super) struct Show {
    /// The service's id
    service: B256,
}

impl Show {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let chain = options.connect().await?;
        let id = self.service;
        let (service, reputation) = (known(id, &chain).await?, reputation(id, &chain).await?);
        let offer = newest_offer(id, &chain).await?;
        let mut text = format!("service {id}{}\n", if service.retired { ", RETIRED" } else { "" });
        if let Some(offer) = &offer {
            text += &format!("  called at {}, described at {}\n", printable(&offer.endpoint), printable(&offer.metadataURI));
        }
        text += &format!("  {}, paid to {}\n", price_in_words(&service), service.payee);
        text += &unless_usdc(service.token, chain.deployment.usdc);
        text += &format!("  owner {}, arbiter {}\n", service.owner, service.arbiter);
        if !service.pendingOwner.is_zero() {
            text += &format!("  offered to {}, who has not accepted yet\n", service.pendingOwner);
        }
        if service.changesAt.to::<u64>() > chain.now {
            let (payee, arbiter, at) = (service.announcedPayee, service.announcedArbiter, utc(service.changesAt.to()));
            text += &format!("  from {at} on payee {payee}, arbiter {arbiter}\n");
        }
        text += &format!("  stake {} USDC\n", usdc(service.stake));
        if !service.unbonding.is_zero() {
            text +=
                &format!("  {} USDC more can be withdrawn from {} on\n", usdc(service.unbonding), utc(service.unbondsAt.to()));
        }
        text += &format!("  {}\n", score_in_words(&reputation));
        let facts = json!({
            "service": id,
            "owner": service.owner,
            "payee": service.payee,
            "arbiter": service.arbiter,
            "endpoint": offer.as_ref().map(|offer| &offer.endpoint),
            "metadata": offer.as_ref().map(|offer| &offer.metadataURI),
            "token": service.token,
            "price": usdc(service.price),
            "periodSeconds": service.period,
            "stake": usdc(service.stake),
            "unbonding": usdc(service.unbonding),
            "settled": reputation.settled,
            "disputed": reputation.disputed,
            "volume": usdc(reputation.volume),
            "score": mean_score(&reputation),
            "retired": service.retired,
        });
        options.answer(&facts, &text);
        Ok(())
    }
}

async fn reputation(service: B256, chain: &Chain) -> Result<IServiceRegistry::Reputation> {
    let contract = Contract::new(address(chain)?, chain.provider());
    contract.reputationOf(service).call().await.map_err(readable)
}

async fn newest_offer(service: B256, chain: &Chain) -> Result<Option<IServiceRegistry::Offer>> {
    let filter = Filter::new().address(address(chain)?).event_signature(OfferPublished::SIGNATURE_HASH).topic1(service);
    let events = chain.events(Kind::ServiceRegistry, filter).await?;
    Ok(events.into_iter().rev().find_map(|event| match event {
        Event::ServiceRegistry(ServiceRegistryEvents::OfferPublished(told)) => Some(told.offer),
        _ => None,
    }))
}

/// The mean score, weighted by what was paid; `None` when nobody said anything.
fn mean_score(reputation: &IServiceRegistry::Reputation) -> Option<u64> {
    let (sum, volume) = (reputation.scoreSum.to::<u128>(), reputation.volume.to::<u128>());
    u64::try_from(sum.checked_div(volume)?).ok()
}

fn score_in_words(reputation: &IServiceRegistry::Reputation) -> String {
    let Some(score) = mean_score(reputation) else { return "nobody rated it yet".to_owned() };
    let count = u64::from(reputation.settled) + u64::from(reputation.disputed);
    let volume = usdc(reputation.volume);
    format!("score {score} of 100 from {count} payments of {volume} USDC, {} of them disputed", reputation.disputed)
}
