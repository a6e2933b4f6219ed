//! An AgentWallet pays by x402 through the official TypeScript facilitator, which knows nothing of wallets with limits.

use alloy::{
    primitives::{
        Address, B256,
        aliases::{U24, U40},
    },
    signers::SignerSync,
};
use contracts::{
    agent_wallet_factory::{AgentWalletFactory, IAgentWallet},
    signing::lane::{LanePayment, Slot},
};
use money::Usdc;
use stack::Stack;
use x402::{Eip3009Payload, ExactPayload, Network, PaymentPayload, PaymentRequest, PaymentRequirements, Token, TokenDomain, V2};

use crate::{
    cli::Running,
    interop::{balance, node, pay, paywall},
};

const OPERATOR: usize = 7;
const SELLER: usize = 8;
const RELAYER: usize = 9;
/// Payments that the lane allows in a period.
const PAYMENTS: u32 = 3;
/// Long enough that no period begins or ends while the test runs.
const PERIOD_SECONDS: u32 = u32::MAX;

/// A funded wallet whose operator may pay three times a cent by x402.
async fn wallet(stack: &Stack) -> Address {
    let lane = IAgentWallet::Lane {
        token: stack.deployment().usdc,
        paymentMax: U40::from(10_000),
        paymentsPerPeriod: U24::from(PAYMENTS),
        periodSeconds: PERIOD_SECONDS,
        expiresAt: U40::MAX,
        onlyAllowed: false,
    };
    let operator = stack.account(OPERATOR).address;
    let config = IAgentWallet::WalletConfig {
        owner: stack.account(SELLER).address,
        guardian: Address::ZERO,
        approvers: vec![],
        approvalsRequired: 0,
        operators: vec![IAgentWallet::OperatorConfig { operator, policies: vec![], recipients: vec![], lane }],
        salt: B256::ZERO,
    };
    let factory = AgentWalletFactory::new(stack.deployment().agent_wallet_factory, stack.provider());
    let wallet = factory.walletAddress(config.clone()).call().await.unwrap();
    let sent = factory.createWallet(config).from(stack.account(RELAYER).address).send().await.unwrap();
    assert!(sent.get_receipt().await.unwrap().status());
    contracts::dev::mint(stack.provider(), wallet, Usdc::from_whole(10).unwrap()).await.unwrap();
    wallet
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_facilitator_settles_a_wallets_payments_until_its_lane_is_exhausted() {
    let stack = Stack::for_test().await.unwrap();
    let mut official = node("facilitate.mjs");
    official.arg(stack.rpc_url().as_str()).env("FLORIN_KEY", stack.account(RELAYER).key());
    let official = Running::start(&mut official, "http://", false);
    let facilitator = official.announced.trim();
    let (_paywall, url) = paywall(&stack, facilitator).await;
    let (wallet, before) = (wallet(&stack).await, balance(&stack, SELLER).await);
    let (address, rpc_url) = (wallet.to_string(), stack.rpc_url().to_string());
    let buy = || pay(&stack, &format!("{url}/report"), &["--max", "0.10", "--wallet", &address, "--rpc-url", &rpc_url]);

    for payment in 1..=PAYMENTS {
        let bought = buy();
        assert!(bought.status.success(), "payment {payment}: {}", String::from_utf8_lossy(&bought.stderr));
        assert_eq!(balance(&stack, SELLER).await - before, u64::from(payment) * 10_000);
    }
    let refused = buy();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("used up"), "{refused:?}");

    // Whoever stole the operator's key does not ask our client. The wallet itself refuses.
    let client = reqwest::Client::new();
    let ask = async |slot| -> serde_json::Value {
        let request = signed_by_thief(&stack, wallet, slot);
        client.post(format!("{facilitator}/settle")).json(&request).send().await.unwrap().json().await.unwrap()
    };
    for (slot, reason) in [(PAYMENTS, "invalid_exact_evm_signature"), (0, "invalid_exact_evm_nonce_already_used")] {
        let answer = ask(slot).await;
        assert_eq!((&answer["success"], &answer["errorReason"]), (&false.into(), &reason.into()), "slot {slot}: {answer}");
    }
    assert_eq!(balance(&stack, SELLER).await - before, u64::from(PAYMENTS) * 10_000);
}

/// What the operator's key can sign for a slot of the lane, whether the lane has it or not.
fn signed_by_thief(stack: &Stack, wallet: Address, slot: u32) -> PaymentRequest {
    let value = Usdc::from_base_units(10_000);
    let payee = stack.account(SELLER).address;
    let token = Token::usdc(&Network::evm(stack.deployment().chain_id)).unwrap();
    let requirements = PaymentRequirements::exact(&token, value, payee, 60);
    let domain = TokenDomain::of(&requirements).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let valid_before = u32::try_from(now + 60).unwrap();
    let slot = Slot { epoch: 1, period: valid_before / PERIOD_SECONDS, lane: 1, slot };
    let payment = LanePayment { wallet, to: payee, value, valid_before, slot };
    let authorization = payment.authorization();
    let operator = stack.account(OPERATOR).signer.sign_hash_sync(&authorization.signing_hash(&domain)).unwrap();
    let signature = payment.signature(domain.separator(), &operator).unwrap().into();
    let payload = ExactPayload::Eip3009(Eip3009Payload { signature, authorization }).to_json();
    let payload = PaymentPayload { x402_version: V2, resource: None, accepted: requirements.clone(), payload, extensions: None };
    PaymentRequest { x402_version: V2, payment_payload: payload, payment_requirements: requirements }
}
