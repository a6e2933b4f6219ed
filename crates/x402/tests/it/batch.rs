//! Channels: hashes and JSON as the official SDK makes them, and what hostile payloads do.

use alloy::{
    primitives::{Address, B256, U256, address},
    signers::local::PrivateKeySigner,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use x402::{
    PaymentRequirements, Reason, TokenDomain,
    batch::{BatchPayload, Chain, ChannelConfig, Claim, ClaimVoucher, DepositAuthorization},
    recover_permit2, recover_strict,
};

use crate::{sdk::node, support::offer};

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
