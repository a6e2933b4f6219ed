//! The mirror against the chain: every event, every balance.

use std::{fmt, time::Duration};

use alloy::{primitives::Address, providers::Provider};
use anyhow::{Context, Result, ensure};
use api::{Client as IndexerClient, chain::EventFilter};
use money::Usdc;

use super::{Told, cast::Cast};

const MIRROR_TIMEOUT: Duration = Duration::from_secs(20);
const MIRROR_POLL: Duration = Duration::from_millis(10);

/// What the chain and the mirror say of each account of the story.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    /// Who, what the chain says, what the mirror says.
    pub accounts: Vec<(&'static str, Usdc, Usdc)>,
    /// The sum of the chain's balances.
    pub total: Usdc,
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>16} {:>16}", "balance of", "on chain", "mirrored")?;
        for (name, chain, mirror) in &self.accounts {
            writeln!(f, "{name:<16} {:>16} {:>16}", chain.to_string(), mirror.to_string())?;
        }
        write!(f, "Difference: 0")
    }
}

/// Waits until the mirror has the newest block, then looks for the events that the story left.
pub(super) async fn events(cast: &Cast<'_>) -> Result<Told> {
    let head = cast.stack.provider().get_block_number().await?;
    caught_up(cast, head).await?;
    let indexer = IndexerClient::new(cast.stack.indexer_url().clone());
    let expected = [
        ("TreasuryCreated", cast.deployment.treasury_factory),
        ("OrderExecuted", cast.treasury),
        ("WalletCreated", cast.deployment.agent_wallet_factory),
        ("EscrowOpened", cast.wallet),
        ("ServiceRegistered", cast.deployment.service_registry),
        ("BatchPaid", cast.deployment.payment_router),
        ("AgreementFunded", cast.deployment.escrow),
        ("AgreementDelivered", cast.deployment.escrow),
        ("AgreementReleased", cast.deployment.escrow),
    ];
    for (name, contract) in expected {
        let filter = EventFilter { contract: Some(contract), name: Some(name.to_owned()), ..EventFilter::default() };
        let found = indexer.events(&filter).await?.data;
        ensure!(!found.is_empty(), "the query API has no {name} of {contract}");
    }
    let transfers = indexer.transfers(cast.wallet, &api::PageQuery::default()).await?.data;
    ensure!(
        transfers.len() == 5,
        "the wallet's transfers are funding, payment, escrow, deposit and withdrawal, not {transfers:?}"
    );
    Ok(Told::that(format!("{} kinds of events, {} transfers of the wallet", expected.len(), transfers.len())))
}

/// Waits until the mirror has block `head`.
pub(super) async fn caught_up(cast: &Cast<'_>, head: u64) -> Result<()> {
    let status = cast.stack.indexer_url().join("api/v1/chain/status")?;
    let look = async {
        loop {
            let answer: serde_json::Value = reqwest::get(status.clone()).await?.json().await?;
            if answer["indexed"]["number"].as_u64().is_some_and(|indexed| indexed >= head) {
                return Ok(());
            }
            tokio::time::sleep(MIRROR_POLL).await;
        }
    };
    tokio::time::timeout(MIRROR_TIMEOUT, look).await.context("the indexer never caught up")?
}

/// Compares balances, account by account; a difference of one unit is an error.
pub(super) async fn balances(cast: &Cast<'_>) -> Result<Reconciliation> {
    let indexer = IndexerClient::new(cast.stack.indexer_url().clone());
    let everyone: [(&'static str, Address); 9] = [
        ("organisation", cast.owners[0].address()),
        ("treasury", cast.treasury),
        ("agent's wallet", cast.wallet),
        ("escrow", cast.deployment.escrow),
        ("service's stake", cast.deployment.service_registry),
        ("payment router", cast.deployment.payment_router),
        ("market's custody", cast.stack.custody()),
        ("seller", cast.seller.address()),
        ("facilitator", cast.stack.account(crate::Account::FACILITATOR).address),
    ];
    let (mut accounts, mut total) = (Vec::new(), Usdc::ZERO);
    for (name, address) in everyone {
        let chain = cast.balance(address).await?;
        let mirrored: Usdc = indexer.account(address).await?.balance.parse()?;
        ensure!(chain == mirrored, "{name} has {chain} USDC on chain and {mirrored} in the mirror");
        total = total.checked_add(chain).context("more USDC than there is")?;
        accounts.push((name, chain, mirrored));
    }
    Ok(Reconciliation { accounts, total })
}
