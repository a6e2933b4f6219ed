//! Money that is held while the work is done (scheme `auth-capture`), on chain: put into the escrow, paid out and given back once each, and
//! refused by its name.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
    sol_types::SolValue,
};
use contracts::dev::AUTH_CAPTURE;
use money::Usdc;
use serde_json::{Value, json};
use x402::{
    ERC6492_MAGIC, FacilitatorClient, JsonMap, Network, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements,
    Reason, Scheme, SettleResponse, TokenAmount, TokenDomain, V2,
    auth_capture::{AuthCapturePayload, CapturePayload, CollectPayload, Deployment, PaymentInfo, Terms, VoidPayload, bound_salt},
};

use crate::{
    channels::{sign, verify},
    harness::{Facilitator, PRICE, World, now},
    lying::{Lie, Relay},
    reasons::refused_on_chain,
};

pub(crate) const ESCROW: Deployment = Deployment { escrow: AUTH_CAPTURE.0, collector: AUTH_CAPTURE.1 };
const HOLD_SECS: u64 = 600;

/// The payer's payment of an offer, altered before it is signed.
fn signed(world: &World, offer: &PaymentRequirements, alter: impl FnOnce(&mut PaymentInfo)) -> (PaymentInfo, CollectPayload) {
    let (terms, nonce) = (Terms::of(offer).unwrap(), B256::random());
    let salt = bound_salt(terms.authorizer().unwrap(), nonce);
    let mut payment = terms.payment(offer, world.payer.address(), now() + 60, salt).unwrap();
    alter(&mut payment);
    let (authorization, hash) = payment.authorization(&TokenDomain::of(offer).unwrap(), &ESCROW);
    let (signature, salt) = (sign(&world.payer, hash), payment.salt);
    (payment, CollectPayload { authorization, signature, salt, salt_nonce: Some(nonce) })
}

/// A seller that names a key for its captures, and a payer.
struct Parties {
    world: World,
    authorizer: PrivateKeySigner,
}

impl World {
    /// A payment of the only offer.
    pub(crate) fn held_for(&self, required: PaymentRequired) -> PaymentPayload {
        let accepted = required.accepts[0].clone();
        let payload = AuthCapturePayload::Collect(signed(self, &accepted, |_| {}).1).to_json();
        PaymentPayload { x402_version: V2, resource: Some(required.resource), accepted, payload, extensions: None }
    }

    pub(crate) async fn serve_escrow(&self, more: &[&str]) -> Facilitator {
        let escrow = ESCROW.to_string();
        self.serve(&[&["--auth-capture", &escrow], more].concat()).await
    }
}

impl Parties {
    async fn new() -> Self {
        Self { world: World::new().await, authorizer: PrivateKeySigner::random() }
    }

    fn requirements(&self) -> PaymentRequirements {
        let supported = x402::auth_capture::extra(&ESCROW, self.world.signer.address());
        let mut offer = self.world.requirements().held(&supported, self.authorizer.address());
        let deadlines = [("captureDeadline", now() + HOLD_SECS), ("refundDeadline", now() + HOLD_SECS)];
        offer.extra.as_mut().unwrap().extend(deadlines.map(|(key, at)| (key.to_owned(), at.into())));
        offer
    }

    fn chain_id(&self) -> u64 {
        self.world.deployment.chain_id
    }

    fn pay(&self) -> (PaymentRequirements, PaymentInfo, CollectPayload) {
        let offer = self.requirements();
        let (payment, payload) = signed(&self.world, &offer, |_| {});
        (offer, payment, payload)
    }

    /// Captures `amount`, and gives the rest back if there is one.
    fn capture(&self, payment: &PaymentInfo, salt_nonce: Option<B256>, amount: u64) -> CapturePayload {
        let zero = TokenAmount::ZERO;
        let (fee_receiver, chain_id) = (Address::ZERO, self.chain_id());
        let mut capture = CapturePayload {
            payment_info: payment.clone(),
            salt_nonce: salt_nonce.unwrap(),
            amount: amount.into(),
            fee_amount: zero,
            fee_receiver,
            expected_capturable_amount: payment.max_amount,
            expected_refundable_amount: zero,
            authorizer_signature: Bytes::new(),
            void_authorizer_signature: None,
        };
        capture.authorizer_signature = sign(&self.authorizer, payment.capture_hash(chain_id, ESCROW.escrow, &capture));
        if capture.amount < payment.max_amount {
            capture.void_authorizer_signature = Some(sign(&self.authorizer, payment.void_hash(chain_id, ESCROW.escrow)));
        }
        capture
    }

