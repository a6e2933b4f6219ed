//! Channels: hashes and JSON as the official SDK makes them, and what hostile payloads do.

use std::sync::{Arc, Mutex};

use alloy::{
    primitives::{Address, B256, Bytes, U256, address},
    signers::{SignerSync, local::PrivateKeySigner},
};
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::ready;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;
use x402::{
    PaymentPayload, PaymentRequired, PaymentRequirements, Reason, TokenDomain, V2,
    batch::{BatchPayload, Chain, ChannelConfig, Claim, ClaimVoucher, DepositAuthorization},
    client::{ChannelError, Channels, Client, KeyPayer, PayError, Policy, Purse},
    header, recover_permit2, recover_strict,
};

use crate::{
    sdk::node,
    support::{listen, offer},
};

const AUTHORIZER: Address = address!("00000000000000000000000000000000000000bb");

pub(crate) fn channel_offer(price: &str) -> PaymentRequirements {
    offer(price).by_channel(AUTHORIZER, 3600)
}

#[test]
fn every_hash_and_every_payload_is_the_official_ones() {
    let (key, salt, max, nonce) = (PrivateKeySigner::random(), PrivateKeySigner::random().to_bytes(), u128::MAX - 5, U256::MAX);
    let accepted = channel_offer("0.05");
    let request = json!({ "accepted": accepted, "key": key.to_bytes(), "salt": salt, "max": max.to_string(),
        "deposit": "250000", "refundNonce": nonce.to_string() });
    let answer = node("batch_sdk.cjs", request);

    let config: ChannelConfig = serde_json::from_value(answer["config"].clone()).unwrap();
    assert_eq!((config.payer, config.payer_authorizer, config.salt), (key.address(), key.address(), salt));
    let chain = Chain::of(&accepted).unwrap();
    let id = chain.channel_id(&config);
    assert_eq!(json!(id), answer["channelId"]);
    assert_eq!(config.check(&chain, id, &accepted), Ok(()));
    assert_eq!(json!(chain.refund_hash(id, nonce, max)), answer["refund"]);
    let voucher = ClaimVoucher { channel: config, max_claimable_amount: max };
    let claim = Claim { voucher, signature: Default::default(), total_claimed: max - 1 };
    assert_eq!(json!(chain.claim_batch_hash(&[claim])), answer["claim"]);

    let voucher: x402::batch::Voucher = serde_json::from_value(answer["voucher"].clone()).unwrap();
    assert_eq!(voucher.signer(&chain), Some(key.address()));
    for payload in [&answer["erc3009"], &answer["permit2"]] {
        let read = BatchPayload::from_json(payload.as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(read.to_json()), lower_hex(payload), "what we write is what was read");
        let BatchPayload::Deposit(deposit) = read else { panic!("not a deposit") };
        assert_eq!(deposit.voucher.signer(&chain), Some(key.address()));
        assert_eq!((deposit.deposit.amount, deposit.voucher.max_claimable_amount), (250_000, 50_000));
        let signer = match &deposit.deposit.authorization {
            DepositAuthorization::Erc3009Authorization(a) => {
                let hash = a.signing_hash(key.address(), id, 250_000, &TokenDomain::of(&accepted).unwrap());
                recover_strict(hash, &a.signature)
            }
            DepositAuthorization::Permit2Authorization(a) => recover_permit2(a.signing_hash(84532), &a.signature),
        };
        assert_eq!(signer, Some(key.address()));
    }
}

