//! Payments by Permit2 through the official proxy.

use std::collections::HashSet;

use alloy::{
    primitives::{Address, U256, bytes},
    providers::ext::AnvilApi,
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{permit2::Permit2, usdc::Usdc as Token, x402_exact_permit2_proxy::X402ExactPermit2Proxy};
use futures::future::join_all;
use serde_json::Value;
use x402::{
    Eip2612Permit, ExactPayload, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequest, PaymentRequirements, Permit2Authorization,
    Permit2Payload, Permit2Permitted, Permit2Witness, Reason, TokenDomain, VerifyResponse,
};

use crate::harness::{Facilitator, PRICE, World, now, request};

const ANY: U256 = U256::MAX;

type Alter = fn(&mut Eip2612Permit);

impl World {
    fn permit2(&self) -> Permit2Authorization {
        Permit2Authorization {
            permitted: Permit2Permitted { token: self.deployment.usdc, amount: PRICE.into() },
            from: self.payer.address(),
            spender: PERMIT2_EXACT_PROXY,
            nonce: U256::from_be_bytes(PrivateKeySigner::random().to_bytes().0).into(),
            deadline: (now() + 60).into(),
            witness: Permit2Witness { to: self.payee, valid_after: 0.into() },
        }
    }

    /// Signed by the payer, and then altered.
    fn by_permit2(&self, signed: &Permit2Authorization, sent: &Permit2Authorization) -> PaymentRequest {
        let signature = self.payer.sign_hash_sync(&signed.signing_hash(self.deployment.chain_id)).unwrap().as_bytes().into();
        let payload = Permit2Payload { signature, permit2_authorization: sent.clone() };
        request(self.requirements().by_permit2(), ExactPayload::Permit2(payload))
    }

    /// A payment on other terms.
    pub(crate) fn permit2_of(&self, alter: impl Fn(&mut PaymentRequirements)) -> PaymentRequest {
        let mut asked = self.requirements().by_permit2();
        alter(&mut asked);
        let mut authorization = self.permit2();
        authorization.permitted.amount = asked.amount;
        authorization.witness.to = asked.pay_to_address().unwrap();
        let mut payment = self.by_permit2(&authorization, &authorization);
        (payment.payment_payload.accepted, payment.payment_requirements) = (asked.clone(), asked);
        payment
    }

    pub(crate) fn permit2_payment(&self) -> PaymentRequest {
        let authorization = self.permit2();
        self.by_permit2(&authorization, &authorization)
    }

    /// A payment with a permit for Permit2, altered before it is signed.
    async fn sponsored(&self, alter: Alter) -> PaymentRequest {
        let mut payment = self.permit2_payment();
        let domain = TokenDomain::of(&payment.payment_requirements).unwrap();
        let payer = self.payer.address();
        let nonce = Token::new(self.deployment.usdc, &self.provider).nonces(payer).call().await.unwrap();
        let mut permit = Eip2612Permit::unsigned(&domain, payer, PRICE.into(), nonce.into(), (now() + 60).into());
        alter(&mut permit);
        permit.signature = self.payer.sign_hash_sync(&permit.signing_hash(&domain)).unwrap().as_bytes().into();
        permit.add_to(payment.payment_payload.extensions.get_or_insert_default());
        payment
    }

    pub(crate) async fn approve_permit2(&self, amount: U256) {
        let payer = self.payer.address();
        self.provider.anvil_set_balance(payer, U256::from(10).pow(U256::from(18))).await.unwrap();
        self.provider.anvil_impersonate_account(payer).await.unwrap();
        let token = Token::new(self.deployment.usdc, &self.provider);
        let sent = token.approve(PERMIT2, amount).from(payer).send().await.unwrap();
        assert!(sent.get_receipt().await.unwrap().status());
    }
}

impl Facilitator {
    async fn refusal(&self, payment: &PaymentRequest) -> Option<Reason> {
        let (_, body) = self.post("verify", payment).await;
        let answer: VerifyResponse = serde_json::from_value(body).unwrap();
        let settled = self.settle(payment).await;
        assert_eq!((answer.is_valid, &answer.invalid_reason), (settled.success, &settled.error_reason), "both calls judge alike");
        answer.invalid_reason
    }
}

#[tokio::test]
async fn a_payment_by_permit2_is_settled_once_however_often_it_is_asked() {
    let world = World::new().await;
    world.approve_permit2(ANY).await;
    let facilitator = world.serve(&[]).await;
    let payment = world.permit2_payment();
    let (_, body) = facilitator.post("verify", &payment).await;
    assert_eq!(body["isValid"], true, "{body}");

    let answers = join_all((0..20).map(|_| facilitator.settle(&payment))).await;
    assert!(answers.iter().all(|answer| answer.success), "{answers:?}");
    assert_eq!(answers.iter().map(|answer| &answer.transaction).collect::<HashSet<_>>().len(), 1);
    let other = facilitator.settle(&world.permit2_payment()).await;
    assert!(other.success && other.transaction != answers[0].transaction, "{other:?}");
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(2).unwrap());
}

