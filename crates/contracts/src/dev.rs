//! A dev chain that looks like Base Sepolia to wallets, clients and facilitators: Circle's real USDC, Permit2, Multicall3 at their
//! addresses, and stand-ins for x402's proxies, channels and escrow. Only for anvil: it writes code and storage straight into the state.

use alloy::{
    primitives::{Address, B256, Bytes, U256, address, b256, keccak256},
    providers::{Provider, ext::AnvilApi},
    sol_types::SolCall,
};
use money::Usdc;

use crate::{
    DeployError, Deployment, Plan, Step,
    auth_capture_escrow::AuthCaptureEscrow,
    batch_settlement::BatchSettlement,
    create2_address,
    deploy::{create, deploy},
    erc3009_collector::Erc3009Collector,
    erc3009_payment_collector::Erc3009PaymentCollector,
    multicall3::Multicall3,
    permit2_collector::Permit2Collector,
    signature_checker::SignatureChecker,
    usdc::Usdc as Token,
    usdc_proxy::UsdcProxy,
    x402_exact_permit2_proxy::X402ExactPermit2Proxy,
    x402_upto_permit2_proxy::X402UptoPermit2Proxy,
};

/// The chain that the dev chain stands in for.
pub const CHAIN_ID: u64 = 84532;

/// The mnemonic of anvil, hardhat and every tutorial. Its keys are public.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Account 9 of [`MNEMONIC`]: issues the dev chain's USDC and pays for its deployments. It is USDC's owner, master minter, minter, pauser and
/// blacklister.
pub const ISSUER: Address = address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720");

/// Where the proxy keeps its implementation and its admin (`keccak256` of "org.zeppelinos.proxy.implementation" and ".admin").
const IMPLEMENTATION_SLOT: B256 = b256!("7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3");
const ADMIN_SLOT: B256 = b256!("10d6a54a4754c8869d6886b5f5d7fbfa5b4522237ea5c60d11bc4e7a1ff9390b");

/// The escrow of the x402 scheme `auth-capture`, and its collector of payments by EIP-3009, where the official client looks for them.
pub const AUTH_CAPTURE: (Address, Address) =
    (address!("f96815976523E00e65Be8f34cA5e64b4f41EB19c"), address!("8612dfdc421f80336cd14E8EF9cb1E765dB5ab88"));

