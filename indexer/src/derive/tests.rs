//! Each event, as its contract declares it, reaches the state it changes.
#![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

use alloy::{
    primitives::{
        Address, B256, U256,
        aliases::{U40, U56, U88, U96},
    },
    sol_types::SolEvent,
};
use contracts::{
    agent_wallet::{AgentWallet, IAgentWallet},
    escrow::{Escrow, IEscrow},
    payment_router::{ISubscriptions, PaymentRouter},
    service_registry::{IServiceRegistry, ServiceRegistry},
    treasury::{ITreasury, Treasury as TreasuryContract},
};
use serde_json::{Value, json};

use super::{
    agreement::Agreement,
    objects::{At, Object},
    proposal::Proposal,
    service::Service,
    subscription::Subscription,
    treasury::Treasury,
    wallet::Wallet,
};
use crate::{block::Event, decode, node::Log, watch::Kind};

const CONTRACT: Address = Address::repeat_byte(0xcc);
const ALICE: Address = Address::repeat_byte(0xa1);
const BOB: Address = Address::repeat_byte(0xb0);
const TOKEN: Address = Address::repeat_byte(0x70);
const ID: B256 = B256::repeat_byte(0x1d);

/// A state and the events that made it; every event must change something.
struct Fold<T> {
    kind: Kind,
    state: T,
}

impl<T: Object> Fold<T> {
    fn new(kind: Kind) -> Self {
        Self { kind, state: T::default() }
    }

    fn then(mut self, event: impl SolEvent) -> Self {
        let data = event.encode_log_data();
        let log = Log { address: CONTRACT, topics: data.topics().iter().copied().collect(), data: data.data.clone() };
        let event = Event { log_index: 0, tx_index: 0, kind: self.kind, decoded: decode::event(&log), log };
        let (_, change) = T::change(&event).unwrap_or_else(|| panic!("{:?} changes nothing", event.decoded));
        let before = self.state.clone();
        self.state.apply(change, At { block: 7, time: 1_000, contract: CONTRACT });
        assert!(before != self.state, "{:?} changes nothing", event.decoded);
        self
    }

    fn json(&self) -> Value {
        serde_json::to_value(&self.state).unwrap()
    }
}

fn funded() -> Fold<Agreement> {
    let terms = IEscrow::Terms {
        buyer: ALICE,
        seller: BOB,
        arbiter: Address::ZERO,
        token: TOKEN,
        amount: U256::from(100),
        feeBps: 500,
        feeRecipient: CONTRACT,
        deliverBy: 9,
        reviewPeriod: 1,
        arbitrationPeriod: 1,
        disputeBond: U256::from(3),
        defaultOutcome: 0,
        contentHash: B256::repeat_byte(2),
        agentId: U256::ZERO,
        salt: B256::ZERO,
    };
    Fold::new(Kind::Deployed).then(Escrow::AgreementFunded { id: ID, buyer: ALICE, seller: BOB, terms })
}

fn release(amount: u64, fee: u64, released: u64) -> Escrow::AgreementReleased {
    let [amount, fee, released] = [amount, fee, released].map(U256::from);
    Escrow::AgreementReleased { id: ID, by: ALICE, amount, fee, released }
}

#[test]
fn an_agreement_is_released_when_all_of_it_is() {
    let delivered = Escrow::AgreementDelivered { id: ID, deliveryHash: B256::repeat_byte(3), reviewEnds: U256::from(11) };
    let agreement = funded()
        .then(Escrow::AgreementToppedUp { id: ID, amount: U256::from(20), funded: U256::from(120) })
        .then(delivered)
        .then(release(60, 3, 60));
    assert_eq!(agreement.json()["status"], "delivered");
    assert_eq!(agreement.json()["window_ends"], 11);
    let agreement = agreement.then(release(60, 3, 120)).json();
    assert_eq!(
        (&agreement["status"], &agreement["fee"], &agreement["released"]),
        (&json!("released"), &json!("6"), &json!("120"))
    );
    assert_eq!((&agreement["token"], &agreement["terms"]["feeBps"]), (&json!(TOKEN), &json!("500")));
}

#[test]
fn what_was_not_released_is_refunded_or_divided() {
    let refunded = funded().then(release(40, 2, 40)).then(Escrow::AgreementRefunded { id: ID, by: BOB, amount: U256::from(60) });
    let refunded = refunded.json();
    assert_eq!(
        (&refunded["status"], &refunded["refunded"], &refunded["released"]),
        (&json!("refunded"), &json!("60"), &json!("40"))
    );

    let [to_seller, to_buyer, fee] = [66, 30, 4].map(U256::from);
    let divided = funded()
        .then(Escrow::AgreementDisputed { id: ID, bond: U256::from(3), arbitrationEnds: U256::from(20) })
        .then(Escrow::AgreementResolved { id: ID, by: BOB, toSeller: to_seller, toBuyer: to_buyer, fee, bondTo: BOB })
        .json();
    assert_eq!(
        (&divided["status"], &divided["refunded"], &divided["released"]),
        (&json!("resolved"), &json!("30"), &json!("70"))
    );
}