    fn void(&self, payment: &PaymentInfo, salt_nonce: Option<B256>) -> VoidPayload {
        let authorizer_signature = sign(&self.authorizer, payment.void_hash(self.chain_id(), ESCROW.escrow));
        VoidPayload { payment_info: payment.clone(), salt_nonce: salt_nonce.unwrap(), authorizer_signature }
    }

    async fn balances(&self) -> (u64, u64, u64) {
        let [payer, payee] = [self.world.payer.address(), self.world.payee];
        let of = async |account| self.world.balance(account).await.base_units();
        (of(payer).await, of(ESCROW.escrow).await, of(payee).await)
    }
}

fn request(offer: &PaymentRequirements, payload: &AuthCapturePayload) -> PaymentRequest {
    let (accepted, payload) = (offer.clone(), payload.to_json());
    let payment_payload = PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None };
    PaymentRequest { x402_version: V2, payment_payload, payment_requirements: offer.clone() }
}

fn collect(offer: &PaymentRequirements, payload: &CollectPayload) -> PaymentRequest {
    request(offer, &AuthCapturePayload::Collect(payload.clone()))
}

fn captured(offer: &PaymentRequirements, payload: CapturePayload) -> PaymentRequest {
    request(offer, &AuthCapturePayload::Capture(payload))
}

fn voided(offer: &PaymentRequirements, payload: VoidPayload) -> PaymentRequest {
    request(offer, &AuthCapturePayload::Void(payload))
}

fn reason(response: SettleResponse) -> Reason {
    assert!(!response.success, "{response:?}");
    response.error_reason.unwrap()
}

#[tokio::test]
async fn money_is_held_then_paid_out_or_given_back_once_each() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve_escrow(&[]).await;
    let (had, price) = (parties.balances().await.0, PRICE.base_units());

    let supported = FacilitatorClient::new(facilitator.url.parse().unwrap()).unwrap().supported().await.unwrap();
    let kind = supported.kind(Scheme::AuthCapture, &Network::evm(parties.chain_id())).unwrap();
    let extra: JsonMap = kind.extra.clone().unwrap();
    assert_eq!(extra["captureAuthorizer"], parties.world.signer.address().to_checksum(None));

    // Into the escrow, once however often it is asked for, and only for who shows the payer's signature.
    let (offer, payment, payload) = parties.pay();
    let asked = collect(&offer, &payload);
    assert!(verify(&facilitator, &asked).await.is_valid);
    let all = futures::future::join_all((0..5).map(|_| facilitator.settle(&asked))).await;
    assert!(all.iter().all(|one| one.success && one.transaction == all[0].transaction), "{all:?}");
    assert_eq!(parties.balances().await, (had - price, price, 0));
    let forged = CollectPayload { signature: sign(&parties.authorizer, B256::ZERO), ..payload.clone() };
    assert_eq!(reason(facilitator.settle(&collect(&offer, &forged)).await), Reason::AuthCaptureSignature);
    assert_eq!(verify(&facilitator, &asked).await.invalid_reason, Some(Reason::AuthCaptureAlreadyCollected));

    // A part is captured and the rest given back, by one request; the same request again is the same capture.
    let part = captured(&offer, parties.capture(&payment, payload.salt_nonce, 4_000));
    let all = futures::future::join_all((0..5).map(|_| facilitator.settle(&part))).await;
    assert!(all.iter().all(|one| one.success && one.transaction == all[0].transaction), "{all:?}");
    assert_eq!(all[0].amount, Some(TokenAmount::from(4_000)));
    assert_eq!(parties.balances().await, (had - 4_000, 0, 4_000));
    let more = captured(&offer, parties.capture(&payment, payload.salt_nonce, 1_000));
    assert_eq!(reason(facilitator.settle(&more).await), Reason::AuthCaptureUnexpectedState);

    // Or all of it is given back.
    let (offer, payment, payload) = parties.pay();
    assert!(facilitator.settle(&collect(&offer, &payload)).await.success);
    let void = voided(&offer, parties.void(&payment, payload.salt_nonce));
    let all = futures::future::join_all((0..5).map(|_| facilitator.settle(&void))).await;
    assert!(all.iter().all(|one| one.success && one.transaction == all[0].transaction), "{all:?}");
    assert_eq!((all[0].amount, parties.balances().await), (Some(TokenAmount::ZERO), (had - 4_000, 0, 4_000)));
    let late = captured(&offer, parties.capture(&payment, payload.salt_nonce, price));
    assert_eq!(reason(facilitator.settle(&late).await), Reason::AuthCaptureUnexpectedState);
}

