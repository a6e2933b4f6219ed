use alloy::{
    primitives::{Address, B256, Bytes, U256, b256, keccak256},
    sol_types::{SolStruct, SolValue},
};
use contracts::{
    agent_wallet::IAgentWallet,
    signing::{Message, escrow, lane, nested::Nested, registry, router, treasury, usdc, wallet},
    treasury::ITreasury,
};
use proptest::prelude::*;

const CHAIN_ID: u64 = 84532;
const CONTRACT: Address = Address::repeat_byte(0xc0);

/// The hash of the type, as the contracts have it; `contracts/test/treasury/hash.t.sol` has the treasury's too.
#[test]
fn the_types_are_golden() {
    fn typehash<T: SolStruct>() -> B256 {
        keccak256(Message::<T>::type_string().as_bytes())
    }
    let golden = [
        (typehash::<treasury::Payment>(), b256!("6b1ba7884db1796795cde67553a2fb2e088671a315710f6e196fe2fb79a29eae")),
        (typehash::<treasury::Order>(), b256!("7fed374e0a1de7e4e47f38b10d6fdd5bfb4a2c82e5c2a8bc592365b72965b1d4")),
        (typehash::<treasury::Change>(), b256!("28287947c7aebf95fa28fc2a457c613e6e61a2f3d876b9395ac09c45d0d2dfb3")),
        (typehash::<treasury::Cancellation>(), b256!("7fa84b05c02f1ab6ef8932af25c7e72e1caad3d913eba29b46206520a08878b6")),
        (typehash::<treasury::TopUp>(), b256!("45b6babd08fc221b646fcd5f2a2045ece74bc064b41c0832195f4c2b1f58009d")),
        (typehash::<wallet::Payment>(), b256!("78f86f52dcf0bce0f4091149d40cad7d541abd86a1480988f80bb4ffdbc81a0c")),
        (typehash::<escrow::Terms>(), b256!("d60e7e5275edbd75fa75e1ef4fb84dfba09738dd0779a7a48e273ebc5fc6c01b")),
        (typehash::<escrow::Release>(), b256!("7ccbda7c2034f7fbd36a9646c898c120a5057c22d9da1429e919aecec4c12dae")),
        (typehash::<router::Payment>(), b256!("94ed33e66e5eeb14d185160a0605833aea7e96c3c8aa289458fff25a6d4a6621")),
        (typehash::<router::Leg>(), b256!("0384d7b68fa4e4c9f52dd16807da5a0402faa741e2683862b20b97c650b56ce6")),
        (typehash::<router::Batch>(), b256!("859a49a64852a3c87a561b21f19937d8ae2c33926d4266e0c76021ae9691544b")),
        (typehash::<router::Share>(), b256!("7fc8b4c008105e20342784e00cf8e84e5b164b6ef955fcf781b2dff95801d4f1")),
        (typehash::<router::Split>(), b256!("9c35ca956a47e5523fb4cc4ebb37dd31d502c29904cdb93fdb0277b7ccac5e75")),
        (typehash::<router::SubscriptionTerms>(), b256!("406c9db2a5966da404c205529080783b03a99d176f0a6d68ef028c5b8b89d636")),
        (typehash::<router::Subscribe>(), b256!("5489693dcc95ae9ee227a122f56edf40cc13e9c31a6192fdc175b86ed85511fd")),
        (typehash::<router::Cancel>(), b256!("640ee99e9c00d1d511ae834e3c06f899ac5debecf072d58e4e07373e2e71cd4d")),
        (typehash::<router::PriceChange>(), b256!("043f795e066ac96a7811400045285acc3eb00555eac63a0b7c39547780377eff")),
        (typehash::<registry::Feedback>(), b256!("0176ba71218f8f9b5ddc221f4bf148b245839f6eb1e061e8d873295782ac9bbb")),
        (
            typehash::<usdc::TransferWithAuthorization>(),
            b256!("7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267"),
        ),
        (typehash::<usdc::ReceiveWithAuthorization>(), b256!("d099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8")),
        (typehash::<usdc::CancelAuthorization>(), b256!("158b0a9edf7a828aad02f63cd515c68ef2f50ba807396f6d12842833a1597429")),
        (typehash::<usdc::Permit>(), b256!("6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9")),
    ];
    for (index, (actual, expected)) in golden.into_iter().enumerate() {
        assert_eq!(actual, expected, "type {index}");
    }
}

/// Alters one byte of the ABI encoding at a time, as long as it still decodes, and expects another digest each time. The encoding has every
/// member, so a member that the digest forgot would show.
fn every_byte_counts<T, M: SolStruct>(content: T, message: impl Fn(&T) -> Message<M>) -> Result<(), TestCaseError>
where
    T: SolValue + PartialEq + std::fmt::Debug + From<<T::SolType as alloy::sol_types::SolType>::RustType>,
{
    let digest = message(&content).digest();
    let encoded = content.abi_encode();
    let mut altered = 0;
    for at in 0..encoded.len() {
        let mut bytes = encoded.clone();
        bytes[at] ^= 1;
        let Ok(other) = T::abi_decode_validate(&bytes) else { continue };
        if other != content {
            altered += 1;
            prop_assert_ne!(message(&other).digest(), digest, "byte {}", at);
        }
    }
    prop_assert!(altered >= 32);
    Ok(())
}

