//! Official reasons for what goes wrong outside a payment: tokens that are not what they say, and chains that change their mind.

use alloy::{
    primitives::{Address, Bytes, U256, bytes},
    providers::ext::AnvilApi,
};
use contracts::{dev::ISSUER, usdc::Usdc as Token};
use serde_json::{Value, json};
use x402::{
    ERC6492_MAGIC, ExactPayload, PERMIT2_UPTO_PROXY, PaymentRequest, PaymentRequirements, Reason,
    batch::{BATCH_CONTRACT, BatchPayload, DepositAuthorization},
};

use crate::{
    approval::until_pending,
    channels::{Parties, verify},
    harness::{Facilitator, PRICE, World},
};

/// A contract that takes every call and does nothing, and one that refuses every call.
const SILENT: Bytes = bytes!("00");
const REFUSING: Bytes = bytes!("60006000fd");

impl World {
    /// A payment of a token at `asset`, signed for the domain that it is said to have.
    fn of_token(&self, asset: Address, alter: impl Fn(&mut PaymentRequirements)) -> PaymentRequest {
        let mut requirements = PaymentRequirements { asset: asset.to_string(), ..self.requirements() };
        alter(&mut requirements);
        self.signed_for(requirements, self.authorization())
    }

    pub(crate) async fn blacklist(&self, account: Address) {
        let token = Token::new(self.deployment.usdc, &self.provider);
        token.blacklist(account).from(ISSUER).send().await.unwrap().get_receipt().await.unwrap();
    }
}

async fn invalid_reason(facilitator: &Facilitator, payment: &PaymentRequest) -> Value {
    facilitator.post("verify", payment).await.1["invalidReason"].clone()
}

#[tokio::test]
async fn a_token_that_is_not_what_the_seller_says_has_its_official_reason() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let usdc = world.deployment.usdc;
    let named = |key: &'static str| {
        world.of_token(usdc, |asked| {
            asked.extra.as_mut().unwrap().insert(key.into(), "9".into());
        })
    };
    let silent = Address::repeat_byte(0xa1);
    world.provider.anvil_set_code(silent, SILENT).await.unwrap();
    let mut elsewhere = world.payment();
    elsewhere.payment_payload.accepted.network = x402::Network::evm(1);
    let mut torn = world.payment();
    let ExactPayload::Eip3009(payload) = torn.payment_payload.exact().unwrap() else { unreachable!() };
    let wrapped = [&payload.signature[..], ERC6492_MAGIC.as_slice()].concat();
    torn.payment_payload.payload = ExactPayload::Eip3009(payload).with_signature(wrapped.into()).to_json();
    let flaws = [
        (named("name"), Reason::TokenNameMismatch),
        (named("version"), Reason::TokenVersionMismatch),
        (world.of_token(world.deployment.multicall3, |_| ()), Reason::Eip3009NotSupported),
        (elsewhere, Reason::NetworkMismatch),
        (torn, Reason::FailedToParseSignature),
    ];
    for (payment, reason) in flaws {
        assert_eq!(invalid_reason(&facilitator, &payment).await, reason.as_str());
        assert_eq!(facilitator.settle(&payment).await.error_reason, Some(reason));
    }
    // It takes the call and moves nothing: only the receipt shows that.
    let moved_nothing = facilitator.settle(&world.of_token(silent, |_| ())).await;
    assert_eq!(moved_nothing.error_reason, Some(Reason::TransferEventMismatch), "{moved_nothing:?}");

    // Version 1 asks for a least amount, and names it otherwise.
    let payment = serde_json::to_value(world.payment().payment_payload.payload).unwrap();
    let asked = json!({ "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10001", "resource": "http://shop/",
        "description": "", "payTo": world.payee, "maxTimeoutSeconds": 60, "asset": usdc, "extra": { "name": "USDC", "version": "2" } });
    let payment = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payment });
    let v1 = json!({ "x402Version": 1, "paymentPayload": payment, "paymentRequirements": asked });
    assert_eq!(facilitator.post("verify", &v1).await.1["invalidReason"], Reason::AuthorizationValue.as_str());
    assert_eq!(facilitator.post("settle", &v1).await.1["errorReason"], Reason::AuthorizationValue.as_str());
    for (body, reason) in [
        (json!({ "x402Version": 7 }), Reason::InvalidPayload),
        (json!({ "x402Version": 7, "paymentPayload": {} }), Reason::InvalidX402Version),
    ] {
        let (status, told) = facilitator.post("verify", &body).await;
        assert_eq!((status.as_u16(), &told["invalidReason"]), (400, &json!(reason)));
        let (status, told) = facilitator.post("settle", &body).await;
        assert_eq!((status.as_u16(), &told["errorReason"]), (400, &json!(reason)));
    }
}

