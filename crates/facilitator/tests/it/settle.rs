use std::{collections::HashSet, time::Duration};

use alloy::{
    primitives::{Address, U256, address},
    providers::{Provider, ext::AnvilApi},
    signers::local::PrivateKeySigner,
    sol,
};
use contracts::usdc::Usdc as Token;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use x402::{Eip3009Authorization, ExactPayload, PaymentRequest, Reason};

use crate::harness::{PRICE, World};

const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

sol! {
    #[sol(rpc)]
    interface IMulticall3 {
        struct Call3 { address target; bool allowFailure; bytes callData; }
        function aggregate3(Call3[] calldata calls) external payable;
    }
}

#[tokio::test]
async fn a_payment_moves_exactly_its_amount_to_its_payee() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let answer = facilitator.settle(&world.payment()).await;
    assert!(answer.success, "{answer:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
    let receipt = world.provider.get_transaction_receipt(answer.transaction_hash().unwrap()).await.unwrap().unwrap();
    assert_eq!(receipt.from, world.signer.address());
}

#[tokio::test]
async fn the_same_payment_asked_a_hundred_times_at_once_is_settled_once() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payment = world.payment();
    let answers = join_all((0..100).map(|_| facilitator.settle(&payment))).await;
    assert!(answers.iter().all(|answer| answer.success), "{answers:?}");
    let transactions: HashSet<_> = answers.iter().map(|answer| &answer.transaction).collect();
    assert_eq!(transactions.len(), 1);
    assert_eq!(world.provider.get_transaction_count(world.signer.address()).await.unwrap(), 1);
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn many_payments_at_once_through_one_signer_all_settle() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payments: Vec<PaymentRequest> = (0..40).map(|_| world.payment()).collect();
    let answers = join_all(payments.iter().map(|payment| facilitator.settle(payment))).await;
    assert!(answers.iter().all(|answer| answer.success), "{answers:?}");
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(40).unwrap());
}

#[tokio::test]
async fn payments_are_sent_without_waiting_for_the_one_before() {
    let world = World::new().await;
    let facilitator = world.serve(&["--confirm-timeout-seconds", "1"]).await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payments: Vec<PaymentRequest> = (0..5).map(|_| world.payment()).collect();
    let pending = join_all(payments.iter().map(|payment| facilitator.settle(payment))).await;
    assert!(pending.iter().all(|answer| answer.is_pending()), "{pending:?}");
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let settled = join_all(payments.iter().map(|payment| facilitator.settle(payment))).await;
    assert!(settled.iter().all(|answer| answer.success), "{settled:?}");
    let same = pending.iter().zip(&settled).all(|(pending, settled)| pending.transaction == settled.transaction);
    assert!(same, "an answer that is pending names the transaction that settles");
}

#[tokio::test]
async fn a_payment_that_the_token_refuses_stops_no_other_of_its_batch() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    // Its money is there when it is looked for, and has left when the payment is mined.
    let poor = PrivateKeySigner::random();
    contracts::dev::mint(&world.provider, poor.address(), PRICE).await.unwrap();
    world.provider.anvil_set_balance(poor.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    world.provider.anvil_impersonate_account(poor.address()).await.unwrap();
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let good = (0..20).map(|_| world.payment());
    let payments: Vec<PaymentRequest> = good.chain([world.payment_by(&poor)]).collect();
    let settle = join_all(payments.iter().map(|payment| facilitator.settle(payment)));
    let mine = async {
        world.until("SELECT count(*) FROM facilitator.settlements", |count| count == 21).await;
        let token = Token::new(world.deployment.usdc, &world.provider);
        let first = token.transfer(world.signer.address(), U256::from(PRICE.base_units())).from(poor.address());
        let first = first.gas(100_000).max_priority_fee_per_gas(100_000_000_000).max_fee_per_gas(200_000_000_000);
        let _ = first.send().await.unwrap();
        world.mine_on().await;
    };
    let answers = tokio::select! { answers = settle => answers, () = mine => unreachable!() };
    assert!(answers[..20].iter().all(|answer| answer.success), "{answers:?}");
    assert!(!answers[20].success, "{answers:?}");
    assert_eq!(answers[20].error_reason, Some(Reason::TransactionFailed));
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(20).unwrap());
    let transactions: HashSet<_> = answers.iter().map(|answer| &answer.transaction).collect();
    assert!(transactions.len() < 12, "payments that wait together share transactions: {}", transactions.len());
}