/// A message of the router.
fn routed<T: SolStruct>(content: T) -> Message<T> {
    Message { domain: router::domain(CONTRACT, CHAIN_ID), content }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_altered_field_gives_another_digest(words: [[u8; 32]; 6], details: [u8; 40], small: [u32; 4]) {
        let [a, b, c, d, e, f] = words.map(B256::from);
        let [to, token, spender] = [a, b, c].map(Address::from_word);
        let [amount, nonce, time] = [d, e, f].map(|word| U256::from_be_bytes(word.0));
        let payment = ITreasury::Payment { to, amount, paymentRef: e };
        let order = ITreasury::Order {
            spender,
            token,
            operation: 2,
            category: f,
            payments: vec![payment.clone(), ITreasury::Payment { to: token, ..payment }],
            details: Bytes::copy_from_slice(&details),
            nonce,
            validUntil: u64::from(small[0]),
            policyEpoch: small[1],
            ownerEpoch: small[2],
        };
        every_byte_counts(order, |order| treasury::order(order, CONTRACT, CHAIN_ID))?;
        let calls = vec![Bytes::copy_from_slice(&details[..7]), Bytes::copy_from_slice(&details)];
        let change = ITreasury::Change { calls, nonce, validUntil: u64::from(small[0]), ownerEpoch: small[1] };
        every_byte_counts(change, |change| treasury::change(change, CONTRACT, CHAIN_ID))?;
        every_byte_counts(a, |id: &B256| treasury::cancellation(*id, CONTRACT, CHAIN_ID))?;
        let top_up = ITreasury::TopUp {
            token,
            from: to,
            amount,
            validAfter: time,
            validBefore: nonce,
            category: e,
            paymentRef: f,
            salt: amount,
        };
        every_byte_counts(top_up, |terms| treasury::top_up(terms, CONTRACT, CHAIN_ID))?;

        let payment = IAgentWallet::Payment { operator: spender, token, to, amount, paymentId: f, deadline: time };
        let epochs = wallet::Epochs { operator: small[0], approval: small[1] };
        every_byte_counts(payment.clone(), |payment| wallet::payment(payment, epochs, CONTRACT, CHAIN_ID))?;
        let digest = |epochs| wallet::payment(&payment, epochs, CONTRACT, CHAIN_ID).digest();
        prop_assert_ne!(digest(epochs), digest(wallet::Epochs { operator: !epochs.operator, ..epochs }));
        prop_assert_ne!(digest(epochs), digest(wallet::Epochs { approval: !epochs.approval, ..epochs }));

        let terms = escrow::Terms {
            buyer: to,
            seller: token,
            arbiter: spender,
            token,
            amount,
            feeBps: 250,
            feeRecipient: to,
            deliverBy: u64::from(small[0]),
            reviewPeriod: small[1],
            arbitrationPeriod: small[2],
            disputeBond: nonce,
            defaultOutcome: 1,
            contentHash: f,
            agentId: time,
            salt: a,
        };
        every_byte_counts(terms, |terms| escrow::terms(terms.clone(), CONTRACT, CHAIN_ID))?;
        let release = escrow::Release { agreement: a, total: amount, deadline: time };
        every_byte_counts(release, |release| escrow::release(release.clone(), CONTRACT, CHAIN_ID))?;

        let [leg, other] = [a, b].map(|word| alloy::primitives::Uint::<96, 2>::from_be_slice(&word[..12]));
        let payment = router::Payment { payer: spender, paymentId: a, token, payee: to, amount };
        every_byte_counts(payment, |payment| routed(payment.clone()))?;
        let legs = vec![router::Leg { payee: to, amount: leg }, router::Leg { payee: spender, amount: other }];
        every_byte_counts(router::Batch { payer: spender, paymentRef: a, token, legs }, |batch| routed(batch.clone()))?;
        let shares = vec![router::Share { payee: to, bps: 1 }, router::Share { payee: spender, bps: 9_999 }];
        every_byte_counts(router::Split { payer: spender, paymentRef: a, token, amount, shares }, |split| routed(split.clone()))?;
        let terms = router::SubscriptionTerms {
            payer: to,
            payee: spender,
            token,
            amount: leg,
            totalMax: other,
            start: alloy::primitives::Uint::from(small[0]),
            trial: small[1],
            period: small[2],
            catchUpMax: 3,
            salt: a,
        };
        every_byte_counts(router::Subscribe { terms, nonce, deadline: time }, |subscribe| routed(subscribe.clone()))?;
        let cancel = router::Cancel { subscription: a, atPeriodEnd: true, nonce, deadline: time };
        every_byte_counts(cancel, |cancel| routed(cancel.clone()))?;
        let change = router::PriceChange { subscription: a, price: leg, nonce, deadline: time };
        every_byte_counts(change, |change| routed(change.clone()))?;
        let (uri, deadline) = ("https://feedback.example".to_owned(), u64::from(small[3]));
        let feedback = registry::Feedback { service: a, payment: b, score: 5, uri, contentHash: c, deadline };
        every_byte_counts(feedback, |feedback| registry::feedback(feedback.clone(), CONTRACT, CHAIN_ID))?;

        let (from, value) = (spender, amount);
        let transfer = usdc::TransferWithAuthorization { from, to, value, validAfter: time, validBefore: nonce, nonce: f };
        every_byte_counts(transfer, |transfer| usdc::transfer(transfer.clone(), CONTRACT, CHAIN_ID))?;
        let receive = usdc::ReceiveWithAuthorization { from, to, value, validAfter: time, validBefore: nonce, nonce: f };
        every_byte_counts(receive, |receive| usdc::receive(receive.clone(), CONTRACT, CHAIN_ID))?;
        let cancel = usdc::CancelAuthorization { authorizer: from, nonce: f };
        every_byte_counts(cancel, |cancel| usdc::cancel(cancel.clone(), CONTRACT, CHAIN_ID))?;
        let permit = usdc::Permit { owner: from, spender: to, value, nonce, deadline: time };
        every_byte_counts(permit, |permit| usdc::permit(permit.clone(), CONTRACT, CHAIN_ID))?;
    }
}

