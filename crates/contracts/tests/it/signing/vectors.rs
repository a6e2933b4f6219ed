//! The vectors that `contracts/test/eip712/vectors.t.sol` puts before the contracts.

use std::{fs, path::Path};

use alloy::{
    primitives::{Address, B256, Bytes, U256, Uint, address, eip191_hash_message, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolStruct, SolValue},
};
use contracts::{
    Deployment,
    agent_wallet::IAgentWallet,
    signing::{Approvals, Message, escrow, lane, nested, registry, router, treasury, usdc, wallet},
    treasury::ITreasury,
};
use money::Usdc;
use serde_json::{Map, Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/test/eip712/vectors.json");
const CHAIN_ID: u64 = 84532;
/// When the Solidity test takes place.
const TIME: u64 = 1_760_000_000;
const HOUR_SECONDS: u64 = 3_600;
const TREASURY: Address = address!("7ea50000000000000000000000000000000000aa");
const WALLET: Address = address!("a11e7000000000000000000000000000000000bb");
const ESCROW: Address = address!("e5c0000000000000000000000000000000000ccc");
const ROUTER: Address = address!("00007e0000000000000000000000000000000ddd");
const REGISTRY: Address = address!("7e91570000000000000000000000000000000eee");
const USDC: Address = Deployment::BASE_SEPOLIA_USDC;

fn key(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(format!("florin vector: {name}"))).unwrap()
}

/// Everything about a message that another implementation could get wrong, and what the contract is called with.
fn vector<T: SolStruct + SolValue<SolType = T>, const N: usize>(message: &Message<T>, extra: [(&str, Bytes); N]) -> Value {
    let mut vector = json!({
        "type": Message::<T>::type_string(),
        "typeHash": keccak256(Message::<T>::type_string().as_bytes()),
        "domainSeparator": message.domain.separator(),
        "structHash": message.struct_hash(),
        "digest": message.digest(),
        "message": message.typed_data().message,
    });
    for (name, bytes) in extra {
        vector[name] = json!(bytes);
    }
    vector
}

fn signed<T: SolStruct>(message: &Message<T>, by: &PrivateKeySigner) -> Bytes {
    message.sign(by).unwrap().as_bytes().into()
}

/// Two of the three owners, in the order in which they happened to answer.
fn approved(digest: B256) -> Bytes {
    let mut approvals = Approvals::of(digest);
    for name in ["owner 3", "owner 1"] {
        approvals.add(key(name).sign_hash_sync(&digest).unwrap()).unwrap();
    }
    approvals.for_treasury()
}

fn of_treasury(vectors: &mut Map<String, Value>) {
    let payment = |to: &str, amount, text| ITreasury::Payment {
        to: key(to).address(),
        amount: U256::from(amount),
        paymentRef: keccak256(text),
    };
    let order = ITreasury::Order {
        spender: key("spender").address(),
        token: USDC,
        operation: 0,
        category: keccak256("inference"),
        payments: vec![payment("payee 1", 1_500_000, "invoice 1"), payment("payee 2", 2_500_000, "invoice 2")],
        details: Bytes::from_static(b"not used by payments, signed all the same"),
        nonce: U256::from(7),
        validUntil: TIME + HOUR_SECONDS,
        policyEpoch: 1,
        ownerEpoch: 1,
    };
    let message = treasury::order(&order, TREASURY, CHAIN_ID);
    let extra = [("abi", order.abi_encode().into()), ("approvals", approved(message.digest()))];
    vectors.insert("order".into(), vector(&message, extra));

    let change = ITreasury::Change {
        calls: vec![
            // setThreshold(1), setThreshold(2)
            [&keccak256("setThreshold(uint256)")[..4], U256::ONE.abi_encode().as_slice()].concat().into(),
            [&keccak256("setThreshold(uint256)")[..4], U256::from(2).abi_encode().as_slice()].concat().into(),
        ],
        nonce: U256::from(8),
        validUntil: TIME + 100 * HOUR_SECONDS,
        ownerEpoch: 1,
    };
    let message = treasury::change(&change, TREASURY, CHAIN_ID);
    let id = message.digest();
    vectors.insert("change".into(), vector(&message, [("abi", change.abi_encode().into()), ("approvals", approved(id))]));
    let message = treasury::cancellation(id, TREASURY, CHAIN_ID);
    vectors.insert("cancellation".into(), vector(&message, [("approvals", approved(message.digest()))]));

    let payer = key("payer");
    let top_up = ITreasury::TopUp {
        token: USDC,
        from: payer.address(),
        amount: U256::from(3_000_000),
        validAfter: U256::from(TIME - HOUR_SECONDS),
        validBefore: U256::from(TIME + HOUR_SECONDS),
        category: keccak256("sales"),
        paymentRef: keccak256("invoice 3"),
        salt: U256::from(9),
    };
    let message = treasury::top_up(&top_up, TREASURY, CHAIN_ID);
    let authorization = treasury::top_up_authorization(&top_up, TREASURY, CHAIN_ID);
    let extra = [("abi", top_up.abi_encode().into()), ("signature", signed(&authorization, &payer))];
    vectors.insert("topUp".into(), vector(&message, extra));
    vectors.insert("topUpAuthorization".into(), vector(&authorization, []));
}