#[tokio::test]
async fn as_many_payers_as_share_a_transaction_have_gas_enough_in_it() {
    const PAYERS: usize = 201;
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payers: Vec<PrivateKeySigner> = (0..PAYERS).map(|_| PrivateKeySigner::random()).collect();
    for payer in &payers {
        contracts::dev::mint(&world.provider, payer.address(), PRICE).await.unwrap();
    }
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    // While the journal stands still, one payment waits for it, and all others for that one.
    let pool = sqlx::PgPool::connect(&world.database.url).await.unwrap();
    let mut still = pg::begin(&pool).await.unwrap();
    sqlx::query("LOCK TABLE facilitator.settlements IN ACCESS EXCLUSIVE MODE").execute(&mut *still).await.unwrap();
    let payments: Vec<PaymentRequest> = payers.iter().map(|payer| world.payment_by(payer)).collect();
    let settle = join_all(payments.iter().map(|payment| facilitator.settle(payment)));
    let mine = async {
        facilitator.until_waiting(PAYERS).await;
        still.rollback().await.unwrap();
        world.mine_on().await;
    };
    let answers = tokio::select! { answers = settle => answers, () = mine => unreachable!() };
    assert!(answers.iter().all(|answer| answer.success), "{answers:?}");
    let transactions: HashSet<_> = answers.iter().map(|answer| &answer.transaction).collect();
    assert!(transactions.len() < 5, "none had to be sent alone: {}", transactions.len());
}

#[tokio::test]
async fn what_is_too_small_for_its_gas_is_refused() {
    let world = World::new().await;
    let facilitator = world.serve(&["--min-payment", "10001"]).await;
    let refused = facilitator.settle(&world.payment()).await;
    assert_eq!(refused.error_reason, Some(Reason::from("payment_below_minimum")));
    assert_eq!(world.balance(world.payee).await, money::Usdc::ZERO);
}

#[tokio::test]
async fn a_payment_somebody_else_settled_is_reported_with_their_transaction() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payment = world.payment();
    let theirs = facilitator.settle(&payment).await;
    sqlx::query("TRUNCATE facilitator.settlements, facilitator.attempts")
        .execute(&sqlx::PgPool::connect(&world.database.url).await.unwrap())
        .await
        .unwrap();
    let ours = facilitator.settle(&payment).await;
    assert!(ours.success, "{ours:?}");
    assert_eq!(ours.transaction, theirs.transaction);
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn a_settled_payment_does_not_answer_for_other_terms() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let mut payment = world.payment();
    assert!(facilitator.settle(&payment).await.success);
    payment.payment_requirements.pay_to = world.signer.address().to_string();
    let refused = facilitator.settle(&payment).await;
    assert_eq!(refused.error_reason, Some(Reason::RecipientMismatch));
}

#[tokio::test]
async fn what_the_chain_shows_of_a_payment_does_not_pay_again() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payment = world.payment();
    assert!(facilitator.settle(&payment).await.success);
    let mut forged = payment.clone();
    let mut payload = serde_json::to_value(&payment.payment_payload.payload).unwrap();
    payload["signature"] = format!("0x{}1b", "11".repeat(64)).into();
    forged.payment_payload.payload = serde_json::from_value(payload).unwrap();
    assert_eq!(facilitator.settle(&forged).await.error_reason, Some(Reason::InvalidSignature));

    let mut elsewhere = payment.clone();
    elsewhere.payment_requirements.network = x402::Network::evm(8453);
    elsewhere.payment_payload.accepted.network = x402::Network::evm(8453);
    assert_eq!(facilitator.settle(&elsewhere).await.error_reason, Some(Reason::InvalidNetwork));
    assert!(facilitator.settle(&payment).await.success, "who paid is told the same again");
}

/// The payer signs one nonce for the seller and for himself, uses it for himself, and moves the price to the seller once, however many such payments
/// he shows for it.
#[tokio::test]
async fn a_transfer_beside_a_used_nonce_pays_for_nothing() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let (payer, usdc) = (world.payer.address(), world.deployment.usdc);
    let shown = world.authorization();
    let own = Eip3009Authorization { to: payer, value: 1.into(), ..shown.clone() };
    let ExactPayload::Eip3009(signed) = world.signed(own).payment_payload.exact().unwrap() else { unreachable!() };
    let Eip3009Authorization { from, to, value, valid_after, valid_before, nonce } = signed.authorization;
    let token = Token::new(usdc, &world.provider);
    world.provider.anvil_set_balance(payer, U256::from(10).pow(U256::from(18))).await.unwrap();
    world.provider.anvil_impersonate_account(payer).await.unwrap();
    let multicall = IMulticall3::new(MULTICALL3, &world.provider);
    let allowed = token.approve(MULTICALL3, U256::MAX).from(payer).send().await.unwrap().get_receipt().await.unwrap();
    assert!(allowed.status());
    let used = token
        .transferWithAuthorization_0(from, to, value.0, valid_after.0, valid_before.0, nonce, signed.signature)
        .calldata()
        .clone();
    let moved = token.transferFrom(payer, world.payee, U256::from(PRICE.base_units())).calldata().clone();
    let calls = [used, moved].map(|data| IMulticall3::Call3 { target: usdc, allowFailure: false, callData: data });
    let both = multicall.aggregate3(calls.into()).from(payer).send().await.unwrap().get_receipt().await.unwrap();
    assert!(both.status());
    assert_eq!(world.balance(world.payee).await, PRICE);
    let told = facilitator.settle(&world.signed(shown)).await;
    assert_eq!((told.success, told.error_reason), (false, Some(Reason::NonceAlreadyUsed)));
}