#[tokio::test]
async fn every_flaw_of_a_payment_by_permit2_has_its_official_reason() {
    let world = World::new().await;
    world.approve_permit2(ANY).await;
    let facilitator = world.serve(&[]).await;
    let (good, somebody) = (world.permit2(), world.signer.address());
    let altered = |alter: fn(&mut Permit2Authorization, Address)| {
        let mut authorization = good.clone();
        alter(&mut authorization, somebody);
        authorization
    };
    let flaws = [
        (altered(|a, somebody| a.spender = somebody), Reason::Permit2Spender),
        (altered(|a, somebody| a.witness.to = somebody), Reason::Permit2RecipientMismatch),
        (altered(|a, _| a.deadline = (now() + 3).into()), Reason::Permit2DeadlineExpired),
        (altered(|a, _| a.witness.valid_after = (now() + 30).into()), Reason::Permit2NotYetValid),
        (altered(|a, _| a.permitted.amount = 1.into()), Reason::Permit2AmountMismatch),
        (altered(|a, somebody| a.permitted.token = somebody), Reason::Permit2TokenMismatch),
        (altered(|a, somebody| a.from = somebody), Reason::Permit2Signature),
    ];
    for (authorization, reason) in flaws {
        assert_eq!(facilitator.refusal(&world.by_permit2(&authorization, &authorization)).await, Some(reason));
    }
    // What the seller asked for, and not what was signed.
    let redirected = world.by_permit2(&altered(|a, somebody| a.witness.to = somebody), &good);
    assert_eq!(facilitator.refusal(&redirected).await, Some(Reason::Permit2Signature));

    // An account with code is asked, whatever its key signed: here EIP-7702 delegates it to a contract that answers nothing.
    let delegated = [bytes!("ef0100"), world.deployment.multicall3.into_array().into()].concat();
    world.provider.anvil_set_code(world.payer.address(), delegated.into()).await.unwrap();
    assert_eq!(facilitator.refusal(&world.permit2_payment()).await, Some(Reason::Permit2Signature));
}

#[tokio::test]
async fn what_the_payer_lacks_is_told() {
    let mut world = World::new().await;
    let facilitator = world.serve(&[]).await;
    assert_eq!(facilitator.refusal(&world.permit2_payment()).await, Some(Reason::Permit2AllowanceRequired));

    world.approve_permit2(ANY).await;
    let used = world.permit2_payment();
    assert!(facilitator.settle(&used).await.success);
    let (_, body) = facilitator.post("verify", &used).await;
    assert_eq!(body["invalidReason"], Reason::Permit2InvalidNonce.as_str(), "{body}");

    world.payer = PrivateKeySigner::random();
    world.approve_permit2(ANY).await;
    assert_eq!(facilitator.refusal(&world.permit2_payment()).await, Some(Reason::Permit2InsufficientBalance));

    world.provider.anvil_set_code(PERMIT2_EXACT_PROXY, Default::default()).await.unwrap();
    facilitator.kill().await;
    let facilitator = world.serve(&[]).await;
    assert_eq!(facilitator.refusal(&world.permit2_payment()).await, Some(Reason::Permit2ProxyNotDeployed));
}

#[tokio::test]
async fn a_payer_without_gas_or_allowance_pays_with_a_permit() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let payment = world.sponsored(|_| ()).await;
    let settled = facilitator.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!(facilitator.settle(&payment).await.transaction, settled.transaction, "asked again, told the same");
    assert_eq!(world.balance(world.payee).await, PRICE);
    let token = Token::new(world.deployment.usdc, &world.provider);
    assert!(
        token.allowance(world.payer.address(), PERMIT2).call().await.unwrap().is_zero(),
        "no more than the payment was allowed"
    );

    let flaws: [(Alter, Reason); 6] = [
        (|p| p.from = PERMIT2, Reason::Eip2612FromMismatch),
        (|p| p.asset = PERMIT2, Reason::Eip2612AssetMismatch),
        (|p| p.spender = PERMIT2_EXACT_PROXY, Reason::Eip2612SpenderNotPermit2),
        (|p| p.deadline = (now() + 3).into(), Reason::Eip2612DeadlineExpired),
        (|p| p.amount = 1.into(), Reason::Permit2612AmountMismatch),
        (|p| p.nonce = 7.into(), Reason::Permit2AllowanceRequired),
    ];
    for (alter, reason) in flaws {
        assert_eq!(facilitator.refusal(&world.sponsored(alter).await).await, Some(reason));
    }
    let mut garbled = world.sponsored(|_| ()).await;
    garbled.payment_payload.extensions.as_mut().unwrap()["eip2612GasSponsoring"]["info"]["signature"] = "0x11".into();
    assert_eq!(facilitator.refusal(&garbled).await, Some(Reason::Eip2612Format));

    // A client that only repeats the server's words has no permit.
    let mut echoed = world.permit2_payment();
    let extensions = [("eip2612GasSponsoring".to_owned(), Eip2612Permit::declaration())];
    echoed.payment_payload.extensions = Some(extensions.into_iter().collect());
    assert_eq!(facilitator.refusal(&echoed).await, Some(Reason::Permit2AllowanceRequired));

    let supported: Value = reqwest::get(format!("{}/supported", facilitator.url)).await.unwrap().json().await.unwrap();
    assert_eq!(supported["extensions"][0], "eip2612GasSponsoring", "{supported}");
}

