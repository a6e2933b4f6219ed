//! The owners' part: a treasury, its money, and a wallet for the agent.

use alloy::{
    primitives::{
        Address, Bytes, U256,
        aliases::{U24, U40, U56},
        keccak256,
    },
    sol_types::SolValue,
};
use anyhow::{Result, ensure};
use contracts::{
    agent_wallet_factory::{AgentWalletFactory, IAgentWallet},
    signing::{self, Approvals},
    treasury::{ITreasury, Treasury},
    treasury_factory::{ITreasury as Founding, TreasuryFactory},
    usdc::Usdc as Token,
};

use super::{
    DAILY_LIMIT, TREASURY_FUNDS, Told, WALLET_FUNDS,
    cast::{Cast, confirmed},
};

const DAY_SECONDS: u32 = 86_400;
/// The x402 lane: so many payments an hour, each of so much at most.
const LANE_PAYMENTS_PER_PERIOD: u32 = 100;
const LANE_PERIOD_SECONDS: u32 = 3_600;
const LANE_PAYMENT_MAX: u64 = 1_000_000;

pub(super) async fn found_treasury(cast: &mut Cast<'_>) -> Result<Told> {
    let config = Founding::Config {
        owners: cast.owners.iter().map(|owner| owner.address()).collect(),
        threshold: 2,
        guardians: vec![cast.relayer.address()],
        changeDelay: DAY_SECONDS,
        recipientCooldown: DAY_SECONDS,
        grants: vec![owners_budget(cast)],
        salt: keccak256("the organisation of the story"),
    };
    let factory = TreasuryFactory::new(cast.deployment.treasury_factory, &cast.relayer.provider);
    cast.treasury = factory.addressOf(config.clone()).call().await?;
    let receipt = confirmed(factory.create(config)).await?;
    Ok(Told { transaction: Some(receipt.transaction_hash), ..Told::that(format!("at {}", cast.treasury)) })
}

/// What the owners together (spender zero) may move in a day; every order of it needs two of them.
fn owners_budget(cast: &Cast<'_>) -> Founding::Grant {
    let limit = U56::from(TREASURY_FUNDS.base_units());
    let policy = Founding::Policy { dailyLimit: limit, orderMax: limit, approvalAbove: U56::ZERO, onlyAllowed: false };
    Founding::Grant { spender: Address::ZERO, token: cast.deployment.usdc, policy, recipients: vec![] }
}

pub(super) async fn fund_treasury(cast: &Cast<'_>) -> Result<Told> {
    let token = Token::new(cast.deployment.usdc, &cast.owners[0].provider);
    let receipt = confirmed(token.transfer(cast.treasury, TREASURY_FUNDS.into())).await?;
    Ok(Told::paid("organisation", "treasury", TREASURY_FUNDS, receipt.transaction_hash, "USDC transfer"))
}

/// Two of three owners sign one order off chain; anyone may carry it to the treasury, here the relayer.
pub(super) async fn fund_wallet(cast: &mut Cast<'_>) -> Result<Told> {
    let config = wallet_config(cast);
    let factory = AgentWalletFactory::new(cast.deployment.agent_wallet_factory, &cast.relayer.provider);
    cast.wallet = factory.walletAddress(config.clone()).call().await?;
    let treasury = Treasury::new(cast.treasury, &cast.relayer.provider);
    let order = ITreasury::Order {
        spender: Address::ZERO,
        token: cast.deployment.usdc,
        operation: 1, // CreateWallet
        category: keccak256("agents"),
        payments: vec![ITreasury::Payment {
            to: cast.wallet,
            amount: WALLET_FUNDS.into(),
            paymentRef: keccak256("agent's budget"),
        }],
        details: Bytes::from(config.abi_encode()),
        nonce: U256::from(1),
        validUntil: u64::MAX >> 1,
        policyEpoch: 1,
        ownerEpoch: treasury.ownerEpoch().call().await?,
    };
    let message = signing::treasury::order(&order, cast.treasury, cast.deployment.chain_id);
    let mut approvals = Approvals::of(message.digest());
    for owner in &cast.owners[..2] {
        approvals.add_from(owner.address(), message.sign(&owner.signer)?)?;
    }
    let receipt = confirmed(treasury.execute(order, approvals.for_treasury())).await?;
    let balance = cast.balance(cast.wallet).await?;
    ensure!(balance == WALLET_FUNDS, "the wallet holds {balance} USDC instead of {WALLET_FUNDS}");
    Ok(Told::paid("treasury", "agent's wallet", WALLET_FUNDS, receipt.transaction_hash, "2 of 3 owners signed"))
}

fn wallet_config(cast: &Cast<'_>) -> IAgentWallet::WalletConfig {
    let limit = U56::from(DAILY_LIMIT.base_units());
    let policy = IAgentWallet::Policy {
        paymentMax: limit,
        dailyLimit: limit,
        approvalAbove: limit,
        expiresAt: U40::MAX,
        onlyAllowed: false,
    };
    let lane = IAgentWallet::Lane {
        token: cast.deployment.usdc,
        paymentMax: U40::from(LANE_PAYMENT_MAX),
        paymentsPerPeriod: U24::from(LANE_PAYMENTS_PER_PERIOD),
        periodSeconds: LANE_PERIOD_SECONDS,
        expiresAt: U40::MAX,
        onlyAllowed: false,
    };
    let operator = IAgentWallet::OperatorConfig {
        operator: cast.agent.address(),
        policies: vec![IAgentWallet::TokenPolicy { token: cast.deployment.usdc, policy }],
        recipients: vec![],
        lane,
    };
    IAgentWallet::WalletConfig {
        owner: cast.treasury,
        guardian: cast.relayer.address(),
        approvers: vec![],
        approvalsRequired: 0,
        operators: vec![operator],
        salt: keccak256("the agent of the story"),
    }
}