fn of_wallet(vectors: &mut Map<String, Value>) {
    let operator = key("operator");
    let payment = |amount, id| IAgentWallet::Payment {
        operator: operator.address(),
        token: USDC,
        to: key("payee 1").address(),
        amount: U256::from(amount),
        paymentId: U256::from(id).into(),
        deadline: U256::from(TIME + HOUR_SECONDS),
    };
    let epochs = wallet::Epochs { operator: 1, approval: 1 };
    let small = payment(4_000_000, 10);
    let message = wallet::payment(&small, epochs, WALLET, CHAIN_ID);
    let extra = [("abi", small.abi_encode().into()), ("signature", signed(&message, &operator))];
    vectors.insert("payment".into(), vector(&message, extra));

    // Above the tier: the same, approved by two of three.
    let large = payment(40_000_000, 11);
    let message = wallet::payment(&large, epochs, WALLET, CHAIN_ID);
    let mut approvals = Approvals::of(message.digest());
    for name in ["approver 3", "approver 2"] {
        approvals.add_from(key(name).address(), message.sign(&key(name)).unwrap()).unwrap();
    }
    let approvals = approvals.for_wallet().unwrap().abi_encode();
    let extra = [("abi", large.abi_encode().into()), ("signature", signed(&message, &operator)), ("approvals", approvals.into())];
    vectors.insert("approvedPayment".into(), vector(&message, extra));

    let valid_before = u32::try_from(TIME + 60).unwrap();
    let slot = lane::Slot { epoch: 1, period: valid_before / 3_600, lane: 1, slot: 2 };
    let value = Usdc::from_base_units(500_000);
    let payment = lane::LanePayment { wallet: WALLET, to: key("payee 2").address(), value, valid_before, slot };
    let message = usdc::transfer(payment.authorization().to_typed(), USDC, CHAIN_ID);
    let signature = payment.signature(message.domain.separator(), &message.sign(&operator).unwrap()).unwrap();
    vectors.insert("lane".into(), vector(&message, [("signature", signature.into())]));
}

fn of_escrow(vectors: &mut Map<String, Value>) {
    let buyer = key("buyer");
    let terms = escrow::Terms {
        buyer: buyer.address(),
        seller: key("seller").address(),
        arbiter: key("arbiter").address(),
        token: USDC,
        amount: U256::from(5_000_000),
        feeBps: 250,
        feeRecipient: key("fee recipient").address(),
        deliverBy: TIME + 24 * HOUR_SECONDS,
        reviewPeriod: 172_800,
        arbitrationPeriod: 259_200,
        disputeBond: U256::from(100_000),
        defaultOutcome: 1,
        contentHash: keccak256("content"),
        agentId: U256::from(12),
        salt: B256::repeat_byte(13),
    };
    let message = escrow::terms(terms.clone(), ESCROW, CHAIN_ID);
    let agreement = message.digest();
    vectors.insert("terms".into(), vector(&message, [("abi", terms.abi_encode().into())]));
    let message = escrow::funding(&terms, TIME - 1, TIME + HOUR_SECONDS, ESCROW, CHAIN_ID);
    vectors.insert("funding".into(), vector(&message, [("signature", signed(&message, &buyer))]));
    let release = escrow::Release { agreement, total: U256::from(2_000_000), deadline: U256::from(TIME + HOUR_SECONDS) };
    let message = escrow::release(release, ESCROW, CHAIN_ID);
    vectors.insert("release".into(), vector(&message, [("signature", signed(&message, &buyer))]));

    // The same release, signed for by accounts that are contracts.
    let personal = eip191_hash_message("we agree");
    vectors.insert("personalMessage".into(), json!({ "hash": personal }));
    let (treasury, wallet) = (treasury::domain(TREASURY, CHAIN_ID), wallet::domain(WALLET, CHAIN_ID));
    let in_treasury = nested::Nested::new(&message, &treasury);
    vectors.insert(
        "treasurySigns".into(),
        json!({
            "digest": in_treasury.digest(),
            "signature": in_treasury.encode(&approved(in_treasury.digest())),
            "personalSignature": approved(nested::personal(personal, &treasury)),
        }),
    );
    let in_wallet = nested::Nested::new(&message, &wallet);
    let by_owner = |digest| Bytes::from(key("wallet owner").sign_hash_sync(&digest).unwrap().as_bytes());
    vectors.insert(
        "walletSigns".into(),
        json!({
            "digest": in_wallet.digest(),
            "signature": in_wallet.encode(&by_owner(in_wallet.digest())),
            "personalSignature": by_owner(nested::personal(personal, &wallet)),
        }),
    );
}