#[tokio::test]
async fn a_crash_between_journal_and_broadcast_loses_no_payment_by_permit2() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = world.sponsored(|_| ()).await;
    let first = world.serve(&["--confirm-timeout-seconds", "1"]).await;
    let pending = first.settle(&payment).await;
    assert!(pending.is_pending(), "{pending:?}");
    first.kill().await;
    // The node forgets the transaction: as if it had never been broadcast.
    world.provider.anvil_drop_transaction(pending.transaction_hash().unwrap()).await.unwrap();
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    let settled = world.serve(&[]).await.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!((settled.transaction, world.balance(world.payee).await), (pending.transaction, PRICE));
}

/// Settles as anybody may: straight through the proxy.
async fn settle_as_somebody(world: &World, payment: &PaymentRequest) -> String {
    let Ok(ExactPayload::Permit2(Permit2Payload { signature, permit2_authorization: a })) = payment.payment_payload.exact()
    else {
        panic!("not by Permit2")
    };
    let proxy = X402ExactPermit2Proxy::new(PERMIT2_EXACT_PROXY, &world.provider);
    let permitted = contracts::x402_exact_permit2_proxy::ISignatureTransfer::TokenPermissions {
        token: a.permitted.token,
        amount: a.permitted.amount.0,
    };
    let permit = contracts::x402_exact_permit2_proxy::ISignatureTransfer::PermitTransferFrom {
        permitted,
        nonce: a.nonce.0,
        deadline: a.deadline.0,
    };
    let witness = contracts::x402_exact_permit2_proxy::X402ExactPermit2Proxy::Witness {
        to: a.witness.to,
        validAfter: a.witness.valid_after.0,
    };
    let call = proxy.settle(permit, a.from, witness, signature).from(world.payer.address());
    call.send().await.unwrap().get_receipt().await.unwrap().transaction_hash.to_string()
}

#[tokio::test]
async fn only_the_transaction_that_used_the_nonce_answers_for_a_payment_somebody_else_settled() {
    let world = World::new().await;
    world.approve_permit2(ANY).await;
    let facilitator = world.serve(&[]).await;
    let settled = world.permit2_payment();
    let theirs = settle_as_somebody(&world, &settled).await;
    let answer = facilitator.settle(&settled).await;
    assert!(answer.success, "{answer:?}");
    assert_eq!(answer.transaction, theirs);

    // The payer burns another nonce, and the same amount went to the same payee a moment ago.
    let authorization = world.permit2();
    let (word, bit) = (authorization.nonce.0 >> 8, authorization.nonce.0.byte(0));
    let permit2 = Permit2::new(PERMIT2, &world.provider);
    let burnt = permit2.invalidateUnorderedNonces(word, U256::ONE << usize::from(bit)).from(world.payer.address());
    assert!(burnt.send().await.unwrap().get_receipt().await.unwrap().status());
    let unpaid = world.by_permit2(&authorization, &authorization);
    assert_eq!(facilitator.settle(&unpaid).await.error_reason, Some(Reason::Permit2InvalidNonce));
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn a_settled_payment_answers_for_no_other_permit_with_its_nonce() {
    let world = World::new().await;
    world.approve_permit2(ANY).await;
    let facilitator = world.serve(&[]).await;
    let authorization = world.permit2();
    assert!(facilitator.settle(&world.by_permit2(&authorization, &authorization)).await.success);
    for alter in
        [|a: &mut Permit2Authorization| a.permitted.token = PERMIT2, |a: &mut Permit2Authorization| a.witness.to = PERMIT2]
    {
        let mut other = authorization.clone();
        alter(&mut other);
        let answer = facilitator.settle(&world.by_permit2(&other, &other)).await;
        assert_eq!(answer.error_reason, Some(Reason::Permit2Signature), "{answer:?}");
    }
}