#[test]
fn an_operator_that_is_added_again_starts_from_nothing() {
    let policy = IAgentWallet::Policy {
        paymentMax: U56::from(5),
        dailyLimit: U56::from(50),
        approvalAbove: U56::from(9),
        expiresAt: Default::default(),
        onlyAllowed: true,
    };
    let add = |lane| AgentWallet::OperatorAdded { operator: BOB, lane, epoch: lane };
    let wallet = Fold::<Wallet>::new(Kind::AgentWallet)
        .then(AgentWallet::WalletInitialized { owner: ALICE, guardian: Address::ZERO })
        .then(add(1))
        .then(AgentWallet::PolicyChanged { operator: BOB, token: TOKEN, policy })
        .then(AgentWallet::RecipientChanged { operator: BOB, recipient: ALICE, allowed: true })
        .then(AgentWallet::OperatorFrozen { operator: BOB, by: ALICE })
        .then(AgentWallet::EpochChanged { operator: BOB, epoch: 2 });
    let operator = &wallet.json()["operators"][BOB.to_string().to_lowercase()];
    assert_eq!(operator["policies"][TOKEN.to_string().to_lowercase()]["dailyLimit"], "50");
    assert_eq!((&operator["frozen"], &operator["epoch"], &operator["recipients"]), (&json!(true), &json!(2), &json!([ALICE])));

    let wallet = wallet.then(AgentWallet::OperatorRemoved { operator: BOB, lane: 1 }).then(add(3)).json();
    let operator = &wallet["operators"][BOB.to_string().to_lowercase()];
    assert_eq!((&operator["policies"], &operator["frozen"], &operator["since_block"]), (&json!({}), &json!(false), &json!(7)));
}

#[test]
fn a_policy_that_is_removed_takes_its_allowlist_along() {
    let policy = ITreasury::Policy { dailyLimit: U56::from(7), orderMax: U56::ZERO, approvalAbove: U56::ZERO, onlyAllowed: true };
    let treasury = Fold::<Treasury>::new(Kind::Treasury)
        .then(TreasuryContract::OwnerAdded { owner: ALICE })
        .then(TreasuryContract::GuardianSet { guardian: BOB, active: true })
        .then(TreasuryContract::PolicySet { spender: BOB, token: TOKEN, policy, epoch: 1, by: CONTRACT })
        .then(TreasuryContract::RecipientAllowed { spender: BOB, token: TOKEN, recipient: ALICE, from: 5 })
        .then(TreasuryContract::Paused { by: BOB });
    assert_eq!(treasury.json()["paused"], true);
    let treasury = treasury.then(TreasuryContract::PolicyRemoved { spender: BOB, token: TOKEN, epoch: 2, by: ALICE }).json();
    assert_eq!((&treasury["policies"], &treasury["owners"]), (&json!({}), &json!([ALICE])));
}

#[test]
fn a_scheduled_change_shows_who_approved_and_how_it_ended() {
    let change = ITreasury::Change { calls: vec![], nonce: U256::from(4), validUntil: 9, ownerEpoch: 1 };
    let proposal = Fold::<Proposal>::new(Kind::Treasury)
        .then(TreasuryContract::Approved { id: ID, owner: ALICE })
        .then(TreasuryContract::ChangeScheduled { id: ID, readyAt: 8, change })
        .then(TreasuryContract::ChangeCancelled { id: ID, by: BOB })
        .json();
    assert_eq!(
        (&proposal["status"], &proposal["kind"], &proposal["ready_at"]),
        (&json!("cancelled"), &json!("change"), &json!(8))
    );
    assert_eq!((&proposal["approvals"], &proposal["content"]["nonce"]), (&json!([ALICE]), &json!("4")));
}