/// Each of them verifies alone; together they are more than the payer has.
#[tokio::test]
async fn a_payer_cannot_have_more_under_way_than_it_has() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payer = PrivateKeySigner::random();
    contracts::dev::mint(&world.provider, payer.address(), PRICE).await.unwrap();
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let [first, second, third] = [0; 3].map(|_| world.payment_by(&payer));
    let under_way = async {
        world.until("SELECT count(*) FROM facilitator.attempts", |count| count == 1).await;
        let verdict = facilitator.post("verify", &third).await.1;
        assert_eq!(verdict["invalidReason"], Reason::InsufficientBalance.as_str(), "{verdict}");
        let later = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            world.provider.anvil_set_auto_mine(true).await.unwrap();
            world.provider.anvil_mine(Some(1), None).await.unwrap();
        };
        tokio::join!(facilitator.settle(&second), later).0
    };
    let (first, second) = tokio::join!(facilitator.settle(&first), under_way);
    assert!(first.success, "{first:?}");
    assert_eq!(second.error_reason, Some(Reason::InsufficientBalance), "by what the chain says, and without a transaction");
    let sent = world.provider.get_transaction_count(world.signer.address()).await.unwrap();
    assert_eq!((sent, world.balance(world.payee).await), (1, PRICE));
}

/// As sellers of the first version of the protocol ask: networks by name, and a least amount.
#[tokio::test]
async fn a_payment_of_version_1_verifies_and_settles() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let asked = json!({ "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "9999", "resource": "http://shop/",
        "description": "", "payTo": world.payee, "maxTimeoutSeconds": 60, "asset": world.deployment.usdc,
        "extra": { "name": "USDC", "version": "2" } });
    let payload = world.payment().payment_payload.payload;
    let payment = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload });
    let request = json!({ "x402Version": 1, "paymentPayload": payment, "paymentRequirements": asked });
    let (_, verdict) = facilitator.post("verify", &request).await;
    let payer = json!(world.payer.address().to_checksum(None));
    assert_eq!((&verdict["isValid"], &verdict["payer"]), (&json!(true), &payer), "{verdict}");
    let (_, settled) = facilitator.post("settle", &request).await;
    let told = (&settled["success"], &settled["network"], &settled["payer"]);
    assert_eq!(told, (&json!(true), &json!("base-sepolia"), &payer), "{settled}");
    assert_eq!(world.balance(world.payee).await, PRICE, "what was signed");
    assert_eq!(facilitator.post("settle", &request).await.1, settled, "asked again, told the same");
}

#[tokio::test]
async fn a_burst_is_carried_by_all_signers() {
    let world = World::new().await;
    let second = PrivateKeySigner::random();
    world.provider.anvil_set_balance(second.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    let facilitator = world.serve(&["--signer-keys", &format!("{:x}", second.to_bytes())]).await;
    let payments: Vec<PaymentRequest> = (0..20).map(|_| world.payment()).collect();
    let answers = join_all(payments.iter().map(|payment| facilitator.settle(payment))).await;
    let mut senders = HashSet::new();
    for answer in answers {
        let receipt = world.provider.get_transaction_receipt(answer.transaction_hash().unwrap()).await.unwrap().unwrap();
        senders.insert(receipt.from);
    }
    assert_eq!(senders, [world.signer.address(), second.address()].into());
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(20).unwrap());
}

#[tokio::test]
async fn nothing_is_begun_while_gas_costs_more_than_the_operator_pays() {
    let world = World::new().await;
    let facilitator = world.serve(&["--gas-price-max", "20000000000"]).await;
    assert!(facilitator.settle(&world.payment()).await.success);
    world.provider.anvil_set_next_block_base_fee_per_gas(50_000_000_000).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    // What is known of the price is good for a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let payment = world.payment();
    for call in ["settle", "verify"] {
        let (status, body) = facilitator.post(call, &payment).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(body["error"].as_str().unwrap().contains("--gas-price-max"), "{body}");
    }
    world.provider.anvil_set_next_block_base_fee_per_gas(1_000_000_000).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let settled = async {
        while facilitator.post("settle", &payment).await.1["success"] != true {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it goes on when gas is cheaper");
}