/// What pretends to be a token need not show what became of a payment: not by a log, or not even when it is asked.
#[tokio::test]
async fn a_token_that_shows_nothing_of_its_payments_holds_up_no_other() {
    /// Answers 1 to every call; refuses the question whether a nonce was used, and takes every other call.
    const TOKENS: [Bytes; 2] = [bytes!("60015f5260205ff3"), bytes!("36604414600857005b5f5ffd")];
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    for (paid, (number, code)) in (1..).zip((0xa1..).zip(TOKENS)) {
        let token = Address::repeat_byte(number);
        world.provider.anvil_set_code(token, code).await.unwrap();
        let payment = world.of_token(token, |_| ());
        let answer = facilitator.settle(&payment).await;
        assert_eq!(answer.error_reason, Some(Reason::TransferEventMismatch), "an end, though no block follows: {answer:?}");
        assert!(facilitator.settle(&world.payment()).await.success);
        assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(paid).unwrap());
        let open = "SELECT count(*) FROM facilitator.settlements WHERE state = 'sent'";
        world.until(open, |open| open == 0).await;
    }
}

#[tokio::test]
async fn what_the_proxy_or_the_token_refuses_a_payer_with_allowance_is_told() {
    let world = World::new().await;
    world.approve_permit2(U256::MAX).await;
    let facilitator = world.serve(&[]).await;
    let free = world.permit2_of(|asked| asked.amount = 0.into());
    assert_eq!(invalid_reason(&facilitator, &free).await, Reason::Permit2InvalidAmount.as_str());
    let nobody = world.permit2_of(|asked| asked.pay_to = Address::ZERO.to_string());
    assert_eq!(invalid_reason(&facilitator, &nobody).await, Reason::Permit2InvalidDestination.as_str());
    world.blacklist(world.payer.address()).await;
    assert_eq!(invalid_reason(&facilitator, &world.permit2_payment()).await, Reason::Permit2SimulationFailed.as_str());
}

/// The settlement is refused by the chain although it would have gone through a moment ago.
pub(crate) async fn refused_on_chain(
    world: &World,
    facilitator: &Facilitator,
    payment: &PaymentRequest,
    by: Address,
) -> Option<Reason> {
    use alloy::providers::Provider;
    let code = world.provider.get_code_at(by).await.unwrap();
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let change = async {
        until_pending(world, world.signer.address()).await;
        world.provider.anvil_set_code(by, REFUSING).await.unwrap();
        world.provider.anvil_mine(Some(1), None).await.unwrap();
        world.provider.anvil_set_code(by, code).await.unwrap();
    };
    let (answer, ()) = tokio::join!(facilitator.settle(payment), change);
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    assert!(!answer.success, "{answer:?}");
    answer.error_reason
}

