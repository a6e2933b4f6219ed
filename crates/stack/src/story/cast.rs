//! Who plays: keys, and where they are.

use std::time::Duration;

use alloy::{
    contract::{CallBuilder, CallDecoder},
    primitives::Address,
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::TransactionReceipt,
    signers::local::PrivateKeySigner,
};
use anyhow::{Context, Result, ensure};
use api::Client as MarketClient;
use contracts::{Deployment, usdc::Usdc as Token};
use money::Usdc;
use uuid::Uuid;

use crate::{Account, Stack};

/// How often a receipt is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A person or a program with a key, able to send transactions.
pub(super) struct Actor {
    pub(super) signer: PrivateKeySigner,
    pub(super) provider: DynProvider,
}

impl Actor {
    fn new(stack: &Stack, account: usize) -> Self {
        let signer = Account::at(account).signer;
        let provider = ProviderBuilder::new().with_simple_nonce_management().wallet(signer.clone());
        let provider = provider.connect_http(stack.rpc_url().clone()).erased();
        provider.client().set_poll_interval(POLL_INTERVAL);
        Self { signer, provider }
    }

    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }
}

/// Everyone in the story, and what they have made so far.
pub(super) struct Cast<'a> {
    pub(super) stack: &'a Stack,
    pub(super) deployment: Deployment,
    pub(super) market: MarketClient,
    pub(super) owners: [Actor; 3],
    pub(super) agent: Actor,
    pub(super) seller: Actor,
    pub(super) relayer: Actor,
    /// The organisation's treasury, once it is founded.
    pub(super) treasury: Address,
    /// The agent's wallet, once it is created.
    pub(super) wallet: Address,
    /// The market as the seller and as the agent, once they are registered.
    pub(super) as_seller: MarketClient,
    pub(super) as_agent: MarketClient,
    /// The agent's key at the market.
    pub(super) agent_key: String,
    /// The two reports, once they are published.
    pub(super) small: Uuid,
    pub(super) big: Uuid,
    /// The order of the big one.
    pub(super) order: Option<api::Transaction>,
}

impl<'a> Cast<'a> {
    pub(super) fn assemble(stack: &'a Stack) -> Self {
        let market = MarketClient::new(stack.market_url().clone());
        Self {
            stack,
            deployment: stack.deployment().clone(),
            owners: [1, 2, 3].map(|account| Actor::new(stack, account)),
            agent: Actor::new(stack, 4),
            seller: Actor::new(stack, 5),
            relayer: Actor::new(stack, 6),
            treasury: Address::ZERO,
            wallet: Address::ZERO,
            as_seller: market.clone(),
            as_agent: market.clone(),
            agent_key: String::new(),
            market,
            small: Uuid::nil(),
            big: Uuid::nil(),
            order: None,
        }
    }

    /// What the chain says an account has.
    pub(super) async fn balance(&self, account: Address) -> Result<Usdc> {
        let token = Token::new(self.deployment.usdc, self.stack.provider());
        Ok(token.balanceOf(account).call().await?.try_into()?)
    }

    pub(super) fn order(&self) -> Result<&api::Transaction> {
        self.order.as_ref().context("nothing was ordered")
    }
}

/// Sends a call and waits until it is mined; a call that the chain refuses is an error that says why.
pub(super) async fn confirmed<P: Provider, D: CallDecoder>(call: CallBuilder<P, D>) -> Result<TransactionReceipt> {
    let sent = call.send().await.map_err(readable)?;
    let receipt = sent.with_timeout(Some(Duration::from_secs(60))).get_receipt().await?;
    ensure!(receipt.status(), "transaction {} was refused by the chain", receipt.transaction_hash);
    Ok(receipt)
}

/// An error of a call, with the contract's own error read out.
fn readable(error: alloy::contract::Error) -> anyhow::Error {
    let read = error.as_revert_data().map(|data| contracts::ContractError::decode(&data));
    read.map_or_else(|| error.into(), |read| anyhow::anyhow!("the chain refuses: {read}"))
}
