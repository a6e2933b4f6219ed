//! Payment channels on chain: deposits, claims, payouts and refunds, each once and each refused by its official name.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    signers::{SignerSync, local::PrivateKeySigner},
};
use money::Usdc;
use serde_json::json;
use x402::{
    PaymentPayload, PaymentRequest, PaymentRequirements, Reason, SettleResponse, TokenDomain, V2, VerifyResponse,
    batch::{
        BatchPayload, Chain, ChannelConfig, ChannelState, Claim, ClaimVoucher, Deposit, DepositAuthorization, DepositPayload,
        Erc3009Deposit, RefundPayload, Voucher, VoucherPayload,
    },
};

use crate::harness::{Facilitator, World, now};

/// A payer's and a seller's keys on one channel.
pub(crate) struct Parties {
    pub(crate) world: World,
    pub(crate) authorizer: PrivateKeySigner,
    pub(crate) config: ChannelConfig,
    pub(crate) chain: Chain,
}

impl Parties {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let authorizer = PrivateKeySigner::random();
        let config = ChannelConfig {
            payer: world.payer.address(),
            payer_authorizer: world.payer.address(),
            receiver: world.payee,
            receiver_authorizer: authorizer.address(),
            token: world.deployment.usdc,
            withdraw_delay: 900,
            salt: B256::ZERO,
        };
        let chain = Chain::new(world.deployment.chain_id);
        Self { world, authorizer, config, chain }
    }

    pub(crate) fn id(&self) -> B256 {
        self.chain.channel_id(&self.config)
    }

    pub(crate) fn requirements(&self) -> PaymentRequirements {
        self.world.requirements().by_channel(self.authorizer.address(), 900)
    }

    pub(crate) fn request(&self, payload: BatchPayload) -> PaymentRequest {
        let accepted = self.requirements();
        let (payment_requirements, payload) = (accepted.clone(), payload.to_json());
        let payment_payload = PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None };
        PaymentRequest { x402_version: V2, payment_payload, payment_requirements }
    }

    pub(crate) fn voucher(&self, ceiling: u128) -> Voucher {
        let signature = sign(&self.world.payer, self.chain.voucher_hash(self.id(), ceiling));
        Voucher { channel_id: self.id(), max_claimable_amount: ceiling, signature }
    }

    pub(crate) fn deposit(&self, amount: u128, ceiling: u128) -> DepositPayload {
        let (zero, salt) = (U256::ZERO.into(), PrivateKeySigner::random().to_bytes());
        let valid_before = (now() + 60).into();
        let mut authorization = Erc3009Deposit { valid_after: zero, valid_before, salt, signature: Bytes::new() };
        let token = TokenDomain::of(&self.requirements()).unwrap();
        let hash = authorization.signing_hash(self.config.payer, self.id(), amount, &token);
        authorization.signature = sign(&self.world.payer, hash);
        let deposit = Deposit { amount, authorization: DepositAuthorization::Erc3009Authorization(authorization) };
        DepositPayload { channel_config: self.config, voucher: self.voucher(ceiling), deposit }
    }

    pub(crate) fn claim(&self, ceiling: u128, total: u128) -> Claim {
        let voucher = ClaimVoucher { channel: self.config, max_claimable_amount: ceiling };
        Claim { voucher, signature: self.voucher(ceiling).signature, total_claimed: total }
    }

    pub(crate) fn claims(&self, claims: Vec<Claim>) -> PaymentRequest {
        let signature = sign(&self.authorizer, self.chain.claim_batch_hash(&claims));
        self.request(BatchPayload::Claim { claims, claim_authorizer_signature: Some(signature) })
    }

    pub(crate) fn refund(&self, amount: u128, nonce: u64, claims: Vec<Claim>) -> RefundPayload {
        let nonce = U256::from(nonce);
        RefundPayload {
            channel_config: self.config,
            voucher: self.voucher(claims.first().map_or(0, |claim| claim.total_claimed)),
            amount: Some(amount),
            refund_nonce: Some(nonce.into()),
            refund_authorizer_signature: Some(sign(&self.authorizer, self.chain.refund_hash(self.id(), nonce, amount))),
            claim_authorizer_signature: Some(sign(&self.authorizer, self.chain.claim_batch_hash(&claims))),
            claims: Some(claims),
        }
    }

    pub(crate) fn payout(&self) -> PaymentRequest {
        self.request(BatchPayload::Settle { receiver: self.config.receiver, token: self.config.token })
    }
}