fn of_usdc(vectors: &mut Map<String, Value>) {
    let holder = key("holder");
    let (from, to, value) = (holder.address(), key("payee 1").address(), U256::from(6_000_000));
    let (valid_after, valid_before) = (U256::from(TIME - 1), U256::from(TIME + 60));
    let nonce = keccak256("transfer");
    let transfer = usdc::TransferWithAuthorization { from, to, value, validAfter: valid_after, validBefore: valid_before, nonce };
    let message = usdc::transfer(transfer, USDC, CHAIN_ID);
    vectors.insert("transferWithAuthorization".into(), vector(&message, [("signature", signed(&message, &holder))]));
    let nonce = keccak256("receive");
    let receive = usdc::ReceiveWithAuthorization { from, to, value, validAfter: valid_after, validBefore: valid_before, nonce };
    let message = usdc::receive(receive, USDC, CHAIN_ID);
    vectors.insert("receiveWithAuthorization".into(), vector(&message, [("signature", signed(&message, &holder))]));
    let cancel = usdc::CancelAuthorization { authorizer: from, nonce: keccak256("cancelled") };
    let message = usdc::cancel(cancel, USDC, CHAIN_ID);
    vectors.insert("cancelAuthorization".into(), vector(&message, [("signature", signed(&message, &holder))]));
    let permit = usdc::Permit { owner: from, spender: to, value, nonce: U256::ZERO, deadline: valid_before };
    let message = usdc::permit(permit, USDC, CHAIN_ID);
    vectors.insert("permit".into(), vector(&message, [("signature", signed(&message, &holder))]));
}

fn of_router(vectors: &mut Map<String, Value>) {
    let payer = key("payer");
    let (from, token) = (payer.address(), USDC);
    let payee = |number: u8| key(&format!("payee {number}")).address();
    let amount = |units: u64| Uint::<96, 2>::from(units);
    let payment =
        router::Payment { payer: from, paymentId: keccak256("payment"), token, payee: payee(1), amount: U256::from(1_000_000) };
    vectors.insert("routerPayment".into(), funded(payment, &payer));
    let legs = vec![
        router::Leg { payee: payee(1), amount: amount(1_000_000) },
        router::Leg { payee: payee(2), amount: amount(2_000_000) },
    ];
    vectors.insert("batch".into(), funded(router::Batch { payer: from, paymentRef: keccak256("batch"), token, legs }, &payer));
    let shares = vec![router::Share { payee: payee(1), bps: 2_500 }, router::Share { payee: payee(2), bps: 7_500 }];
    let split = router::Split { payer: from, paymentRef: keccak256("split"), token, amount: U256::from(4_000_000), shares };
    vectors.insert("split".into(), funded(split, &payer));

    let terms = router::SubscriptionTerms {
        payer: from,
        payee: payee(1),
        token,
        amount: amount(3_000_000),
        totalMax: amount(36_000_000),
        start: Uint::<40, 1>::from(TIME),
        trial: 0,
        period: 2_592_000,
        catchUpMax: 1,
        salt: B256::repeat_byte(14),
    };
    let domain = router::domain(ROUTER, CHAIN_ID);
    let subscription = router::subscription_id(&terms, ROUTER, CHAIN_ID);
    let message = Message { domain, content: terms.clone() };
    vectors.insert("subscriptionTerms".into(), vector(&message, [("abi", terms.abi_encode().into())]));
    let deadline = U256::from(TIME + HOUR_SECONDS);
    let subscribe = router::Subscribe { terms, nonce: U256::from(1), deadline };
    let message = router::subscribe(subscribe, ROUTER, CHAIN_ID);
    vectors.insert("subscribe".into(), vector(&message, [("signature", signed(&message, &payer))]));
    let change = router::PriceChange { subscription, price: amount(3_500_000), nonce: U256::from(2), deadline };
    let message = router::price_change(change, ROUTER, CHAIN_ID);
    vectors.insert("priceChange".into(), vector(&message, [("signature", signed(&message, &payer))]));
    let cancel = router::Cancel { subscription, atPeriodEnd: true, nonce: U256::from(3), deadline };
    let message = router::cancel(cancel, ROUTER, CHAIN_ID);
    vectors.insert("cancel".into(), vector(&message, [("signature", signed(&message, &payer))]));
}

