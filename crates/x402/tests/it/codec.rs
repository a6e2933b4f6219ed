//! What an outsider sends never panics, and what we write we read.

use alloy::primitives::U256;
use proptest::prelude::*;
use x402::{
    AnyPaymentRequest, DecodeError, Erc6492Signature, ExactPayload, PaymentPayload, PaymentRequired, PaymentRequirements, Reason,
    TokenAmount, header, recover_strict, v1,
};

use crate::support::offer;

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = header::decode::<PaymentPayload>(&bytes);
        let _ = AnyPaymentRequest::from_slice(&bytes);
        let _ = Erc6492Signature::parse(&[&bytes, x402::ERC6492_MAGIC.as_slice()].concat());
        let _ = recover_strict(Default::default(), &bytes);
    }

    #[test]
    fn no_json_makes_a_decoder_panic(text in r#"[\[\]{}:,"0-9a-z]{0,200}"#) {
        let encoded = header::encode(&text).unwrap();
        let _ = header::decode::<PaymentRequired>(encoded.as_bytes());
        let _ = AnyPaymentRequest::from_slice(text.as_bytes());
        if let Ok(serde_json::Value::Object(map)) = serde_json::from_str(&text) {
            let _ = ExactPayload::from_json(&map);
        }
    }

    #[test]
    fn every_uint256_survives_the_wire(limbs in any::<[u64; 4]>()) {
        let amount = TokenAmount(U256::from_limbs(limbs));
        prop_assert_eq!(amount.to_string().parse::<TokenAmount>().unwrap(), amount);
        let mut offer = offer("0.05");
        offer.amount = amount;
        let back: PaymentRequirements = header::decode(header::encode(&offer).unwrap().as_bytes()).unwrap();
        prop_assert_eq!(back, offer);
    }
}

#[test]
fn amounts_that_another_parser_would_read_differently_are_refused() {
    for text in ["", "+1", "-1", "1.0", "0x10", "1e3", " 1", "007", "１"] {
        assert!(text.parse::<TokenAmount>().is_err(), "{text:?}");
    }
    assert!("9".repeat(78).parse::<TokenAmount>().is_err());
}

#[test]
fn an_oversized_header_is_refused_before_it_is_decoded() {
    let huge = vec![b'A'; header::VALUE_LEN_MAX_BYTES + 1];
    assert!(matches!(header::decode::<PaymentPayload>(&huge), Err(DecodeError::TooLarge { .. })));
    assert!(header::encode(&"x".repeat(header::VALUE_LEN_MAX_BYTES)).is_err());
}

#[test]
fn base64url_and_missing_padding_are_refused() {
    for text in ["eyJ4Ijoi_-8ifQ==", "e30", "e30=\n", "e31="] {
        assert_eq!(header::decode::<serde_json::Value>(text.as_bytes()), Err(DecodeError::NotBase64), "{text:?}");
    }
}

#[test]
fn one_unreadable_offer_does_not_hide_the_others() {
    let strange = serde_json::json!({ "scheme": "x", "network": "cloudflare:402", "amount": "1.5", "asset": "a", "payTo": "b" });
    let required = serde_json::json!({ "x402Version": 2, "resource": { "url": "u" }, "accepts": [strange, offer("0.05")] });
    let required: PaymentRequired = serde_json::from_value(required).unwrap();
    assert_eq!(required.accepts, [offer("0.05")]);
}

#[test]
fn version_1_is_read_as_version_2() {
    let request = serde_json::json!({
        "x402Version": 1,
        "paymentPayload": { "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {} },
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "50000", "resource": "http://a/b", "description": "d",
            "payTo": "0x0000000000000000000000000000000000000001", "maxTimeoutSeconds": 60, "outputSchema": null,
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "extra": { "name": "USDC", "version": "2" },
        },
    });
    let AnyPaymentRequest::V1(request) = AnyPaymentRequest::from_slice(request.to_string().as_bytes()).unwrap() else {
        panic!("not read as version 1")
    };
    let request: v1::PaymentRequest = request;
    let request = request.into_v2().unwrap();
    assert_eq!(request.payment_requirements.network.chain_id(), Some(84532));
    assert_eq!(request.payment_requirements.amount, TokenAmount::from(50_000));
}

#[test]
fn every_reason_survives_the_wire() {
    for reason in Reason::KNOWN {
        assert_eq!(&Reason::from(reason.as_str()), reason);
    }
    assert_eq!(Reason::from("something_new"), Reason::Other("something_new".into()));
}