/// The chain would take the same capture once more: of the payer's money that is left.
#[tokio::test]
async fn a_capture_whose_receipt_is_hidden_is_not_made_twice() {
    let parties = Parties::new().await;
    let (relay, url) = Relay::start(&parties.world).await;
    let escrow = ESCROW.to_string();
    let flags = ["--auth-capture", &escrow, "--give-up-seconds", "3"];
    let facilitator = Facilitator::start(parties.world.config_at(&url, &flags)).await;
    let (offer, payment, payload) = parties.pay();
    assert!(facilitator.settle(&collect(&offer, &payload)).await.success);
    let capture = CapturePayload { void_authorizer_signature: None, ..parties.capture(&payment, payload.salt_nonce, 3_000) };
    let capture = captured(&offer, capture);
    relay.lies(&parties.world, Lie::HidesReceipts).await;
    let answer = tokio::select! {
        answer = facilitator.settle(&capture) => answer,
        () = parties.world.mine_on() => unreachable!(),
    };
    assert_eq!(reason(answer), Reason::UnexpectedSettleError, "a seller that takes it for a failure has its client pay twice");
    assert_eq!(reason(facilitator.settle(&capture).await), Reason::UnexpectedSettleError, "also when its state was looked at");
    let (_, held, paid) = parties.balances().await;
    assert_eq!((held, paid), (PRICE.base_units() - 3_000, 3_000));
}