#[test]
fn another_contract_another_chain_or_another_kind_gives_another_digest() {
    let id = B256::repeat_byte(1);
    let release = escrow::Release { agreement: id, total: U256::ONE, deadline: U256::ONE };
    let digest = |contract, chain_id| escrow::release(release.clone(), contract, chain_id).digest();
    let other = Address::repeat_byte(0xc1);
    assert_ne!(digest(CONTRACT, CHAIN_ID), digest(other, CHAIN_ID));
    assert_ne!(digest(CONTRACT, CHAIN_ID), digest(CONTRACT, 8453));
    // A signature for one account of an owner means nothing for its others.
    let message = escrow::release(release, CONTRACT, CHAIN_ID);
    let of_treasury = Nested::new(&message, &treasury::domain(other, CHAIN_ID)).digest();
    assert_ne!(of_treasury, Nested::new(&message, &treasury::domain(CONTRACT, CHAIN_ID)).digest());
    assert_ne!(of_treasury, Nested::new(&message, &wallet::domain(other, CHAIN_ID)).digest());
    assert_ne!(of_treasury, message.digest());
}

/// What a browser wallet or a device signs when it is shown the message is the digest.
#[test]
fn the_typed_data_that_wallets_show_has_the_same_digest() {
    let payments = vec![ITreasury::Payment { to: CONTRACT, amount: U256::from(5), paymentRef: B256::repeat_byte(3) }];
    let details = Bytes::from_static(b"details");
    let order = ITreasury::Order { payments, details, validUntil: 7, operation: 2, ..Default::default() };
    let message = treasury::order(&order, CONTRACT, CHAIN_ID);
    let shown = message.typed_data();
    assert_eq!(shown.eip712_signing_hash().unwrap(), message.digest());
    assert_eq!(shown.message["payments"][0]["amount"], "5");
    // Through JSON, as a wallet gets it.
    let text = serde_json::to_string(&shown).unwrap();
    let read: alloy::dyn_abi::TypedData = serde_json::from_str(&text).unwrap();
    assert_eq!(read.eip712_signing_hash().unwrap(), message.digest());
}

/// USDC's name in its domain is not the same on every chain.
#[test]
fn usdc_is_signed_for_under_the_name_it_has_on_the_chain() {
    let base = x402::Token::usdc(&x402::Network::evm(8453)).unwrap().address;
    assert_eq!(usdc::domain(base, 8453).name.as_deref(), Some("USD Coin"));
    assert_eq!(usdc::domain(contracts::Deployment::BASE_SEPOLIA_USDC, CHAIN_ID).name.as_deref(), Some("USDC"));
    assert_eq!(usdc::domain(CONTRACT, 31_337).name.as_deref(), Some("USDC"));
}

/// A lane's authorization is USDC's and nothing else, so any facilitator can settle it.
#[test]
fn a_lane_payment_is_a_transfer_authorization_of_usdc() {
    let slot = lane::Slot { epoch: 1, period: 2, lane: 3, slot: 4 };
    let value = money::Usdc::from_base_units(5);
    let payment = lane::LanePayment { wallet: CONTRACT, to: Address::repeat_byte(1), value, valid_before: 6, slot };
    let message = usdc::transfer(payment.authorization().to_typed(), CONTRACT, CHAIN_ID);
    assert_eq!((message.content.validAfter, message.content.validBefore), (U256::ZERO, U256::from(6)));
    assert_eq!(message.content.nonce, slot.nonce());
}
