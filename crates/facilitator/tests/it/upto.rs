//! Payments of the scheme `upto`: at most what was signed, by the signer that was named.

use std::collections::HashSet;

use alloy::{
    primitives::{Address, U256},
    providers::{Provider, ext::AnvilApi},
    signers::{SignerSync, local::PrivateKeySigner},
};
use futures::future::join_all;
use money::Usdc;
use x402::{
    Network, PERMIT2_UPTO_PROXY, PaymentPayload, PaymentRequest, PaymentRequirements, Permit2Authorization, Permit2Permitted,
    Reason, SupportedResponse, Token, UptoPayload, UptoWitness, V2, VerifyResponse,
};

use crate::harness::{Facilitator, PRICE, World, now};

type Alter = fn(&mut Permit2Authorization<UptoWitness>, Address);

impl World {
    pub(crate) fn upto(&self, facilitator: Address, maximum: Usdc) -> PaymentRequest {
        self.upto_altered(facilitator, maximum, |_, _| ())
    }

    /// Altered before it is signed.
    fn upto_altered(&self, facilitator: Address, maximum: Usdc, alter: Alter) -> PaymentRequest {
        let mut permit = Permit2Authorization {
            permitted: Permit2Permitted { token: self.deployment.usdc, amount: maximum.into() },
            from: self.payer.address(),
            spender: PERMIT2_UPTO_PROXY,
            nonce: U256::from_be_bytes(PrivateKeySigner::random().to_bytes().0).into(),
            deadline: (now() + 60).into(),
            witness: UptoWitness { to: self.payee, facilitator, valid_after: 0.into() },
        };
        alter(&mut permit, self.payee);
        let signature = self.payer.sign_hash_sync(&permit.signing_hash(self.deployment.chain_id)).unwrap().as_bytes().into();
        let payload = serde_json::to_value(UptoPayload { signature, permit2_authorization: permit }).unwrap();
        let token = Token::usdc(&Network::evm(self.deployment.chain_id)).unwrap();
        let requirements = PaymentRequirements::upto(&token, maximum, self.payee, facilitator, 60);
        let payment_payload = PaymentPayload {
            x402_version: V2,
            resource: None,
            accepted: requirements.clone(),
            payload: payload.as_object().unwrap().clone(),
            extensions: None,
        };
        PaymentRequest { x402_version: V2, payment_payload, payment_requirements: requirements }
    }
}

fn charging(payment: &PaymentRequest, amount: u64) -> PaymentRequest {
    let mut payment = payment.clone();
    payment.payment_requirements.amount = amount.into();
    payment
}

impl Facilitator {
    pub(crate) async fn upto_signer(&self) -> Address {
        let supported: SupportedResponse = reqwest::get(format!("{}/supported", self.url)).await.unwrap().json().await.unwrap();
        supported.upto_facilitator(&Network::evm(84532)).unwrap()
    }

    pub(crate) async fn flaw(&self, payment: &PaymentRequest) -> Option<Reason> {
        let (_, body) = self.post("verify", payment).await;
        serde_json::from_value::<VerifyResponse>(body).unwrap().invalid_reason
    }
}