pub(crate) fn sign(key: &PrivateKeySigner, hash: B256) -> Bytes {
    key.sign_hash_sync(&hash).unwrap().as_bytes().into()
}

pub(crate) async fn verify(facilitator: &Facilitator, request: &PaymentRequest) -> VerifyResponse {
    serde_json::from_value(facilitator.post("verify", request).await.1).unwrap()
}

pub(crate) fn state(response: &SettleResponse) -> (u128, u128) {
    let state = ChannelState::from_extra(response.extra.as_ref()).unwrap();
    (state.balance, state.total_claimed)
}

#[tokio::test]
async fn money_goes_in_is_claimed_paid_out_and_given_back_once_each() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve(&[]).await;
    let deposit = parties.request(BatchPayload::Deposit(parties.deposit(100_000, 10_000)));

    let verdict = verify(&facilitator, &deposit).await;
    assert!(verdict.is_valid, "{verdict:?}");
    let copies = futures::future::join_all((0..8).map(|_| facilitator.settle(&deposit))).await;
    assert!(copies[0].success, "{:?}", copies[0]);
    assert!(copies.iter().all(|copy| copy.transaction == copies[0].transaction), "one deposit, every caller told the same");
    assert_eq!((state(&copies[0]), copies[0].amount), ((100_000, 0), Some(100_000.into())));

    let voucher = |ceiling| {
        let payload = VoucherPayload { channel_config: parties.config, voucher: parties.voucher(ceiling) };
        parties.request(BatchPayload::Voucher(payload))
    };
    let verdict = verify(&facilitator, &voucher(100_000)).await;
    assert!(verdict.is_valid, "{verdict:?}");
    assert_eq!(ChannelState::from_extra(verdict.extra.as_ref()).unwrap().balance, 100_000);
    assert_eq!(verify(&facilitator, &voucher(100_001)).await.invalid_reason, Some(Reason::BatchCumulativeExceedsBalance));

    let claims = parties.claims(vec![parties.claim(40_000, 30_000)]);
    let claimed = facilitator.settle(&claims).await;
    assert!(claimed.success, "{claimed:?}");
    assert_eq!(facilitator.settle(&claims).await.transaction, claimed.transaction, "a claim that comes again is the same claim");
    assert_eq!(verify(&facilitator, &voucher(30_000)).await.invalid_reason, Some(Reason::BatchCumulativeBelowClaimed));

    let paid = facilitator.settle(&parties.payout()).await;
    assert!(paid.success, "{paid:?}");
    assert_eq!(paid.amount, Some(30_000.into()));
    assert_eq!(parties.world.balance(parties.world.payee).await, Usdc::from_base_units(30_000));
    assert_eq!(facilitator.settle(&parties.payout()).await.error_reason, Some(Reason::BatchNothingToSettle));

    let before = parties.world.balance(parties.config.payer).await;
    let refund = parties.request(BatchPayload::Refund(parties.refund(60_000, 0, vec![parties.claim(40_000, 40_000)])));
    let refunded = facilitator.settle(&refund).await;
    assert!(refunded.success, "{refunded:?}");
    assert_eq!((state(&refunded), refunded.amount), ((40_000, 40_000), Some(60_000.into())));
    assert_eq!(facilitator.settle(&refund).await.transaction, refunded.transaction);
    assert_eq!(parties.world.balance(parties.config.payer).await, before.checked_add(Usdc::from_base_units(60_000)).unwrap());
}