#[tokio::test]
async fn what_reverts_on_chain_after_all_has_the_reason_of_its_scheme() {
    let parties = Parties::new().await;
    let world = &parties.world;
    let facilitator = world.serve(&[]).await;
    world.approve_permit2(U256::MAX).await;
    let upto = world.upto(facilitator.upto_signer().await, PRICE);
    let usdc = world.deployment.usdc;
    let refused = async |payment: &PaymentRequest, by| refused_on_chain(world, &facilitator, payment, by).await;
    assert_eq!(refused(&world.payment(), usdc).await, Some(Reason::TransactionFailed));
    assert_eq!(refused(&upto, PERMIT2_UPTO_PROXY).await, Some(Reason::UptoTransactionFailed));
    let deposit = parties.request(BatchPayload::Deposit(parties.deposit(100_000, 10_000)));
    assert_eq!(refused(&deposit, BATCH_CONTRACT).await, Some(Reason::BatchDepositFailed));
    assert!(facilitator.settle(&deposit).await.success, "what failed may be tried again");
    let claims = parties.claims(vec![parties.claim(10_000, 10_000)]);
    assert_eq!(refused(&claims, BATCH_CONTRACT).await, Some(Reason::BatchClaimFailed));
    assert!(facilitator.settle(&claims).await.success);
    assert_eq!(refused(&parties.payout(), BATCH_CONTRACT).await, Some(Reason::BatchSettleFailed));
    let refund = parties.request(BatchPayload::Refund(parties.refund(1_000, 0, vec![])));
    assert_eq!(refused(&refund, BATCH_CONTRACT).await, Some(Reason::BatchRefundFailed));
}

#[tokio::test]
async fn channels_that_the_chain_would_refuse_have_their_official_reasons() {
    let parties = Parties::new().await;
    let world = &parties.world;
    let facilitator = world.serve(&[]).await;
    let mut deposit = parties.deposit(100_000, 10_000);
    let good = parties.request(BatchPayload::Deposit(deposit.clone()));
    let DepositAuthorization::Erc3009Authorization(authorization) = &mut deposit.deposit.authorization else { unreachable!() };
    authorization.signature = from_a_factory(&authorization.signature);
    let undeployed = parties.request(BatchPayload::Deposit(deposit));
    assert_eq!(verify(&facilitator, &undeployed).await.invalid_reason, Some(Reason::BatchFactoryNotAllowed));

    assert!(facilitator.settle(&good).await.success);
    let claimed = facilitator.settle(&parties.claims(vec![parties.claim(10_000, 10_000)])).await;
    assert!(claimed.success, "{claimed:?}");
    world.blacklist(world.payee).await;
    assert_eq!(facilitator.settle(&parties.payout()).await.error_reason, Some(Reason::BatchSettleSimulationFailed));
    world.blacklist(world.payer.address()).await;
    let again = parties.request(BatchPayload::Deposit(parties.deposit(100_000, 20_000)));
    assert_eq!(verify(&facilitator, &again).await.invalid_reason, Some(Reason::BatchDepositSimulationFailed));
    world.provider.anvil_set_code(BATCH_CONTRACT, Bytes::new()).await.unwrap();
    assert_eq!(verify(&facilitator, &again).await.invalid_reason, Some(Reason::BatchRpcReadFailed));
}

/// As of a wallet that its factory is still to deploy.
fn from_a_factory(signature: &Bytes) -> Bytes {
    use alloy::sol_types::SolValue;
    let wrapped = (Address::repeat_byte(0xfa), Bytes::new(), signature.clone()).abi_encode_params();
    [wrapped.as_slice(), ERC6492_MAGIC.as_slice()].concat().into()
}

#[tokio::test]
async fn a_payment_below_the_operators_minimum_is_refused_before_the_work() {
    let world = World::new().await;
    world.approve_permit2(U256::MAX).await;
    let facilitator = world.serve(&["--min-payment", "10001"]).await;
    let upto = world.upto(facilitator.upto_signer().await, PRICE);
    for payment in [world.payment(), world.permit2_payment(), upto] {
        assert_eq!(invalid_reason(&facilitator, &payment).await, "payment_below_minimum");
        let settled = facilitator.settle(&payment).await;
        assert_eq!(settled.error_reason, Some(Reason::from("payment_below_minimum")), "{settled:?}");
    }
}