#[tokio::test]
async fn what_was_not_signed_for_is_refused_by_its_name() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve_escrow(&[]).await;
    let (offer, payment, payload) = parties.pay();
    let with = |key: &'static str, value: Value| {
        let mut offer = offer.clone();
        offer.extra.as_mut().unwrap().insert(key.into(), value);
        offer
    };
    let somebody = Address::repeat_byte(0x51);

    // What the seller asks for otherwise than the payer signed, or than this facilitator serves.
    let soon = now() + 30;
    let offers = [
        (with("captureAuthorizer", json!(somebody)), Reason::AuthCaptureOperatorNotAdmitted),
        (with("authCaptureEscrow", json!(somebody)), Reason::AuthCaptureExtra),
        (with("feeRecipient", json!(null)), Reason::AuthCaptureExtra),
        (with("maxFeeBps", json!(5)), Reason::AuthCaptureExtra),
        (with("feeRecipient", json!(somebody)), Reason::AuthCaptureNonceMismatch),
        (with("receiverAuthorizer", json!(Address::ZERO)), Reason::AuthCaptureMissingReceiverAuthorizer),
        (with("receiverAuthorizer", json!(somebody)), Reason::AuthCaptureSaltBindingMismatch),
        (with("policy", json!(somebody)), Reason::AuthCapturePolicy),
        (with("operatorType", json!("custom")), Reason::AuthCaptureUnsupportedOperatorType),
        (with("paymentFlow", json!("authorization")), Reason::AuthCaptureUnsupportedPaymentFlow),
        (with("assetTransferMethod", json!("permit2")), Reason::AuthCaptureUnsupportedMethod),
        (with("captureDeadline", json!(soon)), Reason::AuthCaptureDeadlineOrdering),
        (with("captureDeadline", json!(now() + 1)), Reason::AuthCaptureDeadlineExpired),
        (with("refundDeadline", json!(soon)), Reason::AuthCaptureDeadlineOrdering),
        (with("refundDeadline", json!(now() + 2 * HOLD_SECS)), Reason::AuthCaptureNonceMismatch),
        (PaymentRequirements { pay_to: somebody.to_string(), ..offer.clone() }, Reason::AuthCaptureNonceMismatch),
        (PaymentRequirements { asset: somebody.to_string(), ..offer.clone() }, Reason::AuthCaptureNonceMismatch),
        (PaymentRequirements { amount: 1.into(), ..offer.clone() }, Reason::AuthCaptureAmountMismatch),
    ];
    for (offer, expected) in offers {
        let told = verify(&facilitator, &collect(&offer, &payload)).await.invalid_reason;
        assert_eq!(told, Some(expected), "{offer:?}");
    }
    let mut elsewhere = collect(&offer, &payload);
    elsewhere.payment_payload.accepted.network = Network::evm(1);
    assert_eq!(verify(&facilitator, &elsewhere).await.invalid_reason, Some(Reason::AuthCaptureNetworkMismatch));
    elsewhere.payment_payload.accepted = parties.world.requirements();
    assert_eq!(verify(&facilitator, &elsewhere).await.invalid_reason, Some(Reason::AuthCaptureScheme));

    // What the payer signed otherwise.
    let altered = |alter: fn(&mut PaymentInfo)| signed(&parties.world, &offer, alter).1;
    let authorization = |alter: fn(&mut x402::Eip3009Authorization)| {
        let mut changed = payload.clone();
        alter(&mut changed.authorization);
        changed
    };
    let payloads = [
        (altered(|p| p.operator = Address::repeat_byte(1)), Reason::AuthCaptureNonceMismatch),
        (altered(|p| p.receiver = Address::repeat_byte(1)), Reason::AuthCaptureNonceMismatch),
        (altered(|p| p.token = Address::repeat_byte(1)), Reason::AuthCaptureNonceMismatch),
        (altered(|p| p.authorization_expiry -= 1), Reason::AuthCaptureNonceMismatch),
        (altered(|p| p.max_amount = 3.into()), Reason::AuthCaptureAmountMismatch),
        (altered(|p| p.pre_approval_expiry = now() + 3), Reason::AuthCaptureAuthorizationExpired),
        (altered(|p| p.pre_approval_expiry += HOLD_SECS), Reason::AuthCaptureDeadlineOrdering),
        (altered(|p| p.salt = B256::ZERO), Reason::AuthCaptureSaltBindingMismatch),
        (authorization(|a| a.nonce = B256::ZERO), Reason::AuthCaptureNonceMismatch),
        (authorization(|a| a.to = Address::repeat_byte(1)), Reason::AuthCaptureCollectorMismatch),
        (authorization(|a| a.valid_after = 1.into()), Reason::AuthCaptureNotYetValid),
        (CollectPayload { salt_nonce: None, ..payload.clone() }, Reason::AuthCapturePayloadFormat),
        (CollectPayload { signature: sign(&parties.authorizer, B256::ZERO), ..payload.clone() }, Reason::AuthCaptureSignature),
    ];
    for (payload, expected) in payloads {
        assert_eq!(verify(&facilitator, &collect(&offer, &payload)).await.invalid_reason, Some(expected), "{payload:?}");
        assert!(!facilitator.settle(&collect(&offer, &payload)).await.success);
    }
    // The payer is no contract that somebody could deploy.
    let erc6492 =
        [(Address::repeat_byte(1), Bytes::new(), payload.signature.clone()).abi_encode_params(), ERC6492_MAGIC.to_vec()];
    let wrapped = CollectPayload { signature: erc6492.concat().into(), ..payload.clone() };
    let told = verify(&facilitator, &collect(&offer, &wrapped)).await.invalid_reason;
    assert_eq!(told, Some(Reason::AuthCaptureFactoryNotAllowed));
    let rich = PaymentRequirements { amount: (200 * Usdc::ONE.base_units()).into(), ..offer.clone() };
    let too_much = collect(&rich, &signed(&parties.world, &rich, |_| {}).1);
    assert_eq!(verify(&facilitator, &too_much).await.invalid_reason, Some(Reason::AuthCaptureInsufficientBalance));

    // Nobody captures or gives back without the seller's key, nor before there is anything.
    let (capture, void) = (parties.capture(&payment, payload.salt_nonce, 4_000), parties.void(&payment, payload.salt_nonce));
    assert_eq!(verify(&facilitator, &voided(&offer, void.clone())).await.invalid_reason, Some(Reason::AuthCapturePayloadType));
    assert_eq!(reason(facilitator.settle(&captured(&offer, capture.clone())).await), Reason::AuthCaptureUnexpectedState);
    assert_eq!(reason(facilitator.settle(&voided(&offer, void.clone())).await), Reason::AuthCaptureZeroAuthorization);
    assert!(facilitator.settle(&collect(&offer, &payload)).await.success);
    let forged = sign(&parties.world.payer, payment.void_hash(parties.chain_id(), ESCROW.escrow));
    let mut other = payment.clone();
    other.operator = somebody;
    let full = CapturePayload { expected_capturable_amount: 4_000.into(), ..capture.clone() };
    let resigned = sign(&parties.authorizer, payment.capture_hash(parties.chain_id(), ESCROW.escrow, &full));
    let releases = [
        (
            voided(&offer, VoidPayload { authorizer_signature: forged.clone(), ..void.clone() }),
            Reason::AuthCaptureAuthorizerSignature,
        ),
        (voided(&offer, VoidPayload { salt_nonce: B256::ZERO, ..void.clone() }), Reason::AuthCaptureSaltBindingMismatch),
        (voided(&offer, VoidPayload { payment_info: other, ..void.clone() }), Reason::AuthCaptureOperatorMismatch),
        (captured(&offer, CapturePayload { amount: 5_000.into(), ..capture.clone() }), Reason::AuthCaptureAuthorizerSignature),
        (
            captured(&offer, CapturePayload { void_authorizer_signature: Some(forged), ..capture.clone() }),
            Reason::AuthCaptureVoidAuthorizerSignature,
        ),
        (captured(&offer, CapturePayload { authorizer_signature: resigned, ..full }), Reason::AuthCaptureVoidRemainder),
        (
            captured(&offer, parties.capture(&payment, payload.salt_nonce, PRICE.base_units() + 1)),
            Reason::AuthCaptureInsufficientAuthorization,
        ),
    ];
    for (asked, expected) in releases {
        assert_eq!(reason(facilitator.settle(&asked).await), expected);
    }
    let mut refund = voided(&offer, void);
    refund.payment_payload.payload.insert("type".into(), "refund".into());
    assert_eq!(reason(facilitator.settle(&refund).await), Reason::AuthCapturePayloadType);
    assert_eq!(parties.balances().await.1, PRICE.base_units(), "it is still held");

    // A facilitator that was given no escrow serves none.
    let journal = format!("file:{}", parties.world.anvil.directory().join("plain").display());
    let plain = parties.world.serve(&["--journal", &journal]).await;
    let told = verify(&plain, &collect(&offer, &payload)).await.invalid_reason;
    assert_eq!(told, Some(Reason::UnsupportedScheme));
}

