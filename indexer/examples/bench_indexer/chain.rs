//! The chain that is mirrored: blocks of one transaction that makes many transfers of the real USDC.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use contracts::{Deployment, dev, multicall3::Multicall3::aggregate3Call, usdc::Usdc::transferCall};
use money::Usdc;
use stack::{Anvil, AnvilOptions};

/// Accounts that are paid in turn.
const ACCOUNTS: u64 = 1_000;
/// Of a block's one transaction; enough for 400 transfers.
const GAS: u64 = 25_000_000;

pub(crate) struct Chain {
    pub(crate) anvil: Anvil,
    pub(crate) provider: DynProvider,
    pub(crate) deployment: Deployment,
    /// First block that holds transfers.
    pub(crate) first: u64,
    pub(crate) blocks: u64,
    pub(crate) per_block: u64,
    from: Address,
}

impl Chain {
    pub(crate) async fn build(blocks: u64, per_block: u64) -> Self {
        let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(anvil.rpc_url().clone()).erased();
        let deployment = dev::set_up(&provider).await.unwrap();
        dev::mint(&provider, Deployment::MULTICALL3, Usdc::from_whole(1_000_000).unwrap()).await.unwrap();
        provider.anvil_set_auto_mine(false).await.unwrap();
        let from = provider.get_accounts().await.unwrap()[0];
        let first = provider.get_block_number().await.unwrap() + 1;
        let chain = Self { anvil, provider, deployment, first, blocks, per_block, from };
        for block in 0..blocks {
            chain.mine(block, per_block).await;
        }
        chain
    }

    /// One more block, with this many transfers.
    pub(crate) async fn mine(&self, seed: u64, transfers: u64) {
        let calls = (0..transfers).map(|i| pay((seed * transfers + i) % ACCOUNTS)).collect();
        let tx = TransactionRequest::default().with_from(self.from).with_to(Deployment::MULTICALL3).with_gas_limit(GAS);
        let _ = self.provider.send_transaction(tx.with_input(aggregate3Call { calls }.abi_encode())).await.unwrap();
        self.provider.evm_mine(None).await.unwrap();
    }

    pub(crate) fn transfers(&self) -> u64 {
        self.blocks * self.per_block
    }

    /// Last block of the history.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.blocks - 1
    }
}

fn pay(account: u64) -> (Address, bool, alloy::primitives::Bytes) {
    let to = Address::left_padding_from(&(account + 0x10_0000).to_be_bytes());
    (Deployment::BASE_SEPOLIA_USDC, false, transferCall { to, value: U256::from(account + 1) }.abi_encode().into())
}