#[test]
fn a_subscription_says_what_is_due_next_and_when_it_ended() {
    let terms = ISubscriptions::SubscriptionTerms {
        payer: ALICE,
        payee: BOB,
        token: TOKEN,
        amount: U96::from(5),
        totalMax: U96::from(500),
        start: U40::from(1_000),
        trial: 100,
        period: 10,
        catchUpMax: 0,
        salt: B256::ZERO,
    };
    let charged = PaymentRouter::SubscriptionCharged {
        id: ID,
        payer: ALICE,
        payee: BOB,
        token: TOKEN,
        amount: U256::from(5),
        firstPeriod: U256::from(3),
        periods: U256::from(1),
        charged: U256::from(5),
    };
    let subscription = Fold::<Subscription>::new(Kind::Deployed)
        .then(PaymentRouter::SubscriptionCreated { id: ID, payer: ALICE, payee: BOB, firstPeriod: U256::from(2), terms })
        .then(charged)
        .then(PaymentRouter::SubscriptionPriceChanged { id: ID, oldPrice: U256::from(5), price: U256::from(4) });
    let json = subscription.json();
    assert_eq!((&json["next_period"], &json["next_due"]), (&json!(4), &json!(1_140)), "start + trial + 4 periods");
    assert_eq!((&json["charged"], &json["price"], &json["total_max"]), (&json!("5"), &json!("4"), &json!("500")));
    assert_eq!((&json["status"], &json["end_period"]), (&json!("active"), &Value::Null));
    let json = subscription.then(PaymentRouter::SubscriptionCancelled { id: ID, by: BOB, endPeriod: U256::from(4) }).json();
    assert_eq!((&json["status"], &json["end_period"]), (&json!("cancelled"), &json!(4)));
}

#[test]
fn a_wallet_lists_so_many_recipients_and_says_that_there_are_more() {
    let allow = |recipient: u64, allowed| AgentWallet::RecipientChanged {
        operator: ALICE,
        recipient: Address::left_padding_from(&recipient.to_be_bytes()),
        allowed,
    };
    let mut wallet =
        Fold::<Wallet>::new(Kind::AgentWallet).then(AgentWallet::OperatorAdded { operator: ALICE, lane: 1, epoch: 1 });
    for recipient in 1..=1_001 {
        wallet = wallet.then(allow(recipient, true));
    }
    let listed = |wallet: &Value| {
        let operator = wallet["operators"].as_object().unwrap().values().next().unwrap().clone();
        (operator["recipients"].as_array().unwrap().len(), operator["more_recipients"].clone())
    };
    assert_eq!(listed(&wallet.json()), (1_000, json!(true)));
    assert_eq!(listed(&wallet.then(allow(7, false)).json()), (999, json!(true)));
}

#[test]
fn a_service_keeps_books_on_its_stake_and_counts_announced_parties_once_their_time_has_come() {
    let offer = IServiceRegistry::Offer {
        endpoint: "https://service.example".into(),
        metadataURI: "ipfs://about".into(),
        metadataHash: ID,
        pricing: 2,
        token: TOKEN,
        price: U88::from(7),
        period: 0,
        agentId: U256::from(9),
    };
    let announce = |changes_at| ServiceRegistry::PartiesAnnounced {
        service: ID,
        payee: CONTRACT,
        arbiter: ALICE,
        changesAt: U256::from(changes_at),
    };
    let [one, two, five, twenty] = [1, 2, 5, 20].map(U256::from);
    let service = Fold::<Service>::new(Kind::Deployed)
        .then(ServiceRegistry::ServiceRegistered { service: ID, owner: ALICE, payee: BOB, arbiter: CONTRACT, salt: ID })
        .then(ServiceRegistry::OfferPublished { service: ID, offerHash: ID, offer })
        .then(ServiceRegistry::StakeAdded { service: ID, from: ALICE, amount: twenty, stake: twenty })
        .then(ServiceRegistry::UnbondingBegun { service: ID, amount: five, unbonding: five, unbondsAt: U256::from(99) })
        .then(ServiceRegistry::StakeSlashed { service: ID, agreement: ID, buyer: BOB, amount: five + one, fromUnbonding: five })
        .then(announce(2_000));
    let json = service.json();
    assert_eq!((&json["stake"], &json["unbonding"], &json["slashed"]), (&json!("14"), &json!("0"), &json!("6")));
    assert_eq!((&json["offer"]["metadata_uri"], &json["offer"]["price"]), (&json!("ipfs://about"), &json!("7")));
    assert_eq!((&json["payee"], &json["announced"]["payee"]), (&json!(BOB), &json!(CONTRACT)), "its time has not come");
    let mut later = service.state.clone();
    later.advance(2_000);
    assert_eq!((later.payee, later.arbiter, later.announced), (CONTRACT, ALICE, None), "no event tells that it has");

    let rated = |disputed, score, amount| ServiceRegistry::FeedbackGiven {
        service: ID,
        payer: BOB,
        payment: ID,
        amount,
        disputed,
        score,
        uri: String::new(),
        contentHash: B256::ZERO,
    };
    let json = service.then(announce(900)).then(rated(false, 80, five)).then(rated(true, 10, two)).json();
    assert_eq!((&json["payee"], &json["arbiter"], &json["announced"]), (&json!(CONTRACT), &json!(ALICE), &Value::Null));
    assert_eq!((&json["settled"], &json["disputed"]), (&json!(1), &json!(1)));
    assert_eq!((&json["volume"], &json["score_sum"]), (&json!("7"), &json!("420")));
}