/// The SDK writes addresses with checksums, we without.
fn lower_hex(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("0x") => text.to_lowercase().into(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), lower_hex(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_channel_of_other_terms_is_refused_with_the_official_reason() {
    let (offer, chain) = (channel_offer("0.05"), Chain::new(84532));
    let good = ChannelConfig {
        payer: Address::repeat_byte(1),
        payer_authorizer: Address::repeat_byte(2),
        receiver: offer.pay_to_address().unwrap(),
        receiver_authorizer: AUTHORIZER,
        token: offer.asset_address().unwrap(),
        withdraw_delay: 3600,
        salt: B256::ZERO,
    };
    let other = Address::repeat_byte(9);
    let check = |config: ChannelConfig| config.check(&chain, chain.channel_id(&config), &offer);
    assert_eq!(check(good), Ok(()));
    assert_eq!(good.check(&chain, B256::ZERO, &offer), Err(Reason::BatchChannelIdMismatch));
    assert_eq!(check(ChannelConfig { receiver: other, ..good }), Err(Reason::BatchReceiverMismatch));
    assert_eq!(check(ChannelConfig { receiver_authorizer: other, ..good }), Err(Reason::BatchReceiverAuthorizerMismatch));
    assert_eq!(check(ChannelConfig { token: other, ..good }), Err(Reason::BatchTokenMismatch));
    assert_eq!(check(ChannelConfig { withdraw_delay: 3601, ..good }), Err(Reason::BatchWithdrawDelayMismatch));
    let short = offer.clone().by_channel(AUTHORIZER, 899);
    let config = ChannelConfig { withdraw_delay: 899, ..good };
    assert_eq!(config.check(&chain, chain.channel_id(&config), &short), Err(Reason::BatchWithdrawDelayOutOfRange));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<u64>().prop_map(Value::from), "[0-9a-fx]{0,70}".prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            Just("channelConfig"),
            Just("voucher"),
            Just("deposit"),
            Just("claims"),
            Just("amount"),
            Just("signature"),
            Just("authorization"),
            Just("erc3009Authorization"),
            Just("channelId"),
            Just("maxClaimableAmount"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_payload_panics(kind in "deposit|voucher|refund|claim|settle", body in json_value()) {
        let mut map = body.as_object().cloned().unwrap_or_default();
        map.insert("type".into(), kind.into());
        if let Ok(payload) = BatchPayload::from_json(&map) {
            prop_assert_eq!(BatchPayload::from_json(&payload.to_json()), Ok(payload));
        }
    }

    #[test]
    fn an_amount_beyond_the_contracts_is_refused(high in 1_u128..=u128::MAX, low: u128) {
        let beyond: U256 = (U256::from(high) << 128_usize) | U256::from(low);
        let state = json!({ "channelId": B256::ZERO, "balance": beyond.to_string(), "totalClaimed": "0" });
        prop_assert!(serde_json::from_value::<x402::batch::ChannelState>(state).is_err());
    }
}

/// Answers every payment with `refusal`, and keeps the payments.
async fn seller(
    refusal: impl Fn(&PaymentPayload) -> Response + Clone + Send + Sync + 'static,
) -> (Url, Arc<Mutex<Vec<BatchPayload>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let answer = move |headers: HeaderMap| {
        let Some(payment) = headers.get(header::PAYMENT_SIGNATURE) else {
            return ready(payment_required(channel_offer("0.05"), None));
        };
        let payment: PaymentPayload = header::decode(payment.as_bytes()).unwrap();
        kept.lock().unwrap().push(BatchPayload::from_json(&payment.payload).unwrap());
        ready(refusal(&payment))
    };
    (listen(Router::new().fallback(get(answer))).await, seen)
}

fn payment_required(offer: PaymentRequirements, error: Option<Reason>) -> Response {
    let error = error.map(|reason| reason.to_string());
    let resource = x402::ResourceInfo::new("http://seller/");
    let required = PaymentRequired { x402_version: V2, error, resource, accepts: vec![offer], extensions: None };
    (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response()
}

fn buyer(channels: Channels) -> Client<KeyPayer<PrivateKeySigner>> {
    let policy = Policy::default().max_per_payment("0.10".parse().unwrap());
    Client::with(
        Purse::new(KeyPayer::new(PrivateKeySigner::from_bytes(&B256::repeat_byte(5)).unwrap()), policy).channels(channels),
        |b| b,
    )
    .unwrap()
}

fn ceilings(seen: &Mutex<Vec<BatchPayload>>) -> Vec<u128> {
    seen.lock().unwrap().drain(..).map(|payload| payload.voucher().unwrap().max_claimable_amount).collect()
}

#[tokio::test]
async fn after_a_crash_no_ceiling_is_signed_for_another_request_and_no_deposit_is_forgotten() {
    let (url, seen) = seller(|_| (StatusCode::INTERNAL_SERVER_ERROR, [("retry-after", "0")]).into_response()).await;
    let (key, folder) = (PrivateKeySigner::random(), tempfile::tempdir().unwrap());
    for (request, ceiling) in [("a", 50_000), ("b", 100_000), ("c", 150_000)] {
        // Each time as after a restart: only the folder is left.
        let client = buyer(Channels::in_folder(key.clone(), folder.path()).unwrap());
        let error = client.get(url.join(request).unwrap()).await.unwrap_err();
        assert!(matches!(error, PayError::Indeterminate { .. }), "{error:?}");
        let sent = ceilings(&seen);
        assert!(sent.len() > 1 && sent.iter().all(|sent| *sent == ceiling), "the same voucher again and again: {sent:?}");
        assert_eq!(client.spent().base_units(), 250_000, "five times the price each time, for nobody says that it arrived");
    }
    let records = Channels::in_folder(key, folder.path()).unwrap().records().await.unwrap();
    assert_eq!((records.len(), records[0].ceiling, records[0].balance, records[0].unconfirmed), (1, 150_000, 0, 750_000));
}

#[tokio::test]
async fn a_seller_is_believed_up_to_what_was_signed_and_no_further() {
    let forged = |charged: &'static str, signature: Bytes| {
        move |payment: &PaymentPayload| {
            let payload = BatchPayload::from_json(&payment.payload).unwrap();
            let state = json!({ "channelId": payload.voucher().unwrap().channel_id, "balance": "900000", "totalClaimed": "0",
                "chargedCumulativeAmount": charged });
            let mut offer = payment.accepted.clone();
            let extra = offer.extra.as_mut().unwrap();
            extra.insert("channelState".into(), state);
            extra.insert("voucherState".into(), json!({ "signedMaxClaimable": charged, "signature": signature }));
            payment_required(offer, Some(Reason::BatchCumulativeMismatch))
        }
    };
    let stranger = PrivateKeySigner::random().sign_hash_sync(&B256::ZERO).unwrap().as_bytes();
    let (url, seen) = seller(forged("800000", stranger.into())).await;
    let error = buyer(Channels::in_memory(PrivateKeySigner::random())).get(url).await.unwrap_err();
    assert!(matches!(error, PayError::Channel(ChannelError::NotOurs { said: 800_000 })), "{error:?}");
    assert_eq!(ceilings(&seen), [50_000]);

    // What was signed before may have been charged. But who corrects twice is not followed.
    let (url, seen) = seller(forged("50000", Bytes::new())).await;
    let error = buyer(Channels::in_memory(PrivateKeySigner::random())).get(url).await.unwrap_err();
    assert!(matches!(&error, PayError::PaymentRejected { reason: Reason::BatchCumulativeMismatch, .. }), "{error:?}");
    assert_eq!(ceilings(&seen), [50_000, 100_000]);
}

#[tokio::test]
async fn a_deposit_is_never_more_than_the_policy_lets() {
    let (url, seen) = seller(|_| (StatusCode::BAD_REQUEST, "no").into_response()).await;
    let client = buyer(Channels::in_memory(PrivateKeySigner::random()).deposit_multiple(3));
    client.get(url).await.unwrap();
    let deposits: Vec<_> = seen.lock().unwrap().drain(..).collect();
    let [BatchPayload::Deposit(deposit)] = deposits.as_slice() else { panic!("{deposits:?}") };
    assert_eq!(deposit.deposit.amount, 150_000, "three times the price");
}
