//! The dev chain: anvil with Circle's real USDC, our contracts, and accounts with money.

use std::{path::Path, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
};
use contracts::{DeployError, Deployment, dev, usdc::Usdc as Token};
use money::Usdc;
use url::Url;

use crate::{Account, Anvil, AnvilOptions, CHAIN_ID, Error};

/// What each account holds in the beginning.
pub const USDC_PER_ACCOUNT: Usdc = match Usdc::from_whole(1_000_000) {
    Some(amount) => amount,
    None => Usdc::ZERO,
};
/// A local node answers at once, so nothing is gained by asking less often.
const POLL_INTERVAL_MS: u64 = 5;

/// A running dev chain. Dropping it stops it.
#[derive(Debug)]
pub struct Chain {
    anvil: Anvil,
    provider: DynProvider,
    deployment: Deployment,
}

/// A dev chain at rest, from which others start.
#[derive(Clone, Debug)]
pub(crate) struct State {
    bytes: Bytes,
    deployment: Deployment,
}

impl Chain {
    /// Starts anvil, deploys everything on it and gives each of the accounts USDC.
    ///
    /// # Errors
    /// Those of [`Anvil::start`], [`Error::WrongChain`], [`Error::Deploy`].
    pub async fn start(options: &AnvilOptions) -> Result<Self, Error> {
        let (anvil, provider) = connect(options).await?;
        let deployment = dev::set_up(&provider).await?;
        for account in Account::all() {
            dev::mint(&provider, account.address, USDC_PER_ACCOUNT).await?;
        }
        Ok(Self { anvil, provider, deployment })
    }

    /// Starts one that continues from `state`, faster than setting it up.
    pub(crate) async fn resume(state: &State) -> Result<Self, Error> {
        let (anvil, provider) = connect(&AnvilOptions::default()).await?;
        provider.anvil_load_state(state.bytes.clone()).await.map_err(DeployError::from)?;
        Ok(Self { anvil, provider, deployment: state.deployment.clone() })
    }

    pub(crate) async fn state(&self) -> Result<State, Error> {
        let bytes = self.provider.anvil_dump_state().await.map_err(DeployError::from)?;
        Ok(State { bytes, deployment: self.deployment.clone() })
    }

    /// Where the node answers JSON-RPC, by HTTP and (with `ws://`) by WebSocket.
    pub fn rpc_url(&self) -> &Url {
        self.anvil.rpc_url()
    }

    /// A connection to the node, which signs for the dev accounts itself.
    pub const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Where the contracts are.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Gives new USDC to an account.
    ///
    /// # Errors
    /// [`Error::Deploy`] when the node refuses.
    pub async fn mint(&self, to: Address, amount: Usdc) -> Result<B256, Error> {
        Ok(dev::mint(&self.provider, to, amount).await?)
    }

    /// What an account holds, asked of the chain.
    ///
    /// # Errors
    /// [`Error::Node`] when the node does not answer.
    pub async fn balance(&self, account: Address) -> Result<Usdc, Error> {
        let token = Token::new(self.deployment.usdc, &self.provider);
        let balance: U256 = token.balanceOf(account).call().await?;
        Ok(Usdc::try_from(balance).expect("the whole supply of the dev chain fits"))
    }

    /// A private directory that goes when the chain goes, whatever ends it.
    pub fn directory(&self) -> &Path {
        self.anvil.directory()
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self) {
        self.anvil.stop().await;
    }
}

async fn connect(options: &AnvilOptions) -> Result<(Anvil, DynProvider), Error> {
    let anvil = Anvil::start(options).await?;
    let provider = ProviderBuilder::new().connect_http(anvil.rpc_url().clone()).erased();
    provider.client().set_poll_interval(Duration::from_millis(POLL_INTERVAL_MS));
    let actual = provider.get_chain_id().await.map_err(DeployError::from)?;
    if actual == CHAIN_ID { Ok((anvil, provider)) } else { Err(Error::WrongChain { expected: CHAIN_ID, actual }) }
}