#[tokio::test]
async fn a_part_is_charged_once_by_the_signer_that_was_named() {
    let mut world = World::new().await;
    world.approve_permit2(U256::MAX).await;
    let second = PrivateKeySigner::random();
    world.provider.anvil_set_balance(second.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    let facilitator = world.serve(&["--signer-keys", &format!("{:x}", second.to_bytes())]).await;
    let named: HashSet<Address> = [facilitator.upto_signer().await, facilitator.upto_signer().await].into();
    assert_eq!(named, [world.signer.address(), second.address()].into(), "payers are spread over the signers");

    for signer in named {
        let payment = world.upto(signer, PRICE);
        assert_eq!(facilitator.flaw(&payment).await, None);
        let before = world.balance(world.payee).await;
        let part = charging(&payment, 1_234);
        let answers = join_all((0..5).map(|_| facilitator.settle(&part))).await;
        assert!(answers.iter().all(|answer| answer.success && answer.amount == Some(1_234.into())), "{answers:?}");
        let hashes: HashSet<_> = answers.iter().map(|answer| answer.transaction_hash().unwrap()).collect();
        assert_eq!(hashes.len(), 1, "asked again, told the same");
        let hash = *hashes.iter().next().unwrap();
        let receipt = world.provider.get_transaction_receipt(hash).await.unwrap().unwrap();
        assert_eq!(receipt.from, signer);
        let paid = world.balance(world.payee).await.checked_sub(before).unwrap();
        assert_eq!(paid, Usdc::from_base_units(1_234));
        let more = facilitator.settle(&charging(&payment, 2_000)).await;
        assert_eq!(more.error_reason, Some(Reason::Permit2AmountMismatch), "a payment is charged once: {more:?}");
        assert_eq!(facilitator.flaw(&payment).await, Some(Reason::Permit2InvalidNonce));
    }
    world.payer = PrivateKeySigner::random();
    world.approve_permit2(U256::MAX).await;
    let poor = world.upto(world.signer.address(), PRICE);
    assert_eq!(facilitator.flaw(&poor).await, Some(Reason::Permit2InsufficientBalance));
}

#[tokio::test]
async fn nothing_due_sends_nothing() {
    let world = World::new().await;
    world.approve_permit2(U256::MAX).await;
    let facilitator = world.serve(&[]).await;
    let payment = world.upto(world.signer.address(), PRICE);
    let settled = facilitator.settle(&charging(&payment, 0)).await;
    assert!(settled.success && settled.transaction.is_empty() && settled.amount == Some(0.into()), "{settled:?}");
    assert_eq!(world.provider.get_transaction_count(world.signer.address()).await.unwrap(), 0);
    let forged = world.upto_altered(world.signer.address(), PRICE, |p, payee| p.from = payee);
    assert_eq!(facilitator.settle(&charging(&forged, 0)).await.error_reason, Some(Reason::Permit2Signature));
}

#[tokio::test]
async fn every_flaw_has_its_official_reason() {
    let world = World::new().await;
    let facilitator = world.serve(&[]).await;
    let signer = world.signer.address();
    assert_eq!(facilitator.flaw(&world.upto(signer, PRICE)).await, Some(Reason::Permit2AllowanceRequired));
    world.approve_permit2(U256::MAX).await;
    let flaws: [(Alter, Reason); 8] = [
        (|p, payee| p.spender = payee, Reason::Permit2Spender),
        (|p, _| p.witness.to = PERMIT2_UPTO_PROXY, Reason::Permit2RecipientMismatch),
        (|p, payee| p.witness.facilitator = payee, Reason::UptoFacilitatorMismatch),
        (|p, _| p.deadline = (now() + 3).into(), Reason::Permit2DeadlineExpired),
        (|p, _| p.witness.valid_after = (now() + 30).into(), Reason::Permit2NotYetValid),
        (|p, _| p.permitted.amount = 1.into(), Reason::Permit2AmountMismatch),
        (|p, payee| p.permitted.token = payee, Reason::Permit2TokenMismatch),
        (|p, payee| p.from = payee, Reason::Permit2Signature),
    ];
    for (alter, reason) in flaws {
        assert_eq!(facilitator.flaw(&world.upto_altered(signer, PRICE, alter)).await, Some(reason));
    }
    let good = world.upto(signer, PRICE);
    let above = facilitator.settle(&charging(&good, PRICE.base_units() + 1)).await;
    assert_eq!(above.error_reason, Some(Reason::UptoSettlementExceedsAmount));

    let mut as_exact = good.clone();
    as_exact.payment_payload.accepted.scheme = "exact".into();
    assert_eq!(facilitator.flaw(&as_exact).await, Some(Reason::UptoScheme));
    let mut elsewhere = good.clone();
    elsewhere.payment_payload.accepted.network = Network::evm(8453);
    assert_eq!(facilitator.flaw(&elsewhere).await, Some(Reason::UptoNetworkMismatch));
    let mut other_kind = good.clone();
    other_kind.payment_payload.payload = world.payment().payment_payload.payload;
    assert_eq!(facilitator.flaw(&other_kind).await, Some(Reason::UnsupportedPayloadType));
    let mut nowhere = world.upto_altered(signer, PRICE, |p, payee| p.permitted.token = payee);
    for offer in [&mut nowhere.payment_requirements, &mut nowhere.payment_payload.accepted] {
        offer.asset = world.payee.to_checksum(None);
    }
    assert_eq!(facilitator.flaw(&nowhere).await, Some(Reason::AssetNotDeployed));

    world.provider.anvil_set_code(PERMIT2_UPTO_PROXY, Default::default()).await.unwrap();
    assert_eq!(facilitator.flaw(&good).await, Some(Reason::Permit2ProxyNotDeployed));
}