/// A call of the router with the payer's authorization for it.
fn funded<T: router::Funded + SolValue<SolType = T>>(call: T, payer: &PrivateKeySigner) -> Value {
    let funding = router::funding(&call, TIME - 1, TIME + HOUR_SECONDS, ROUTER, CHAIN_ID);
    assert_eq!(funding.content.nonce, router::nonce(&call, ROUTER, CHAIN_ID));
    let message = Message { domain: router::domain(ROUTER, CHAIN_ID), content: call };
    let abi = SolValue::abi_encode(&message.content);
    vector(&message, [("abi", abi.into()), ("signature", signed(&funding, payer))])
}

fn of_registry(vectors: &mut Map<String, Value>) {
    let (seller, payer) = (key("service owner").address(), key("payer"));
    let service = registry::service_id(seller, B256::ZERO);
    let stake = registry::Stake {
        service,
        from: payer.address(),
        amount: U256::from(2_000_000),
        salt: B256::repeat_byte(15),
        valid_after: TIME - 1,
        valid_before: TIME + HOUR_SECONDS,
    };
    let message = registry::staking(&stake, USDC, REGISTRY, CHAIN_ID);
    vectors.insert("staking".into(), vector(&message, [("signature", signed(&message, &payer))]));
    let feedback = registry::Feedback {
        service,
        payment: registry::payment_key(payer.address(), keccak256("payment")),
        score: 87,
        uri: "https://feedback.example/1".to_owned(),
        contentHash: keccak256("feedback"),
        deadline: TIME + HOUR_SECONDS,
    };
    let message = registry::feedback(feedback, REGISTRY, CHAIN_ID);
    vectors.insert("feedback".into(), vector(&message, [("signature", signed(&message, &payer))]));
}

fn current() -> Value {
    let names = |names: &[&str]| names.iter().map(|name| key(name).address()).collect::<Vec<_>>();
    let mut vectors = Map::new();
    vectors.insert("chainId".into(), json!(CHAIN_ID));
    vectors.insert("time".into(), json!(TIME));
    vectors.insert("treasury".into(), json!(TREASURY));
    vectors.insert("wallet".into(), json!(WALLET));
    vectors.insert("escrow".into(), json!(ESCROW));
    vectors.insert("router".into(), json!(ROUTER));
    vectors.insert("registry".into(), json!(REGISTRY));
    vectors.insert("usdc".into(), json!(USDC));
    vectors.insert("owners".into(), json!(names(&["owner 1", "owner 2", "owner 3"])));
    vectors.insert("serviceOwner".into(), json!(key("service owner").address()));
    vectors.insert("spender".into(), json!(key("spender").address()));
    vectors.insert("walletOwner".into(), json!(key("wallet owner").address()));
    vectors.insert("operator".into(), json!(key("operator").address()));
    vectors.insert("approvers".into(), json!(names(&["approver 1", "approver 2", "approver 3"])));
    of_treasury(&mut vectors);
    of_wallet(&mut vectors);
    of_escrow(&mut vectors);
    of_router(&mut vectors);
    of_registry(&mut vectors);
    of_usdc(&mut vectors);
    Value::Object(vectors)
}

/// The file is what the code says, so what Solidity accepts is what Rust signs today.
#[test]
fn the_committed_vectors_are_current() {
    let text = serde_json::to_string_pretty(&current()).unwrap() + "\n";
    if std::env::var_os("FLORIN_BLESS").is_some() {
        fs::write(FILE, &text).unwrap();
    }
    let committed = fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    assert!(committed == text, "{FILE} is not current; write it anew with FLORIN_BLESS=1 and run forge's tests");
}