#[tokio::test]
async fn a_facilitator_killed_between_the_deposit_and_the_capture_goes_on_with_both() {
    let parties = Parties::new().await;
    let (world, short) = (&parties.world, ["--confirm-timeout-seconds", "1"]);
    let (offer, payment, payload) = parties.pay();
    let (asked, capture) = (collect(&offer, &payload), captured(&offer, parties.capture(&payment, payload.salt_nonce, 4_000)));

    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let first = world.serve_escrow(&short).await;
    let pending = first.settle(&asked).await;
    assert!(pending.is_pending(), "{pending:?}");
    first.kill().await;
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let second = world.serve_escrow(&short).await;
    let held = second.settle(&asked).await;
    assert_eq!((held.success, &held.transaction), (true, &pending.transaction), "{held:?}");
    let pending = second.settle(&capture).await;
    assert!(pending.is_pending(), "{pending:?}");
    second.kill().await;
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    let third = world.serve_escrow(&[]).await;
    let paid = third.settle(&capture).await;
    assert_eq!((paid.success, &paid.transaction), (true, &pending.transaction), "{paid:?}");
    let (_, held, got) = parties.balances().await;
    assert_eq!((held, got), (0, 4_000), "captured once, and the rest given back");
}

#[tokio::test]
async fn what_nobody_captures_in_time_the_payer_takes_back_alone() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve_escrow(&[]).await;
    let had = parties.balances().await.0;
    let (offer, payment, payload) = parties.pay();
    assert!(facilitator.settle(&collect(&offer, &payload)).await.success);
    let provider = &parties.world.provider;
    provider.anvil_impersonate_account(payment.payer).await.unwrap();
    provider.anvil_set_balance(payment.payer, U256::from(10).pow(U256::from(18))).await.unwrap();
    let reclaim = || {
        TransactionRequest::default()
            .from(payment.payer)
            .to(ESCROW.escrow)
            .input(payment.reclaim_call().into())
            .gas_limit(200_000)
    };
    let receipt = provider.send_transaction(reclaim()).await.unwrap().get_receipt().await.unwrap();
    assert!(!receipt.status(), "not while it may be captured");
    provider.anvil_increase_time(HOLD_SECS).await.unwrap();
    let capture = captured(&offer, parties.capture(&payment, payload.salt_nonce, PRICE.base_units()));
    provider.anvil_mine(Some(1), None).await.unwrap();
    assert_eq!(reason(facilitator.settle(&capture).await), Reason::AuthCaptureDeadlineExpired);
    let receipt = provider.send_transaction(reclaim()).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(parties.balances().await, (had, 0, 0));
}

#[tokio::test]
async fn what_the_chain_refuses_is_told_and_may_be_tried_again() {
    let parties = Parties::new().await;
    let world = &parties.world;
    let facilitator = world.serve_escrow(&[]).await;
    let (offer, _, payload) = parties.pay();
    let deposit = collect(&offer, &payload);
    let told = refused_on_chain(world, &facilitator, &deposit, ESCROW.escrow).await;
    assert_eq!(told, Some(Reason::AuthCaptureTransactionReverted));
    assert!(facilitator.settle(&deposit).await.success);
    world.blacklist(world.payer.address()).await;
    let (offer, _, payload) = parties.pay();
    let told = verify(&facilitator, &collect(&offer, &payload)).await.invalid_reason;
    assert_eq!(told, Some(Reason::AuthCaptureSimulationFailed));
}
