//! Deposits into channels by Permit2, and what a payer takes back without the seller.

use alloy::{
    network::TransactionBuilder,
    primitives::{Bytes, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use contracts::usdc::Usdc as Token;
use money::Usdc;
use x402::{
    Eip2612Permit, PERMIT2, PaymentRequest, Permit2Permitted, Reason, TokenDomain,
    batch::{
        BATCH_CONTRACT, BatchPayload, Deposit, DepositAuthorization, DepositPayload, PERMIT2_COLLECTOR, Permit2Deposit,
        Permit2DepositWitness, VoucherPayload, finalize_withdraw_call, initiate_withdraw_call,
    },
};

use crate::{
    approval::{GENEROUS, with},
    channels::{Parties, sign, state, verify},
    harness::now,
};

const DEPOSITED: u128 = 100_000;

type Alter = fn(&mut Permit2Deposit);

impl Parties {
    /// A deposit by Permit2, altered before it is signed.
    pub(crate) fn by_permit2(&self, alter: Alter) -> PaymentRequest {
        let mut deposit = Permit2Deposit {
            from: self.config.payer,
            permitted: Permit2Permitted { token: self.config.token, amount: U256::from(DEPOSITED).into() },
            spender: PERMIT2_COLLECTOR,
            nonce: U256::from_be_bytes(PrivateKeySigner::random().to_bytes().0).into(),
            deadline: (now() + 60).into(),
            witness: Permit2DepositWitness { channel_id: self.id() },
            signature: Bytes::new(),
        };
        alter(&mut deposit);
        deposit.signature = sign(&self.world.payer, deposit.signing_hash(self.chain.id));
        let deposit = Deposit { amount: DEPOSITED, authorization: DepositAuthorization::Permit2Authorization(deposit) };
        let payload = DepositPayload { channel_config: self.config, voucher: self.voucher(10_000), deposit };
        let mut request = self.request(BatchPayload::Deposit(payload));
        request.payment_requirements = request.payment_requirements.by_permit2();
        request.payment_payload.accepted = request.payment_requirements.clone();
        request
    }

    /// The same with a permit for Permit2.
    pub(crate) async fn with_permit(&self, alter: fn(&mut Eip2612Permit)) -> PaymentRequest {
        let mut request = self.by_permit2(|_| ());
        let domain = TokenDomain::of(&request.payment_requirements).unwrap();
        let nonce = Token::new(self.config.token, &self.world.provider).nonces(self.config.payer).call().await.unwrap();
        let (amount, deadline) = (U256::from(DEPOSITED).into(), (now() + 60).into());
        let mut permit = Eip2612Permit::unsigned(&domain, self.config.payer, amount, nonce.into(), deadline);
        alter(&mut permit);
        permit.signature = sign(&self.world.payer, permit.signing_hash(&domain));
        permit.add_to(request.payment_payload.extensions.get_or_insert_default());
        request
    }

    /// A transaction of the payer's own; whether the chain did as it says.
    async fn sends(&self, input: Bytes) -> bool {
        let (provider, payer) = (&self.world.provider, self.config.payer);
        let nonce = provider.get_transaction_count(payer).await.unwrap();
        let sent = TransactionRequest::default().with_from(payer).with_to(BATCH_CONTRACT).with_input(input);
        let sent = provider.send_transaction(sent.with_nonce(nonce).with_gas_limit(500_000)).await.unwrap();
        sent.get_receipt().await.unwrap().status()
    }
}

#[tokio::test]
async fn a_deposit_by_permit2_needs_an_allowance_a_permit_or_an_approval() {
    for way in ["allowance", "permit", "approval"] {
        let parties = Parties::new().await;
        let facilitator = parties.world.serve(&GENEROUS).await;
        let deposit = match way {
            "allowance" => {
                parties.world.approve_permit2(U256::from(DEPOSITED)).await;
                parties.by_permit2(|_| ())
            }
            "permit" => parties.with_permit(|_| ()).await,
            _ => with(parties.by_permit2(|_| ()), &parties.world.approval(|_| ()).await),
        };
        let verdict = verify(&facilitator, &deposit).await;
        assert!(verdict.is_valid, "{way}: {verdict:?}");
        let copies = futures::future::join_all((0..4).map(|_| facilitator.settle(&deposit))).await;
        assert!(copies.iter().all(|copy| copy.success && copy.transaction == copies[0].transaction), "{way}: {copies:?}");
        assert_eq!((state(&copies[0]), copies[0].amount), ((DEPOSITED, 0), Some(U256::from(DEPOSITED).into())), "{way}");
        assert_eq!(parties.world.balance(BATCH_CONTRACT).await, Usdc::from_base_units(100_000), "{way}: once");

        let claimed = facilitator.settle(&parties.claims(vec![parties.claim(10_000, 10_000)])).await;
        assert!(claimed.success, "{way}: {claimed:?}");
    }
}

#[tokio::test]
async fn every_flaw_of_a_deposit_by_permit2_has_its_official_name() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve(&[]).await;
    let mut by_other_method = parties.by_permit2(|_| ());
    for terms in [&mut by_other_method.payment_requirements, &mut by_other_method.payment_payload.accepted] {
        terms.extra.as_mut().unwrap().insert("assetTransferMethod".into(), "eip3009".into());
    }
    let mut not_by_permit2 = parties.request(BatchPayload::Deposit(parties.deposit(DEPOSITED, 10_000)));
    for terms in [&mut not_by_permit2.payment_requirements, &mut not_by_permit2.payment_payload.accepted] {
        *terms = terms.clone().by_permit2();
    }
    let flaws = [
        (by_other_method, Reason::BatchErc3009Required),
        (not_by_permit2, Reason::BatchPermit2Required),
        (parties.by_permit2(|d| d.spender = PERMIT2), Reason::BatchPermit2InvalidSpender),
        (parties.by_permit2(|d| d.permitted.amount = 1.into()), Reason::BatchPermit2AmountMismatch),
        (parties.by_permit2(|d| d.permitted.token = PERMIT2), Reason::BatchTokenMismatch),
        (parties.by_permit2(|d| d.deadline = (now() + 3).into()), Reason::BatchPermit2DeadlineExpired),
        (parties.by_permit2(|d| d.from = PERMIT2), Reason::BatchPermit2InvalidSignature),
        (parties.by_permit2(|_| ()), Reason::BatchPermit2AllowanceRequired),
        (parties.with_permit(|p| p.amount = 1.into()).await, Reason::BatchEip2612AmountMismatch),
        (with(parties.by_permit2(|_| ()), &parties.world.approval(|_| ()).await), Reason::BatchErc20ApprovalUnavailable),
    ];
    for (deposit, reason) in flaws {
        let verdict = verify(&facilitator, &deposit).await;
        assert_eq!(verdict.invalid_reason.as_ref(), Some(&reason), "{:?}", verdict.invalid_message);
        assert_eq!(facilitator.settle(&deposit).await.error_reason, Some(reason));
    }
}

#[tokio::test]
async fn a_payer_takes_its_money_back_without_the_seller_but_not_what_was_claimed_in_time() {
    let parties = Parties::new().await;
    let facilitator = parties.world.serve(&[]).await;
    parties.world.approve_permit2(U256::from(DEPOSITED)).await;
    assert!(facilitator.settle(&parties.by_permit2(|_| ())).await.success);
    let before = parties.world.balance(parties.config.payer).await;

    assert!(!parties.sends(finalize_withdraw_call(&parties.config)).await, "nothing was announced");
    assert!(parties.sends(initiate_withdraw_call(&parties.config, DEPOSITED)).await);
    assert!(!parties.sends(finalize_withdraw_call(&parties.config)).await, "the seller has time to claim");
    let voucher = VoucherPayload { channel_config: parties.config, voucher: parties.voucher(30_000) };
    let seen = verify(&facilitator, &parties.request(BatchPayload::Voucher(voucher))).await;
    let told = x402::batch::ChannelState::from_extra(seen.extra.as_ref()).unwrap();
    assert!(told.withdraw_requested_at > 0, "the seller is told: {told:?}");
    let claimed = facilitator.settle(&parties.claims(vec![parties.claim(30_000, 30_000)])).await;
    assert!(claimed.success, "{claimed:?}");

    parties.world.provider.anvil_increase_time(901).await.unwrap();
    parties.world.provider.anvil_mine(Some(1), None).await.unwrap();
    assert!(parties.sends(finalize_withdraw_call(&parties.config)).await);
    let given_back = Usdc::from_base_units(70_000);
    assert_eq!(parties.world.balance(parties.config.payer).await, before.checked_add(given_back).unwrap());
    assert!(!parties.sends(finalize_withdraw_call(&parties.config)).await, "once");
    let paid = facilitator.settle(&parties.payout()).await;
    assert_eq!((paid.success, paid.amount), (true, Some(30_000.into())), "{paid:?}");
    assert_eq!(parties.world.balance(BATCH_CONTRACT).await, Usdc::ZERO);
}
