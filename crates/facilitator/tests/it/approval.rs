//! Payments by Permit2 from payers without coin or allowance, for tokens without EIP-2612: their signed approval comes along.

use alloy::{
    consensus::TxEip1559,
    eips::eip2718::Encodable2718,
    network::TransactionBuilder,
    primitives::{Address, Bytes, TxKind, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::usdc::Usdc as Token;
use futures::future::join_all;
use serde_json::Value;
use x402::{
    ERC20_APPROVAL_GAS_SPONSORING, Erc20Approval, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequest, Reason, SettleResponse,
    VerifyResponse,
};

use crate::harness::{Facilitator, PRICE, World};

const GWEI: u128 = 1_000_000_000;
pub(crate) const GENEROUS: [&str; 2] = ["--approval-gas-max", "1000000000000000"];

type Alter = fn(&mut TxEip1559);

impl World {
    pub(crate) async fn approval(&self, alter: Alter) -> Erc20Approval {
        self.approval_by(&self.payer, alter).await
    }

    /// The payer's approval, altered before `signer` signs it.
    async fn approval_by(&self, signer: &PrivateKeySigner, alter: Alter) -> Erc20Approval {
        let payer = self.payer.address();
        let nonce = self.provider.get_transaction_count(payer).await.unwrap();
        let mut transaction = Erc20Approval::unsigned(self.deployment.chain_id, self.deployment.usdc, nonce, 3 * GWEI, GWEI);
        alter(&mut transaction);
        let signature = signer.sign_hash_sync(&alloy::consensus::SignableTransaction::signature_hash(&transaction)).unwrap();
        Erc20Approval { asset: self.deployment.usdc, ..Erc20Approval::signed(payer, transaction, signature) }
    }

    async fn allowance(&self) -> U256 {
        let token = Token::new(self.deployment.usdc, &self.provider);
        token.allowance(self.payer.address(), PERMIT2).call().await.unwrap()
    }

    async fn coin(&self) -> U256 {
        self.provider.get_balance(self.payer.address()).await.unwrap()
    }
}

pub(crate) fn with(mut payment: PaymentRequest, approval: &Erc20Approval) -> PaymentRequest {
    approval.add_to(payment.payment_payload.extensions.get_or_insert_default());
    payment
}

impl Facilitator {
    async fn verdict(&self, payment: &PaymentRequest) -> VerifyResponse {
        serde_json::from_value(self.post("verify", payment).await.1).unwrap()
    }
}

#[tokio::test]
async fn a_payer_without_coin_or_allowance_pays_with_an_approval() {
    let world = World::new().await;
    let facilitator = world.serve(&GENEROUS).await;
    let payment = with(world.permit2_payment(), &world.approval(|_| ()).await);
    let verdict = facilitator.verdict(&payment).await;
    assert!(verdict.is_valid, "{verdict:?}");
    assert_eq!((world.coin().await, world.allowance().await), (U256::ZERO, U256::ZERO), "asking costs nothing");

    let answers = join_all((0..10).map(|_| facilitator.settle(&payment))).await;
    assert!(answers.iter().all(|answer| answer.success && answer.transaction == answers[0].transaction), "{answers:?}");
    let price: U256 = PRICE.into();
    let left = U256::MAX - price;
    assert_eq!((world.balance(world.payee).await, world.allowance().await), (PRICE, left), "Circle's token counts down");
    let gifts = world.until("SELECT count(*) FROM facilitator.settlements WHERE method = 'gas'", |_| true).await;
    assert_eq!(gifts, 1, "ten requests for one payment are given coin once");
    assert!(world.coin().await < U256::from(70_000 * 3 * GWEI));

    let next = facilitator.settle(&world.permit2_payment()).await;
    assert!(next.success, "from now on Permit2 may: {next:?}");
    let supported: Value = reqwest::get(format!("{}/supported", facilitator.url)).await.unwrap().json().await.unwrap();
    assert!(supported["extensions"].as_array().unwrap().iter().any(|name| name == ERC20_APPROVAL_GAS_SPONSORING));
}

#[tokio::test]
async fn upto_is_carried_the_same_way() {
    let world = World::new().await;
    let facilitator = world.serve(&GENEROUS).await;
    let signer = facilitator.upto_signer().await;
    let payment = with(world.upto(signer, PRICE), &world.approval(|_| ()).await);
    assert!(facilitator.verdict(&payment).await.is_valid);
    let settled = facilitator.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
}

#[tokio::test]
async fn every_flaw_of_an_approval_has_its_official_reason_and_costs_nothing() {
    let world = World::new().await;
    let facilitator = world.serve(&GENEROUS).await;
    let before = world.provider.get_balance(world.signer.address()).await.unwrap();
    let good = world.approval(|_| ()).await;
    let of_payer: [(Alter, Reason); 12] = [
        (|t| t.to = TxKind::Call(PERMIT2), Reason::Erc20ApprovalTxWrongTarget),
        (|t| t.to = TxKind::Create, Reason::Erc20ApprovalTxWrongTarget),
        (|t| t.input = Bytes::from_static(&[1, 2, 3, 4]), Reason::Erc20ApprovalTxWrongSelector),
        (|t| t.input = t.input.slice(..36), Reason::Erc20ApprovalTxInvalidCalldata),
        (|t| t.input = approves(PERMIT2_EXACT_PROXY, U256::MAX), Reason::Erc20ApprovalTxWrongSpender),
        (|t| t.input = approves(PERMIT2, U256::from(9_999)), Reason::Erc20ApprovalTxInvalidCalldata),
        (|t| t.chain_id = 1, Reason::Erc20ApprovalTxFailed),
        (|t| t.nonce = 1, Reason::Erc20ApprovalTxFailed),
        (|t| t.value = U256::ONE, Reason::Erc20ApprovalTxFailed),
        (|t| t.gas_limit = 30_000, Reason::Erc20ApprovalTxFailed),
        (|t| t.gas_limit = 100_001, Reason::Erc20ApprovalTxFailed),
        (|t| t.max_fee_per_gas = 1_000_000 * GWEI, Reason::Erc20ApprovalBroadcastFailed),
    ];
    let mut flaws = Vec::new();
    for (alter, reason) in of_payer {
        flaws.push((world.approval(alter).await, reason));
    }
    let altered = |alter: fn(&mut Erc20Approval)| {
        let mut approval = good.clone();
        alter(&mut approval);
        approval
    };
    flaws.extend([
        (altered(|a| a.from = PERMIT2), Reason::Erc20ApprovalFromMismatch),
        (altered(|a| a.asset = PERMIT2), Reason::Erc20ApprovalAssetMismatch),
        (altered(|a| a.spender = PERMIT2_EXACT_PROXY), Reason::Erc20ApprovalSpenderNotPermit2),
        (altered(|a| a.signed_transaction = Bytes::from_static(b"nonsense")), Reason::Erc20ApprovalTxParseFailed),
        (
            altered(|a| a.signed_transaction = [&a.signed_transaction[..], &[0]].concat().into()),
            Reason::Erc20ApprovalTxParseFailed,
        ),
        (altered(|a| a.signed_transaction = vec![2; 2_000].into()), Reason::Erc20ApprovalFormat),
        (world.approval_by(&PrivateKeySigner::random(), |_| ()).await, Reason::Erc20ApprovalTxSignerMismatch),
        (unrecoverable(&world).await, Reason::Erc20ApprovalTxInvalidSignature),
    ]);
    for (approval, reason) in flaws {
        let payment = with(world.permit2_payment(), &approval);
        let verdict = facilitator.verdict(&payment).await;
        assert_eq!((verdict.is_valid, verdict.invalid_reason.as_ref()), (false, Some(&reason)), "{verdict:?}");
        assert_eq!(facilitator.settle(&payment).await.error_reason, Some(reason));
    }
    assert_eq!(world.provider.get_balance(world.signer.address()).await.unwrap(), before, "nobody was given anything");

    // Who only repeats the server's words has no approval, and without the operator's word none is carried.
    let mut echoed = world.permit2_payment();
    let words = [(ERC20_APPROVAL_GAS_SPONSORING.to_owned(), Erc20Approval::declaration())];
    echoed.payment_payload.extensions = Some(words.into_iter().collect());
    assert_eq!(facilitator.settle(&echoed).await.error_reason, Some(Reason::Permit2AllowanceRequired));
    facilitator.kill().await;
    let refused = world.serve(&[]).await.settle(&with(world.permit2_payment(), &good)).await;
    assert_eq!(refused.error_reason, Some(Reason::Permit2AllowanceRequired));
}

/// `r` is no point's coordinate.
async fn unrecoverable(world: &World) -> Erc20Approval {
    let transaction = Erc20Approval::unsigned(world.deployment.chain_id, world.deployment.usdc, 0, 3 * GWEI, GWEI);
    let signature = alloy::primitives::Signature::new(U256::ZERO, U256::ONE, false);
    Erc20Approval::signed(world.payer.address(), transaction, signature)
}

fn approves(spender: Address, amount: U256) -> Bytes {
    use alloy::sol_types::SolCall;
    Token::approveCall { spender, value: amount }.abi_encode().into()
}

/// Until the pool holds a transaction of `sender`.
pub(crate) async fn until_pending(world: &World, sender: Address) {
    let mined = world.provider.get_transaction_count(sender).await.unwrap();
    let pending = async {
        while world.provider.get_transaction_count(sender).pending().await.unwrap() == mined {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), pending).await.expect("a transaction is sent");
}

#[tokio::test]
async fn a_crash_between_any_two_steps_gives_once_and_pays_once() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = with(world.permit2_payment(), &world.approval(|_| ()).await);
    let steps = [world.signer.address(), world.payer.address(), world.signer.address()];
    let flags = [GENEROUS.as_slice(), &["--confirm-timeout-seconds", "1"]].concat();
    for sender in steps {
        // Each instance is killed as soon as it has sent the next transaction, and before it hears of its end.
        let facilitator = world.serve(&flags).await;
        let asked = facilitator.post("settle", &payment);
        let sent = until_pending(&world, sender);
        tokio::select! {
            answer = asked => panic!("nothing is mined: {answer:?}"),
            () = sent => {}
        }
        facilitator.kill().await;
        world.provider.anvil_mine(Some(1), None).await.unwrap();
    }
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    let settled = world.serve(&GENEROUS).await.settle(&payment).await;
    assert!(settled.success, "{settled:?}");
    assert_eq!(world.balance(world.payee).await, PRICE);
    assert_eq!(world.provider.get_transaction_count(world.signer.address()).await.unwrap(), 2, "one gift, one settlement");
    assert_eq!(world.provider.get_transaction_count(world.payer.address()).await.unwrap(), 1, "one approval");
}

#[tokio::test]
async fn who_spends_the_gift_otherwise_is_given_no_second_one() {
    let world = World::new().await;
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let payment = with(world.permit2_payment(), &world.approval(|_| ()).await);
    let facilitator = world.serve(&GENEROUS).await;
    let spend = async {
        until_pending(&world, world.signer.address()).await;
        facilitator_sees_gift(&world).await;
    };
    let (answer, ()) = tokio::join!(facilitator.settle(&payment), spend);
    assert_refused(&answer, &Reason::Erc20ApprovalTxFailed);
    let again = facilitator.settle(&payment).await;
    assert_refused(&again, &Reason::Erc20ApprovalTxFailed);
    let gifts = world.until("SELECT count(*) FROM facilitator.settlements WHERE method = 'gas'", |_| true).await;
    assert_eq!((gifts, world.allowance().await), (1, U256::ZERO));
}

#[tokio::test]
async fn many_approvals_of_one_nonce_are_worth_one_gift() {
    let world = World::new().await;
    let facilitator = world.serve(&GENEROUS).await;
    let dear = world.approval(|t| t.max_priority_fee_per_gas = 2 * GWEI).await;
    let payments = [world.approval(|_| ()).await, dear].map(|approval| with(world.permit2_payment(), &approval));
    join_all(payments.iter().map(|payment| facilitator.settle(payment))).await;
    let gifts = world.until("SELECT count(*) FROM facilitator.settlements WHERE method = 'gas'", |_| true).await;
    assert_eq!(gifts, 1);
    for payment in &payments {
        let settled = facilitator.settle(payment).await;
        assert!(settled.success, "one of them approved for both: {settled:?}");
    }
}

fn assert_refused(answer: &SettleResponse, reason: &Reason) {
    assert_eq!((answer.success, answer.error_reason.as_ref()), (false, Some(reason)), "{answer:?}");
}

/// Mines the gift together with another transaction of the payer's, which uses the approval's nonce.
async fn facilitator_sees_gift(world: &World) {
    let other = TransactionRequest::default()
        .with_from(world.payer.address())
        .with_to(world.payee)
        .with_nonce(0)
        .with_chain_id(world.deployment.chain_id)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(9 * GWEI)
        .with_max_priority_fee_per_gas(9 * GWEI);
    let wallet = alloy::network::EthereumWallet::from(world.payer.clone());
    let other = alloy::network::NetworkTransactionBuilder::build(other, &wallet).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    // First in the pool: the approval that follows is refused for its nonce.
    let _ = world.provider.send_raw_transaction(&other.encoded_2718()).await.unwrap();
    world.provider.anvil_mine(Some(1), None).await.unwrap();
    world.provider.anvil_set_auto_mine(true).await.unwrap();
}
