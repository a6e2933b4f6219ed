//! Deterministic deployment: what a contract's address is follows from its code alone, so it is known offline and the same on every chain.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, address, b256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolConstructor,
    transports::{RpcError, TransportErrorKind},
};

use crate::{
    Deployment, agent_wallet_factory::AgentWalletFactory, escrow::Escrow, permit2::Permit2,
    x402_exact_permit2_proxy::X402ExactPermit2Proxy, x402_upto_permit2_proxy::X402UptoPermit2Proxy,
};

/// The keyless deployer that is on practically every chain, and on every anvil.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const PERMIT2_SALT: B256 = b256!("0000000000000000000000000000000000000000d3af2663da51c10215000000");
const X402_EXACT_SALT: B256 = b256!("0000000000000000000000000000000000000000000000003000000007263b0e");
const X402_UPTO_SALT: B256 = b256!("000000000000000000000000000000000000000000000000b000000001db633d");

/// One contract to be created.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in Solidity.
    pub name: &'static str,
    /// Where it will be.
    pub address: Address,
    salt: B256,
    init_code: Bytes,
}

/// What is deployed on a chain, in an order in which each contract finds those it needs, and where all of it will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Contracts to be created.
    pub steps: Vec<Step>,
    /// The addresses that result.
    pub deployment: Deployment,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Its name in Solidity.
    pub name: &'static str,
    /// Where it is.
    pub address: Address,
    /// The transaction that created it; `None` when it was there before.
    pub transaction: Option<B256>,
}

/// Why a deployment stopped. Running it again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The node did not answer as expected.
    #[error("the node refused: {0}")]
    Node(#[from] RpcError<TransportErrorKind>),
    /// No receipt came.
    #[error("{name}: its transaction was sent but not confirmed: {source}; run the deployment again, it goes on from here")]
    Unconfirmed {
        /// The contract.
        name: &'static str,
        /// What the node said.
        source: alloy::providers::PendingTransactionError,
    },
    /// Another chain than the plan is for.
    #[error("the node serves chain {actual}, the deployment is for chain {expected}")]
    WrongChain {
        /// What was asked for.
        expected: u64,
        /// What the node answered.
        actual: u64,
    },
    /// The chain lacks the deterministic deployer.
    #[error(
        "chain {0} has no deployer at {CREATE2_DEPLOYER}: create it first, see github.com/Arachnid/deterministic-deployment-proxy"
    )]
    NoDeployer(u64),
    /// The account cannot pay for gas.
    #[error("{account} has no ETH for gas on chain {chain_id}: send it some and run the deployment again")]
    NoFunds {
        /// The account.
        account: Address,
        /// Where.
        chain_id: u64,
    },
    /// The transaction went through and did nothing.
    #[error("{name}: transaction {transaction} reverted")]
    Reverted {
        /// The contract.
        name: &'static str,
        /// The transaction.
        transaction: B256,
    },
    /// The transaction went through and left no code.
    #[error("{name}: transaction {transaction} left no code at {address}")]
    NoCode {
        /// The contract.
        name: &'static str,
        /// Where it should be.
        address: Address,
        /// What should have created it.
        transaction: B256,
    },
}

impl Plan {
    /// The plan for a chain whose USDC is at `usdc`.
    pub fn new(chain_id: u64, usdc: Address) -> Self {
        let mut steps = Vec::new();
        let mut add = |name, salt, init_code: Bytes| {
            let address = create2_address(salt, &init_code);
            steps.push(Step { name, address, salt, init_code });
            address
        };
        let permit2 = add("Permit2", PERMIT2_SALT, Permit2::BYTECODE.clone());
        let x402_exact_permit2_proxy = add("x402ExactPermit2Proxy", X402_EXACT_SALT, X402ExactPermit2Proxy::BYTECODE.clone());
        let x402_upto_permit2_proxy = add("x402UptoPermit2Proxy", X402_UPTO_SALT, X402UptoPermit2Proxy::BYTECODE.clone());
        let escrow = add("Escrow", B256::ZERO, Escrow::BYTECODE.clone());
        let agent_wallet_factory = add(
            "AgentWalletFactory",
            B256::ZERO,
            with_arguments(&AgentWalletFactory::BYTECODE, &AgentWalletFactory::constructorCall { escrow }),
        );
        let deployment = Deployment {
            chain_id,
            start_block: 0,
            usdc,
            permit2,
            multicall3: Deployment::MULTICALL3,
            escrow,
            payment_router: Address::ZERO,
            service_registry: Address::ZERO,
            ledger_anchor: Address::ZERO,
            agent_wallet_factory,
            treasury_factory: Address::ZERO,
            x402_exact_permit2_proxy,
            x402_upto_permit2_proxy,
        };
        Self { steps, deployment }
    }
}

impl Step {
    pub(crate) const fn new(name: &'static str, address: Address, salt: B256, init_code: Bytes) -> Self {
        Self { name, address, salt, init_code }
    }

    fn transaction(&self, from: Address) -> TransactionRequest {
        let data: Bytes = [self.salt.as_slice(), &self.init_code].concat().into();
        TransactionRequest::default().with_from(from).with_to(CREATE2_DEPLOYER).with_input(data)
    }
}

fn with_arguments(code: &Bytes, arguments: &impl SolConstructor) -> Bytes {
    [&code[..], &arguments.abi_encode()].concat().into()
}

/// The address of what the deterministic deployer creates from `init_code`.
pub fn create2_address(salt: B256, init_code: &[u8]) -> Address {
    CREATE2_DEPLOYER.create2_from_code(salt, init_code)
}

/// Creates what is missing of a plan, paid by `from`, whose key the provider or the node must hold.
///
/// Safe to repeat: code at a planned address can only have come from the planned creation code.
///
/// # Errors
/// See [`DeployError`].
pub async fn deploy(provider: &impl Provider, from: Address, plan: &Plan) -> Result<Vec<Deployed>, DeployError> {
    let (expected, actual) = (plan.deployment.chain_id, provider.get_chain_id().await?);
    if expected != actual {
        return Err(DeployError::WrongChain { expected, actual });
    }
    if provider.get_code_at(CREATE2_DEPLOYER).await?.is_empty() {
        return Err(DeployError::NoDeployer(actual));
    }
    let mut deployed = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        deployed.push(create(provider, from, actual, step).await?);
    }
    Ok(deployed)
}

pub(crate) async fn create(provider: &impl Provider, from: Address, chain_id: u64, step: &Step) -> Result<Deployed, DeployError> {
    let &Step { name, address, .. } = step;
    if !provider.get_code_at(address).await?.is_empty() {
        return Ok(Deployed { name, address, transaction: None });
    }
    let sent = provider.send_transaction(step.transaction(from)).await.map_err(|error| {
        let poor = error.as_error_resp().is_some_and(|response| response.message.to_lowercase().contains("insufficient funds"));
        if poor { DeployError::NoFunds { account: from, chain_id } } else { error.into() }
    })?;
    let transaction = sent.watch().await.map_err(|source| DeployError::Unconfirmed { name, source })?;
    if provider.get_code_at(address).await?.is_empty() {
        return Err(DeployError::NoCode { name, address, transaction });
    }
    Ok(Deployed { name, address, transaction: Some(transaction) })
}