#[tokio::test]
async fn each_flaw_has_its_official_name() {
    let mut parties = Parties::new().await;
    let facilitator = parties.world.serve(&[]).await;
    let stranger = PrivateKeySigner::random();
    let deposit = |change: &dyn Fn(&mut DepositPayload)| {
        let mut payload = parties.deposit(100_000, 10_000);
        change(&mut payload);
        parties.request(BatchPayload::Deposit(payload))
    };
    let signed = |p: &mut DepositPayload, change: &dyn Fn(&mut Erc3009Deposit)| {
        let DepositAuthorization::Erc3009Authorization(authorization) = &mut p.deposit.authorization else { unreachable!() };
        change(authorization);
    };
    let mut unnamed = deposit(&|_| {});
    for terms in [&mut unnamed.payment_requirements, &mut unnamed.payment_payload.accepted] {
        terms.extra.as_mut().unwrap().remove("version");
    }
    let mut other_scheme = deposit(&|_| {});
    other_scheme.payment_payload.accepted.scheme = "exact".into();
    let mut other_network = deposit(&|_| {});
    other_network.payment_payload.accepted.network = x402::Network::evm(8453);
    let mut malformed = deposit(&|_| {});
    malformed.payment_payload.payload.insert("type".into(), json!("gift"));
    let no_money = VoucherPayload { channel_config: parties.config, voucher: parties.voucher(1) };
    let verified = [
        (deposit(&|p| p.voucher.channel_id = B256::ZERO), Reason::BatchChannelIdMismatch),
        (deposit(&|p| p.voucher.signature = sign(&stranger, B256::ZERO)), Reason::BatchVoucherSignature),
        (deposit(&|p| signed(p, &|a| a.signature = sign(&stranger, B256::ZERO))), Reason::BatchReceiveSignature),
        (deposit(&|p| signed(p, &|a| a.valid_before = now().into())), Reason::BatchValidBefore),
        (deposit(&|p| signed(p, &|a| a.valid_after = (now() + 60).into())), Reason::BatchValidAfter),
        (parties.request(BatchPayload::Deposit(parties.deposit(u128::MAX, 1))), Reason::BatchInsufficientBalance),
        (parties.request(BatchPayload::Deposit(parties.deposit(10, 11))), Reason::BatchCumulativeExceedsBalance),
        (parties.request(BatchPayload::Deposit(parties.deposit(10, 0))), Reason::BatchCumulativeBelowClaimed),
        (parties.request(BatchPayload::Deposit(parties.deposit(0, 0))), Reason::BatchCumulativeBelowClaimed),
        (unnamed, Reason::BatchMissingEip712Domain),
        (other_scheme, Reason::BatchInvalidScheme),
        (other_network, Reason::BatchNetworkMismatch),
        (malformed, Reason::BatchPayloadType),
        (parties.request(BatchPayload::Voucher(no_money)), Reason::BatchChannelNotFound),
    ];
    for (request, reason) in verified {
        let verdict = verify(&facilitator, &request).await;
        assert_eq!(verdict.invalid_reason, Some(reason), "{:?}", verdict.invalid_message);
    }

    let unsigned = BatchPayload::Claim { claims: vec![parties.claim(1, 1)], claim_authorizer_signature: None };
    let no_consent = RefundPayload { refund_authorizer_signature: None, ..parties.refund(1, 0, vec![]) };
    let refund = |amount| parties.request(BatchPayload::Refund(parties.refund(amount, 0, vec![])));
    let settled = [
        (parties.request(unsigned.clone()), Reason::BatchAuthorizerNotConfigured),
        (parties.request(BatchPayload::Refund(no_consent)), Reason::BatchAuthorizerNotConfigured),
        (parties.claims(vec![parties.claim(1, 1)]), Reason::BatchClaimSimulationFailed),
        (parties.claims(vec![]), Reason::BatchPayloadType),
        (refund(0), Reason::BatchRefundNoBalance),
        (refund(1), Reason::BatchRefundNoBalance),
        (parties.payout(), Reason::BatchNothingToSettle),
    ];
    for (request, reason) in settled {
        let answer = facilitator.settle(&request).await;
        assert_eq!(answer.error_reason, Some(reason), "{:?}", answer.error_message);
    }
    let deposited = facilitator.settle(&deposit(&|_| {})).await;
    assert!(deposited.success, "{deposited:?}");
    let wrong_nonce = parties.request(BatchPayload::Refund(parties.refund(1, 7, vec![])));
    assert_eq!(facilitator.settle(&wrong_nonce).await.error_reason, Some(Reason::BatchRefundSimulationFailed));
    facilitator.kill().await;

    // A facilitator that is the receiver's authorizer signs claims, but only of channels that say so, and never a refund.
    parties.authorizer = stranger;
    let key = format!("{:x}", parties.authorizer.to_bytes());
    let facilitator = parties.world.serve(&["--channel-authorizer-key", &key]).await;
    let supported: x402::SupportedResponse =
        reqwest::get(format!("{}/supported", facilitator.url)).await.unwrap().json().await.unwrap();
    let kind = supported.kinds.iter().find(|kind| kind.scheme == "batch-settlement").unwrap();
    let told: Address = serde_json::from_value(kind.extra.as_ref().unwrap()["receiverAuthorizer"].clone()).unwrap();
    assert_eq!(told, parties.authorizer.address());
    assert_eq!(facilitator.settle(&parties.request(unsigned)).await.error_reason, Some(Reason::BatchAuthorizerAddressMismatch));
    parties.config.receiver_authorizer = told;
    let deposit = parties.request(BatchPayload::Deposit(parties.deposit(100_000, 10_000)));
    assert!(facilitator.settle(&deposit).await.success);
    let unsigned = |total| BatchPayload::Claim { claims: vec![parties.claim(total, total)], claim_authorizer_signature: None };
    // Of a channel to somebody else who named our key: one claim for each unit would have us pay for the gas of all.
    let dust = facilitator.settle(&parties.request(unsigned(9_999))).await;
    assert_eq!(dust.error_reason, Some(Reason::from("payment_below_minimum")));
    let claimed = facilitator.settle(&parties.request(unsigned(10_000))).await;
    assert!(claimed.success, "{claimed:?}");
}

