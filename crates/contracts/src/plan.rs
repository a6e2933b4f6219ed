//! What is deployed, and where it will be.

use alloy::{
    primitives::{Address, B256, Bytes, b256},
    sol_types::SolConstructor,
};

use crate::{
    Deployment, agent_wallet_factory::AgentWalletFactory, create2_address, escrow::Escrow, ledger_anchor::LedgerAnchor,
    payment_router::PaymentRouter, permit2::Permit2, service_registry::ServiceRegistry, treasury::Treasury,
    treasury_admin::TreasuryAdmin, treasury_factory::TreasuryFactory,
};

const PERMIT2_SALT: B256 = b256!("0000000000000000000000000000000000000000d3af2663da51c10215000000");

/// One contract to be created.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in Solidity.
    pub name: &'static str,
    /// Where it will be.
    pub address: Address,
    pub(crate) salt: B256,
    pub(crate) init_code: Bytes,
}

/// What is deployed on a chain, in an order in which each contract finds those it needs, and where all of it will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Contracts to be created.
    pub steps: Vec<Step>,
    /// The addresses that result.
    pub deployment: Deployment,
}

impl Plan {
    /// The plan for a chain whose USDC is at `usdc`.
    pub fn new(chain_id: u64, usdc: Address) -> Self {
        let mut steps = Steps::default();
        let permit2 = steps.add("Permit2", PERMIT2_SALT, &Permit2::BYTECODE);
        let escrow = steps.ours("Escrow", &Escrow::BYTECODE, &[]);
        let wallets = AgentWalletFactory::constructorCall { escrow };
        let agent_wallet_factory = steps.ours("AgentWalletFactory", &AgentWalletFactory::BYTECODE, &wallets.abi_encode());
        let payment_router = steps.ours("PaymentRouter", &PaymentRouter::BYTECODE, &[]);
        let registry = ServiceRegistry::constructorCall { stakeToken_: usdc, escrow_: escrow, router_: payment_router };
        let service_registry = steps.ours("ServiceRegistry", &ServiceRegistry::BYTECODE, &registry.abi_encode());
        let ledger_anchor = steps.ours("LedgerAnchor", &LedgerAnchor::BYTECODE, &[]);
        let admin = steps.ours("TreasuryAdmin", &TreasuryAdmin::BYTECODE, &[]);
        let treasury = Treasury::constructorCall { admin, walletFactory: agent_wallet_factory, escrow, router: payment_router };
        let implementation_ = steps.ours("Treasury", &Treasury::BYTECODE, &treasury.abi_encode());
        let treasuries = TreasuryFactory::constructorCall { implementation_ };
        let treasury_factory = steps.ours("TreasuryFactory", &TreasuryFactory::BYTECODE, &treasuries.abi_encode());
        let deployment = Deployment {
            chain_id,
            start_block: 0,
            usdc,
            permit2,
            multicall3: Deployment::MULTICALL3,
            escrow,
            payment_router,
            service_registry,
            ledger_anchor,
            agent_wallet_factory,
            treasury_factory,
            x402_exact_permit2_proxy: Deployment::X402_EXACT_PERMIT2_PROXY,
            x402_upto_permit2_proxy: Deployment::X402_UPTO_PERMIT2_PROXY,
        };
        Self { steps: steps.0, deployment }
    }
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, name: &'static str, salt: B256, init_code: &[u8]) -> Address {
        let address = create2_address(salt, init_code);
        self.0.push(Step { name, address, salt, init_code: Bytes::copy_from_slice(init_code) });
        address
    }

    /// Ours have salt zero: nothing but the code decides the address.
    fn ours(&mut self, name: &'static str, code: &[u8], arguments: &[u8]) -> Address {
        self.add(name, B256::ZERO, &[code, arguments].concat())
    }
}