/// The proxies by which x402 uses Permit2, the channels of its scheme `batch-settlement` and the escrow of `auth-capture` with their
/// collectors, where every chain has them. These are stand-ins of our own: the canonical code is in no package.
const STAND_INS: [(Address, &Bytes); 7] = [
    (AUTH_CAPTURE.0, &AuthCaptureEscrow::DEPLOYED_BYTECODE),
    (AUTH_CAPTURE.1, &Erc3009PaymentCollector::DEPLOYED_BYTECODE),
    (Deployment::X402_EXACT_PERMIT2_PROXY, &X402ExactPermit2Proxy::DEPLOYED_BYTECODE),
    (Deployment::X402_UPTO_PERMIT2_PROXY, &X402UptoPermit2Proxy::DEPLOYED_BYTECODE),
    (address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003"), &BatchSettlement::DEPLOYED_BYTECODE),
    (address!("4020806089470a89826cB9fB1f4059150b550004"), &Erc3009Collector::DEPLOYED_BYTECODE),
    (address!("4020425FAf3B746C082C2f942b4E5159887B0005"), &Permit2Collector::DEPLOYED_BYTECODE),
];

/// Makes an empty anvil into the dev chain and deploys our contracts on it. On one that is set up already it changes nothing.
///
/// # Errors
/// See [`DeployError`].
pub async fn set_up(provider: &impl Provider) -> Result<Deployment, DeployError> {
    let start_block = provider.get_block_number().await? + 1;
    let plan = Plan::new(CHAIN_ID, Deployment::BASE_SEPOLIA_USDC);
    provider.anvil_set_code(Deployment::MULTICALL3, Multicall3::DEPLOYED_BYTECODE.clone()).await?;
    for (address, code) in STAND_INS {
        provider.anvil_set_code(address, code.clone()).await?;
    }
    load_usdc(provider, plan.deployment.usdc).await?;
    deploy(provider, ISSUER, &plan).await?;
    Ok(plan.deployment.starting_at(start_block))
}

/// Gives new USDC to an account of the dev chain.
///
/// # Errors
/// When the node refuses: the dev chain is not set up, or the supply would overflow.
pub async fn mint(provider: &impl Provider, to: Address, amount: Usdc) -> Result<B256, DeployError> {
    as_issuer(provider, "USDC", Deployment::BASE_SEPOLIA_USDC, Token::mintCall { _to: to, _amount: amount.into() }).await
}

/// Circle's contracts as Circle deploys them, except that the proxy's code is put where Base Sepolia has it.
async fn load_usdc(provider: &impl Provider, usdc: Address) -> Result<(), DeployError> {
    if !provider.get_code_at(usdc).await?.is_empty() {
        return Ok(());
    }
    let libraries = [("SignatureChecker", SignatureChecker::BYTECODE.clone()), ("FiatTokenV2_2", Token::BYTECODE.clone())];
    let mut implementation = Address::ZERO;
    for (name, code) in libraries {
        implementation = create2_address(B256::ZERO, &code);
        create(provider, ISSUER, CHAIN_ID, &Step { name, address: implementation, salt: B256::ZERO, init_code: code }).await?;
    }
    let admin = Address::from_word(keccak256("admin of the dev chain's USDC proxy"));
    provider.anvil_set_storage_at(usdc, IMPLEMENTATION_SLOT.into(), implementation.into_word()).await?;
    provider.anvil_set_storage_at(usdc, ADMIN_SLOT.into(), admin.into_word()).await?;
    provider.anvil_set_code(usdc, UsdcProxy::DEPLOYED_BYTECODE.clone()).await?;
    initialize(provider, usdc).await
}

async fn initialize(provider: &impl Provider, usdc: Address) -> Result<(), DeployError> {
    let name = || "USDC".to_owned();
    let first = Token::initializeCall {
        tokenName: name(),
        tokenSymbol: name(),
        tokenCurrency: "USD".to_owned(),
        tokenDecimals: Usdc::DECIMALS,
        newMasterMinter: ISSUER,
        newPauser: ISSUER,
        newBlacklister: ISSUER,
        newOwner: ISSUER,
    };
    as_issuer(provider, "USDC", usdc, first).await?;
    as_issuer(provider, "USDC", usdc, Token::initializeV2Call { newName: name() }).await?;
    as_issuer(provider, "USDC", usdc, Token::initializeV2_1Call { lostAndFound: ISSUER }).await?;
    as_issuer(provider, "USDC", usdc, Token::initializeV2_2Call { accountsToBlacklist: vec![], newSymbol: name() }).await?;
    let allowance = U256::MAX >> 1;
    as_issuer(provider, "USDC", usdc, Token::configureMinterCall { minter: ISSUER, minterAllowedAmount: allowance }).await?;
    Ok(())
}

async fn as_issuer(provider: &impl Provider, name: &'static str, to: Address, call: impl SolCall) -> Result<B256, DeployError> {
    use alloy::{network::TransactionBuilder, rpc::types::TransactionRequest};
    let request = TransactionRequest::default().with_from(ISSUER).with_to(to).with_input(Bytes::from(call.abi_encode()));
    let sent = provider.send_transaction(request).await?;
    let receipt = sent.get_receipt().await.map_err(|source| DeployError::Unconfirmed { name, source })?;
    if receipt.status() {
        Ok(receipt.transaction_hash)
    } else {
        Err(DeployError::Reverted { name, transaction: receipt.transaction_hash })
    }
}
