use alloy::{
    primitives::{U256, bytes},
    providers::ext::AnvilApi,
};
use contracts::{dev::ISSUER, usdc::Usdc as Token};
use serde_json::json;
use x402::{Eip3009Authorization, PaymentRequest, PaymentRequirements, Reason, VerifyResponse};

use crate::harness::{PRICE, World, now};

#[tokio::test]
async fn every_flaw_has_the_reason_the_official_sdks_give_it() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let good = world.authorization();
    let altered = |alter: fn(&mut PaymentRequest)| {
        let mut payment = world.payment();
        alter(&mut payment);
        payment
    };
    let nowhere = PaymentRequirements { asset: "0x00000000000000000000000000000000000000aa".into(), ..world.requirements() };
    let flaws = [
        (altered(|p| p.payment_requirements.scheme = "stream".into()), Reason::InvalidScheme),
        (altered(|p| p.payment_requirements.network = x402::Network::evm(1)), Reason::InvalidNetwork),
        (altered(|p| p.payment_requirements.extra = None), Reason::MissingEip712Domain),
        (world.signed(Eip3009Authorization { to: world.signer.address(), ..good.clone() }), Reason::RecipientMismatch),
        (world.signed(Eip3009Authorization { valid_before: (now() + 3).into(), ..good.clone() }), Reason::ValidBefore),
        (world.signed(Eip3009Authorization { valid_after: (now() + 30).into(), ..good.clone() }), Reason::ValidAfter),
        (world.signed(Eip3009Authorization { value: U256::from(1).into(), ..good.clone() }), Reason::ValueMismatch),
        (world.signed(Eip3009Authorization { from: world.payee, ..good.clone() }), Reason::InvalidSignature),
        (world.signed_for(nowhere, good.clone()), Reason::AssetNotDeployed),
        // Of several flaws, the one that the official order meets first.
        (altered(|p| p.payment_requirements.amount = U256::from(1).into()), Reason::ValueMismatch),
        (altered(|p| alter_value(p, "1")), Reason::InvalidSignature),
    ];
    for (payment, reason) in flaws {
        let (_, body) = facilitator.post("verify", &payment).await;
        let answer: VerifyResponse = serde_json::from_value(body).unwrap();
        assert_eq!((answer.is_valid, answer.invalid_reason), (false, Some(reason)));
    }
    let (_, body) = facilitator.post("verify", &world.payment()).await;
    assert_eq!(body["isValid"], true, "{body}");
}

#[tokio::test]
async fn a_payer_without_money_and_a_used_nonce_are_told_apart() {
    let mut world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let used = world.payment();
    assert!(facilitator.settle(&used).await.success);
    let (_, body) = facilitator.post("verify", &used).await;
    assert_eq!(body["invalidReason"], Reason::NonceAlreadyUsed.as_str(), "{body}");
    world.payer = alloy::signers::local::PrivateKeySigner::random();
    let refused = facilitator.settle(&world.payment()).await;
    assert_eq!(refused.error_reason, Some(Reason::InsufficientBalance));
}

/// What the node says to a round may not be longer than a contract: many long refusals together were, and all got none.
#[tokio::test]
async fn a_crowd_of_used_payments_takes_no_answer_from_others() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let used = world.payment();
    assert!(facilitator.settle(&used).await.success);
    let long = |input: &str| {
        let mut payment = world.payment();
        payment.payment_payload.payload.insert("signature".into(), format!("0x{}", input.repeat(8_000)).into());
        payment
    };
    let crowd: Vec<PaymentRequest> = (0..150).map(|i| if i % 15 == 0 { long("11") } else { used.clone() }).collect();
    let crowd = futures::future::join_all(crowd.iter().map(|payment| facilitator.post("verify", payment)));
    let honest: Vec<PaymentRequest> = (0..20).map(|_| world.payment()).collect();
    let honest = futures::future::join_all(honest.iter().map(|payment| facilitator.post("verify", payment)));
    let (crowd, honest) = tokio::join!(crowd, honest);
    assert!(crowd.iter().all(|(status, body)| status.is_success() && body["isValid"] == false), "{crowd:?}");
    assert!(honest.iter().all(|(_, body)| body["isValid"] == true), "{honest:?}");
}

#[tokio::test]
async fn nonsense_is_answered_and_not_obeyed() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let (status, body) = facilitator.post("verify", &json!({ "x402Version": 2 })).await;
    assert_eq!((status.as_u16(), &body["isValid"]), (400, &json!(false)));
    let (status, body) = facilitator.post("settle", &json!([1, 2, 3])).await;
    assert_eq!((status.as_u16(), &body["success"]), (400, &json!(false)));
}

fn alter_value(payment: &mut PaymentRequest, value: &str) {
    let mut payload = serde_json::to_value(&payment.payment_payload.payload).unwrap();
    payload["authorization"]["value"] = value.into();
    payment.payment_payload.payload = serde_json::from_value(payload).unwrap();
}

/// The usual payment is cleared by what the token's state says: that must be all that its code would check.
#[tokio::test]
async fn whatever_circles_token_would_refuse_is_refused() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let token = Token::new(world.deployment.usdc, &world.provider);
    let verdict = async || facilitator.post("verify", &world.payment()).await.1;
    let shut_out = [world.payer.address(), world.payee];
    for account in shut_out {
        token.blacklist(account).from(ISSUER).send().await.unwrap().get_receipt().await.unwrap();
        let body = verdict().await;
        assert_eq!(body["invalidReason"], Reason::SimulationFailed.as_str(), "{body}");
        assert!(body["invalidMessage"].as_str().unwrap().contains("blacklisted"), "{body}");
        token.unBlacklist(account).from(ISSUER).send().await.unwrap().get_receipt().await.unwrap();
        assert_eq!(verdict().await["isValid"], true);
    }
    token.pause().from(ISSUER).send().await.unwrap().get_receipt().await.unwrap();
    assert_eq!(verdict().await["isValid"], false);
    token.unpause().from(ISSUER).send().await.unwrap().get_receipt().await.unwrap();
    let everything = world.balance(world.payer.address()).await;
    let more = everything.checked_add(PRICE).unwrap();
    let more = Eip3009Authorization { value: more.into(), ..world.authorization() };
    let asked = PaymentRequirements { amount: more.value, ..world.requirements() };
    let (_, body) = facilitator.post("verify", &world.signed_for(asked, more)).await;
    assert_eq!(body["invalidReason"], Reason::InsufficientBalance.as_str(), "{body}");
    // EIP-7702 gives the payer code that answers nothing: from then on its key alone signs for nothing.
    let delegated = [bytes!("ef0100"), world.deployment.multicall3.into_array().into()].concat();
    world.provider.anvil_set_code(world.payer.address(), delegated.into()).await.unwrap();
    assert_eq!(verdict().await["invalidReason"], Reason::InvalidSignature.as_str());
}
