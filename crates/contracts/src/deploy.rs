//! Deterministic deployment: what a contract's address is follows from its code alone, so it is known offline and the same on every chain.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, address},
    providers::Provider,
    rpc::types::TransactionRequest,
    transports::{RpcError, TransportErrorKind},
};

use crate::{Plan, Step};

/// The keyless deployer that is on practically every chain, and on every anvil.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

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

impl Step {
    fn transaction(&self, from: Address) -> TransactionRequest {
        let data: Bytes = [self.salt.as_slice(), &self.init_code].concat().into();
        TransactionRequest::default().with_from(from).with_to(CREATE2_DEPLOYER).with_input(data)
    }
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