/// The facilitator pays for every transaction, so none is sent that does nothing: whoever asks makes up channels for nothing.
#[tokio::test]
async fn no_transaction_is_sent_that_does_nothing() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve(&["--min-payment", "10"]).await;
    let sent = async || parties.world.provider.get_transaction_count(parties.world.signer.address()).await.unwrap();
    let made_up = |change: &dyn Fn(&mut ChannelConfig)| {
        let mut claim = parties.claim(0, 0);
        change(&mut claim.voucher.channel);
        parties.claims(vec![claim])
    };
    let payout = |receiver, token| parties.request(BatchPayload::Settle { receiver, token });
    let other = parties.world.signer.address();
    let for_nothing = [
        (made_up(&|_| {}), Reason::BatchNothingToSettle),
        (made_up(&|config| config.salt = B256::repeat_byte(7)), Reason::BatchNothingToSettle),
        (made_up(&|config| config.token = other), Reason::BatchTokenMismatch),
        (made_up(&|config| config.receiver = other), Reason::BatchReceiverMismatch),
        (payout(other, parties.config.token), Reason::BatchReceiverMismatch),
        (payout(parties.config.receiver, other), Reason::BatchTokenMismatch),
    ];
    for (request, reason) in for_nothing {
        assert_eq!(facilitator.settle(&request).await.error_reason, Some(reason));
    }
    assert_eq!(sent().await, 0);

    let deposit = parties.request(BatchPayload::Deposit(parties.deposit(100_000, 10_000)));
    assert!(facilitator.settle(&deposit).await.success);
    let little = facilitator.settle(&parties.claims(vec![parties.claim(9, 9)])).await;
    assert_eq!(
        little.error_reason,
        Some(Reason::from("payment_below_minimum")),
        "by the unit a channel would cost more than it holds"
    );
    // What nobody signed waits for no turn, so that a crowd of it takes none from the seller.
    let stranger = PrivateKeySigner::random();
    let forged = (0..40_u128).map(|more| {
        let claims = vec![parties.claim(10_000 + more, 10_000)];
        let signature = sign(&stranger, parties.chain.claim_batch_hash(&claims));
        parties.request(BatchPayload::Claim { claims, claim_authorizer_signature: Some(signature) })
    });
    let forged: Vec<_> = forged.collect();
    for answer in futures::future::join_all(forged.iter().map(|claim| facilitator.settle(claim))).await {
        assert_eq!(answer.error_reason, Some(Reason::BatchClaimSimulationFailed));
    }
    // The same amount under other ceilings, all at once: every one of them would do something, were it alone.
    let copies: Vec<_> = (0..6).map(|more| parties.claims(vec![parties.claim(10_000 + more, 10_000)])).collect();
    let answers = futures::future::join_all(copies.iter().map(|copy| facilitator.settle(copy))).await;
    let nothing = answers.iter().filter(|answer| answer.error_reason == Some(Reason::BatchNothingToSettle));
    assert_eq!((nothing.count(), sent().await), (5, 2), "a deposit and one claim: {answers:?}");
    let part = parties.request(BatchPayload::Refund(parties.refund(9, 0, vec![])));
    assert_eq!(facilitator.settle(&part).await.error_reason, Some(Reason::from("payment_below_minimum")));
}
