//! Purchases in steps: from the ledger their whole life, every deadline, disputes and crashes between any two steps; through the escrow what the chain
//! has.

use std::time::Duration;

use alloy::{
    network::TransactionBuilder,
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
};
use api::{
    AgentType, Award, BondStatus, Code, DecisionFilter, Initiate, Listing, PaymentMethod, Role, SubmitEvidence, Transaction,
    TransactionActor as Actor, TransactionFilter, TransactionRole, TransactionStatus as Status, VerifyDelivery,
    ledger::{Amount, Asset, Kind, Send},
};
use contracts::usdc::Usdc as Token;
use market::ledger::{self, Hold, Ledger, LedgerError, Move, Order, Purpose, Rates, Refused, What};
use sqlx::PgPool;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::{
    escrow::{agreement, mined, through_escrow},
    funds::{metric, until},
    harness::{BUYER, Market, Member, PRICE, SELLER, World, address, goods, refusal},
};

const GOODS: &[u8] = b"a year of prices";

/// A seller with something that costs 50 ARD, and a buyer with 100.
struct Shop {
    world: World,
    pool: PgPool,
    seller: Member,
    buyer: Member,
    listing: Listing,
}

impl Shop {
    async fn new(market: &Market, world: World) -> Self {
        let seller = market.join("seller", SELLER, AgentType::Seller).await;
        let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
        let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
        let pool = market::pool(world.stack.database_url()).await.unwrap();
        Self { world, pool, seller, buyer, listing }
    }

    fn order(&self) -> Initiate {
        Initiate { listing_id: self.listing.id, buyer: None, payment_method: Some(PaymentMethod::Token) }
    }

    async fn initiated(&self) -> Transaction {
        self.buyer.client.initiate(&self.order()).await.unwrap()
    }

    async fn paid(&self) -> Transaction {
        self.buyer.client.confirm_payment(self.initiated().await.id).await.unwrap()
    }

    async fn delivered(&self) -> Transaction {
        self.seller.client.deliver(self.paid().await.id, self.listing.content_hash.unwrap()).await.unwrap()
    }

    async fn disputed(&self) -> Transaction {
        self.buyer.client.dispute(self.delivered().await.id, &said("half of it is missing")).await.unwrap()
    }

    async fn now(&self, id: Uuid) -> Transaction {
        self.buyer.client.transaction(id).await.unwrap()
    }

    async fn ends(&self, id: Uuid, status: Status) -> Transaction {
        until("it ends", async || self.now(id).await.status == status).await;
        self.now(id).await
    }

    /// Has the time of whoever is to do something pass.
    async fn pass_time(&self, id: Uuid) {
        let pass = "UPDATE transactions SET due_at = now() - interval '1 second' WHERE id = $1 AND due_at IS NOT NULL";
        assert_eq!(sqlx::query(pass).bind(id).execute(&self.pool).await.unwrap().rows_affected(), 1);
    }

    /// Puts a row back to what was decided, as a crash leaves it.
    async fn crash(&self, id: Uuid, status: &str, step: &str) {
        let back = "UPDATE transactions SET status = $2, step = $3, step_at = now(), ended_at = NULL,
             due_at = CASE WHEN $2 = 'payment_pending' THEN now() + interval '1 hour' END,
             to_seller = CASE WHEN $3 = 'settle' THEN coalesce(to_seller, price - given_back) END WHERE id = $1";
        sqlx::query(back).bind(id).bind(status).bind(step).execute(&self.pool).await.unwrap();
    }

    async fn sales(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM sales").fetch_one(&self.pool).await.unwrap()
    }

    async fn step(&self, id: Uuid) -> Option<String> {
        sqlx::query_scalar("SELECT step FROM transactions WHERE id = $1").bind(id).fetch_one(&self.pool).await.unwrap()
    }

    async fn told(&self, member: &Member, id: Uuid) -> Vec<(Status, Actor)> {
        let history = member.client.transaction_history(id).await.unwrap().data;
        history.iter().map(|change| (change.to, change.actor)).collect()
    }
}

/// ARD, free and held.
async fn has(member: &Member) -> (Amount, Amount) {
    let wallet = member.client.wallet().await.unwrap();
    let ard = wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
    (ard.free, ard.held)
}

fn ard(text: &str) -> Amount {
    text.parse().unwrap()
}

fn said(text: &str) -> SubmitEvidence {
    SubmitEvidence { text: text.into(), content_hashes: vec![B256::repeat_byte(1)] }
}

async fn differing(market: &Market, world: &World) -> Vec<Uuid> {
    let staff = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    staff.check_transactions().await.unwrap().differing.iter().map(|difference| difference.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_is_held_until_the_buyer_accepts_and_every_call_may_be_repeated() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let (buyer, seller, hash) = (&shop.buyer.client, &shop.seller.client, shop.listing.content_hash.unwrap());
    let order = buyer.initiate_once(&shop.order(), "one").await.unwrap();
    assert_eq!((order.status, order.price, order.waits_for), (Status::PaymentPending, ard("50"), Some(Actor::Buyer)));
    assert_eq!(order.otherwise, Some(Status::Expired));
    assert_eq!(buyer.initiate_once(&shop.order(), "one").await.unwrap().id, order.id);
    let other = Initiate { payment_method: Some(PaymentMethod::Balance), ..shop.order() };
    assert_eq!(refusal(buyer.initiate_once(&other, "one").await), Code::IdempotencyKeyReused);
    // What is cheap is paid from the ledger, unless somebody else is to fund it.
    let cheap = Initiate { payment_method: None, ..shop.order() };
    assert_eq!(buyer.initiate(&cheap).await.unwrap().payment_method, PaymentMethod::Balance);
    let elses = Initiate { buyer: Some(address(7)), ..cheap };
    assert_eq!(buyer.initiate(&elses).await.unwrap().payment_method, PaymentMethod::Escrow);
    assert_eq!(refusal(seller.initiate(&shop.order()).await), Code::Inconsistent);

    assert_eq!(refusal(seller.deliver(order.id, hash).await), Code::WrongState);
    assert_eq!(refusal(seller.confirm_payment(order.id).await), Code::Forbidden);
    let stranger = market.join("stranger", 7, AgentType::Both).await.client;
    assert_eq!(refusal(stranger.confirm_payment(order.id).await), Code::NotFound);
    assert_eq!(refusal(stranger.transaction(order.id).await), Code::NotFound);
    for _ in 0..2 {
        let paid = buyer.confirm_payment(order.id).await.unwrap();
        assert_eq!((paid.status, paid.waits_for), (Status::PaymentConfirmed, Some(Actor::Seller)));
        assert_eq!(has(&shop.buyer).await, (ard("50"), ard("50")));
    }
    assert_eq!(refusal(buyer.transaction_content(order.id).await), Code::WrongState);
    assert_eq!(refusal(buyer.verify_delivery(order.id, &VerifyDelivery::default()).await), Code::WrongState);
    assert_eq!(refusal(buyer.deliver(order.id, hash).await), Code::Forbidden);
    assert_eq!(refusal(seller.deliver(order.id, B256::ZERO).await), Code::Inconsistent);
    for _ in 0..2 {
        assert_eq!(seller.deliver(order.id, hash).await.unwrap().status, Status::Delivered);
    }
    assert_eq!(buyer.transaction_content(order.id).await.unwrap().body, GOODS);
    assert_eq!(refusal(seller.transaction_content(order.id).await), Code::NotFound);
    assert!(shop.now(order.id).await.read_at.is_some());
    assert_eq!(refusal(seller.verify_delivery(order.id, &VerifyDelivery::default()).await), Code::Forbidden);
    let wrong = VerifyDelivery { content_hash: Some(B256::ZERO) };
    assert_eq!(refusal(buyer.verify_delivery(order.id, &wrong).await), Code::Inconsistent);
    for _ in 0..2 {
        let done = buyer.verify_delivery(order.id, &VerifyDelivery { content_hash: Some(hash) }).await.unwrap();
        assert_eq!((done.status, done.to_seller, done.due_at), (Status::Completed, Some(ard("50")), None));
    }
    // 2 % of it is the fee.
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), ((ard("50"), Amount::ZERO), ard("149")));
    assert_eq!(refusal(buyer.dispute(order.id, &said("too late")).await), Code::WrongState);
    assert_eq!(refusal(seller.give_back(order.id, ard("1")).await), Code::WrongState);
    assert_eq!(
        shop.told(&shop.seller, order.id).await,
        [
            (Status::Initiated, Actor::Buyer),
            (Status::PaymentPending, Actor::Market),
            (Status::PaymentConfirmed, Actor::Market),
            (Status::Delivered, Actor::Seller),
            (Status::Verified, Actor::Buyer),
            (Status::Completed, Actor::Market),
        ]
    );
    // It is a sale like any other.
    assert_eq!((shop.sales().await, buyer.purchase_content(order.id).await.unwrap().body), (1, GOODS.into()));
    until("it counts", async || market.client.reputation(shop.seller.agent.id).await.unwrap().facts.sold == 1).await;
    assert!(differing(&market, &shop.world).await.is_empty());
    seller.delist(shop.listing.id).await.unwrap();
    assert_eq!(buyer.initiate_once(&shop.order(), "one").await.unwrap().id, order.id, "whatever became of the listing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deadline_ends_what_nobody_ends_once_whatever_number_of_instances_look() {
    let world = World::new().await;
    let (market, _other) = (world.market().await, world.market().await);
    let shop = Shop::new(&market, world).await;
    let unpaid = shop.initiated().await;
    shop.pass_time(unpaid.id).await;
    shop.ends(unpaid.id, Status::Expired).await;
    assert_eq!(refusal(shop.buyer.client.confirm_payment(unpaid.id).await), Code::WrongState);

    let undelivered = shop.paid().await;
    shop.pass_time(undelivered.id).await;
    shop.ends(undelivered.id, Status::Refunded).await;
    assert_eq!(has(&shop.buyer).await, (ard("100"), Amount::ZERO));
    let told = shop.told(&shop.buyer, undelivered.id).await;
    assert_eq!(told[3..], [(Status::Expired, Actor::Market), (Status::Refunded, Actor::Market)]);

    let disputed = shop.disputed().await;
    assert_eq!((disputed.waits_for, disputed.otherwise), (Some(Actor::Arbiter), Some(Status::Refunded)));
    shop.pass_time(disputed.id).await;
    shop.ends(disputed.id, Status::Refunded).await;
    assert_eq!(has(&shop.buyer).await, (ard("100"), Amount::ZERO));

    let accepted = shop.delivered().await;
    shop.pass_time(accepted.id).await;
    shop.ends(accepted.id, Status::Completed).await;
    let told = shop.told(&shop.buyer, accepted.id).await;
    assert_eq!(told[4..], [(Status::Verified, Actor::Market), (Status::Completed, Actor::Market)]);
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), ((ard("50"), Amount::ZERO), ard("149")));
    assert_eq!(shop.sales().await, 1);
    // Nobody ruled, so none of it is held against the seller.
    let facts = async || market.client.reputation(shop.seller.agent.id).await.unwrap().facts;
    until("all are counted", async || (facts().await.sold, facts().await.refunded) == (1, 2)).await;
    assert_eq!(facts().await.bad, 0);
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arbiter_divides_what_is_disputed_and_it_is_held_against_the_seller() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let (buyer, seller) = (&shop.buyer.client, &shop.seller.client);
    let order = shop.disputed().await;
    assert_eq!(order.status, Status::Disputed);
    for text in ["nothing is missing", "nothing is missing"] {
        seller.submit_evidence(order.id, &said(text)).await.unwrap();
    }
    for piece in 1..20 {
        buyer.submit_evidence(order.id, &said(&piece.to_string())).await.unwrap();
    }
    assert_eq!(refusal(buyer.submit_evidence(order.id, &said("one more")).await), Code::OverLimit);
    assert_eq!(refusal(buyer.submit_evidence(order.id, &said(&"x".repeat(4_097))).await), Code::InvalidRequest);
    let evidence = seller.evidence(order.id).await.unwrap().data;
    assert_eq!((evidence.len(), evidence[0].by, evidence[1].by), (21, Actor::Buyer, Actor::Seller));

    let award = |to_buyer: &str, to_seller: &str| Award {
        to_buyer: ard(to_buyer),
        to_seller: ard(to_seller),
        reason: "half of it was there".into(),
    };
    let moderator = market.client.with_api_key(&market.staff(shop.world.stack.database_url(), Role::Moderator).await);
    assert_eq!(refusal(moderator.award(order.id, &award("30", "20")).await), Code::Forbidden);
    let arbiter = market.client.with_api_key(&market.staff(shop.world.stack.database_url(), Role::Arbiter).await);
    let cases = arbiter.cases(&TransactionFilter::default()).await.unwrap().data;
    assert_eq!(cases.iter().map(|case| case.id).collect::<Vec<_>>(), [order.id]);
    assert_eq!(arbiter.case(order.id).await.unwrap().evidence, evidence);
    assert_eq!(arbiter.case_content(order.id).await.unwrap().body, GOODS);
    assert_eq!(refusal(arbiter.award(order.id, &award("30", "30")).await), Code::Inconsistent);
    for _ in 0..2 {
        let done = arbiter.award(order.id, &award("30", "20")).await.unwrap();
        assert_eq!((done.status, done.to_seller), (Status::Completed, Some(ard("20"))));
    }
    assert_eq!(refusal(arbiter.award(order.id, &award("20", "30")).await), Code::WrongState);
    assert_eq!(refusal(arbiter.case_content(order.id).await), Code::WrongState, "it is nobody's business any more");
    // 2 % of what was sold is the fee.
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), ((ard("80"), Amount::ZERO), ard("119.6")));

    let order = shop.disputed().await;
    assert_eq!(arbiter.award(order.id, &award("50", "0")).await.unwrap().status, Status::Refunded);
    assert_eq!(refusal(buyer.transaction_content(order.id).await), Code::WrongState);
    // What is less than its fee goes back, too.
    let order = shop.disputed().await;
    assert_eq!(arbiter.award(order.id, &award("49.999999", "0.000001")).await.unwrap().status, Status::Refunded);
    assert_eq!(has(&shop.buyer).await, (ard("80"), Amount::ZERO));
    // Whoever disputes may think better of it.
    let order = shop.disputed().await;
    assert_eq!(buyer.verify_delivery(order.id, &VerifyDelivery::default()).await.unwrap().status, Status::Completed);
    let facts = async || market.client.reputation(shop.seller.agent.id).await.unwrap().facts;
    until("all are counted", async || (facts().await.sold, facts().await.bad) == (1, 3)).await;
    let admin = market.client.with_api_key(&market.staff(shop.world.stack.database_url(), Role::Admin).await);
    let decisions = admin.decisions(&DecisionFilter::default()).await.unwrap().data;
    assert_eq!(decisions.iter().filter(|decision| decision.what == "transaction_awarded").count(), 3);
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_disputes_puts_up_a_bond_that_the_seller_gets_who_gets_most_of_the_price() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let buyer = &shop.buyer.client;
    let send = async |from: &Member, to: &Member, key: &str| {
        let send = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: ard("45"), memo: None };
        from.client.send_money(&send, key).await.unwrap();
    };
    let order = shop.delivered().await;
    // A twentieth would be less than a cent.
    assert_eq!((order.dispute_bond, order.bond), (ard("10"), None));
    send(&shop.buyer, &shop.seller, "away").await;
    assert_eq!(refusal(buyer.dispute(order.id, &said("no")).await), Code::InsufficientFunds);
    assert_eq!((shop.now(order.id).await.status, shop.step(order.id).await), (Status::Delivered, None));
    assert_eq!(has(&shop.buyer).await, (ard("5"), ard("50")), "nothing is disputed, and nothing held for it");
    send(&shop.seller, &shop.buyer, "back").await;
    for _ in 0..2 {
        let order = buyer.dispute(order.id, &said("half of it is missing")).await.unwrap();
        assert_eq!((order.status, order.bond), (Status::Disputed, Some(BondStatus::Held)));
        assert_eq!(has(&shop.buyer).await, (ard("40"), ard("60")));
    }
    let told = shop.told(&shop.seller, order.id).await;
    assert_eq!(told[4..], [(Status::Disputed, Actor::Buyer)], "one that came to nothing is not told");
    // Asked, and the answer was lost.
    let back = "UPDATE transactions SET status = 'delivered', step = 'bond', step_at = now(), bond_state = NULL WHERE id = $1";
    sqlx::query(back).bind(order.id).execute(&shop.pool).await.unwrap();
    assert!(differing(&market, &shop.world).await.is_empty());
    shop.ends(order.id, Status::Disputed).await;
    assert_eq!(has(&shop.buyer).await, (ard("40"), ard("60")));

    let arbiter = market.client.with_api_key(&market.staff(shop.world.stack.database_url(), Role::Arbiter).await);
    let award = async |id: Uuid, to_buyer: &str, to_seller: &str| {
        let award = Award { to_buyer: ard(to_buyer), to_seller: ard(to_seller), reason: "it was there".into() };
        arbiter.award(id, &award).await.unwrap()
    };
    let done = award(order.id, "24.999999", "25.000001").await;
    assert_eq!((done.status, done.bond), (Status::Completed, Some(BondStatus::Forfeited)));
    // Less a fee of 2 %, rounded up, and with the bond, of which there is none.
    let after = ((ard("64.999999"), Amount::ZERO), ard("134.5"));
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), after);
    let back = "UPDATE transactions SET status = 'disputed', step = 'forfeit_bond', step_at = now(), bond_state = 'held', ended_at = NULL
         WHERE id = $1";
    sqlx::query(back).bind(order.id).execute(&shop.pool).await.unwrap();
    shop.ends(order.id, Status::Completed).await;
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), after, "once");

    let order = shop.disputed().await;
    let done = award(order.id, "25", "25").await;
    assert_eq!((done.status, done.bond), (Status::Completed, Some(BondStatus::Returned)));
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), ((ard("39.999999"), Amount::ZERO), ard("159")));
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_gives_back_as_much_as_is_said_and_either_side_gives_up_what_is_not_paid() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let (buyer, seller) = (&shop.buyer.client, &shop.seller.client);
    let order = shop.delivered().await;
    assert_eq!(refusal(buyer.give_back(order.id, ard("10")).await), Code::Forbidden);
    for _ in 0..2 {
        let now = seller.give_back(order.id, ard("10")).await.unwrap();
        assert_eq!((now.status, now.given_back), (Status::Delivered, ard("10")), "the buyer can still dispute");
    }
    assert_eq!(refusal(seller.give_back(order.id, ard("5")).await), Code::Inconsistent);
    assert_eq!(refusal(seller.give_back(order.id, ard("51")).await), Code::Inconsistent);
    let done = buyer.verify_delivery(order.id, &VerifyDelivery::default()).await.unwrap();
    assert_eq!((done.status, done.to_seller), (Status::Completed, Some(ard("40"))));
    assert_eq!((has(&shop.buyer).await, has(&shop.seller).await.0), ((ard("60"), Amount::ZERO), ard("139.2")));

    let order = shop.delivered().await;
    for _ in 0..2 {
        assert_eq!(seller.give_back(order.id, ard("50")).await.unwrap().status, Status::Refunded);
    }
    let order = shop.initiated().await;
    for _ in 0..2 {
        assert_eq!(buyer.cancel_transaction(order.id).await.unwrap().status, Status::Failed);
    }
    assert_eq!(refusal(buyer.confirm_payment(order.id).await), Code::WrongState);
    let order = shop.paid().await;
    for _ in 0..2 {
        let now = buyer.cancel_transaction(order.id).await.unwrap();
        assert_eq!((now.status, now.cancel_wanted), (Status::PaymentConfirmed, true), "the seller has to agree");
    }
    assert_eq!(seller.cancel_transaction(order.id).await.unwrap().status, Status::Refunded);
    assert_eq!(has(&shop.buyer).await, (ard("60"), Amount::ZERO));
    // More than there is cannot be paid, and can be later.
    let (first, second) = (shop.paid().await, shop.initiated().await);
    assert_eq!(refusal(buyer.confirm_payment(second.id).await), Code::InsufficientFunds);
    assert_eq!((shop.now(second.id).await.status, shop.step(second.id).await), (Status::PaymentPending, None));
    seller.cancel_transaction(first.id).await.unwrap();
    assert_eq!(buyer.confirm_payment(second.id).await.unwrap().status, Status::PaymentConfirmed);
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_gives_back_in_so_many_parts_and_then_all_of_it() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let (order, seller) = (shop.delivered().await.id, &shop.seller.client);
    // With the four that made it delivered, one less than there may be.
    let many = "INSERT INTO transaction_changes (transaction_id, from_status, to_status, actor, why)
         SELECT $1, 'delivered', 'delivered', 'seller', 'a part' FROM generate_series(1, 95)";
    sqlx::query(many).bind(order).execute(&shop.pool).await.unwrap();
    assert_eq!(seller.give_back(order, ard("1")).await.unwrap().given_back, ard("1"));
    assert_eq!(refusal(seller.give_back(order, ard("2")).await), Code::OverLimit);
    assert_eq!(seller.give_back(order, ard("50")).await.unwrap().status, Status::Refunded);
    assert_eq!(has(&shop.buyer).await, (ard("100"), Amount::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_to_a_seller_who_left() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let (buyer, paid, unpaid) = (&shop.buyer.client, shop.paid().await.id, shop.initiated().await.id);
    shop.seller.client.deactivate_agent(shop.seller.agent.id).await.unwrap();
    let now = shop.now(unpaid).await;
    assert_eq!((now.status, now.due_at), (Status::Failed, None));
    let history = buyer.transaction_history(unpaid).await.unwrap().data;
    let last = history.last().unwrap();
    assert_eq!((last.to, last.actor, last.why.contains("the seller left")), (Status::Failed, Actor::Market, true));
    assert_eq!(refusal(buyer.confirm_payment(unpaid).await), Code::WrongState);
    // As one is left that another version of the market has just started.
    let started =
        "UPDATE transactions SET status = 'payment_pending', due_at = now() + interval '1 hour', ended_at = NULL WHERE id = $1";
    sqlx::query(started).bind(unpaid).execute(&shop.pool).await.unwrap();
    assert_eq!(refusal(buyer.confirm_payment(unpaid).await), Code::WrongState);
    assert_eq!((shop.now(unpaid).await.status, shop.step(unpaid).await), (Status::PaymentPending, None));
    // What was paid comes back when it is not delivered.
    assert_eq!(has(&shop.buyer).await, (ard("50"), ard("50")));
    shop.pass_time(paid).await;
    shop.ends(paid, Status::Refunded).await;
    assert_eq!(has(&shop.buyer).await, (ard("100"), Amount::ZERO));
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_started_in_a_day_is_counted_of_all_agents_of_a_person() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    let first = shop.initiated().await.id;
    let copies: Vec<Uuid> = (0..998).map(|_| Uuid::now_v7()).collect();
    let many = "INSERT INTO transactions SELECT (jsonb_populate_record(t, jsonb_build_object('id', new.id, 'bond_id', new.id))).*
         FROM transactions AS t, unnest($2::uuid[]) AS new (id) WHERE t.id = $1";
    sqlx::query(many).bind(first).bind(copies).execute(&shop.pool).await.unwrap();
    let second = market.join("second", BUYER, AgentType::Buyer).await.client;
    second.initiate(&shop.order()).await.unwrap();
    assert_eq!(refusal(second.initiate(&shop.order()).await), Code::OverLimit);
    assert_eq!(refusal(shop.buyer.client.initiate(&shop.order()).await), Code::OverLimit);
    market.join("somebody", 7, AgentType::Buyer).await.client.initiate(&shop.order()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_between_two_steps_is_finished_once() {
    let world = World::new().await;
    let market = world.market().await;
    let shop = Shop::new(&market, world).await;
    // Decided, and the ledger was not asked.
    let decided = shop.initiated().await.id;
    shop.crash(decided, "payment_pending", "hold").await;
    shop.ends(decided, Status::PaymentConfirmed).await;
    assert_eq!(has(&shop.buyer).await, (ard("50"), ard("50")));
    // Asked, and the answer was lost.
    shop.crash(decided, "payment_pending", "hold").await;
    shop.ends(decided, Status::PaymentConfirmed).await;
    assert_eq!(has(&shop.buyer).await, (ard("50"), ard("50")));
    // Whoever is killed while it is delivered finds it with another instance.
    market.kill();
    let market = shop.world.market().await;
    let (buyer, seller) = (shop.buyer.client.at(market.url.clone()), shop.seller.client.at(market.url.clone()));
    seller.deliver(decided, shop.listing.content_hash.unwrap()).await.unwrap();
    let status = async |status| until("it goes on", async || buyer.transaction(decided).await.unwrap().status == status).await;
    for step in ["decided", "done"] {
        shop.crash(decided, "verified", "settle").await;
        status(Status::Completed).await;
        assert_eq!(shop.sales().await, 1, "{step}");
    }
    let balance = async |member: &Member, client: &api::Client| {
        let member = Member { client: client.clone(), ..member.clone() };
        has(&member).await
    };
    assert_eq!(
        (balance(&shop.buyer, &buyer).await, balance(&shop.seller, &seller).await.0),
        ((ard("50"), Amount::ZERO), ard("149"))
    );
    // What was decided and cannot be paid is as before.
    let poor = buyer.initiate(&shop.order()).await.unwrap().id;
    let paid = buyer.initiate(&shop.order()).await.unwrap().id;
    buyer.confirm_payment(paid).await.unwrap();
    shop.crash(poor, "payment_pending", "hold").await;
    until("it is given up", async || shop.step(poor).await.is_none()).await;
    assert_eq!(buyer.transaction(poor).await.unwrap().status, Status::PaymentPending);
    seller.cancel_transaction(paid).await.unwrap();
    shop.crash(paid, "expired", "void").await;
    until("it is given back", async || buyer.transaction(paid).await.unwrap().status == Status::Refunded).await;
    assert_eq!(balance(&shop.buyer, &buyer).await, (ard("50"), Amount::ZERO));

    // A payment that comes when nobody waits for it any more is refused by the ledger.
    let open = async |purpose| ledger::open(&shop.pool, shop.buyer.agent.id, Asset::Ard, purpose).await.unwrap();
    let (from, held) = (open(Purpose::Free).await, open(Purpose::Held).await);
    let hold = Hold { id: poor, from, held, amount: ard("50"), expires_at: OffsetDateTime::now_utc() + time::Duration::HOUR };
    let late = Ledger::start(shop.pool.clone(), Rates::default()).submit(Order { key: None, what: What::Pay(hold) }).await;
    assert_eq!(late, Err(LedgerError::Refused(Refused::NotAwaited)));
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_cut_off_anywhere_lose_no_money_and_make_none() {
    let world = World::new().await;
    let (market, other) = (world.market().await, world.market().await);
    let shop = Shop::new(&market, world).await;
    let mut orders = Vec::new();
    for _ in 0..12 {
        orders.push(shop.initiated().await.id);
    }
    let call = async |id: Uuid, at: &Url| {
        let (buyer, seller) = (shop.buyer.client.at(at.clone()), shop.seller.client.at(at.clone()));
        let some = Amount::from_units(u64::from(rand::random::<u32>() % 60_000_000)).unwrap();
        match rand::random::<u8>() % 10 {
            0..=2 => drop(buyer.confirm_payment(id).await),
            3 | 4 => drop(seller.deliver(id, shop.listing.content_hash.unwrap()).await),
            5 => drop(buyer.verify_delivery(id, &VerifyDelivery::default()).await),
            6 => drop(buyer.dispute(id, &said("no")).await),
            7 => drop(seller.give_back(id, some).await),
            8 => drop(seller.cancel_transaction(id).await),
            _ => {
                let pass = sqlx::query("UPDATE transactions SET due_at = now() WHERE id = $1 AND due_at IS NOT NULL");
                pass.bind(id).execute(&shop.pool).await.unwrap();
            }
        }
    };
    // Whoever hangs up ends what is done for the request between any two steps.
    let lives = orders.iter().map(async |id| {
        for turn in 0..16 {
            let at = if turn % 2 == 0 { &market.url } else { &other.url };
            let cut = Duration::from_micros(rand::random::<u64>() % 25_000);
            let _ = tokio::time::timeout(cut, call(*id, at)).await;
        }
    });
    futures::future::join_all(lives).await;
    until("all of them end", async || {
        let pass = "UPDATE transactions SET due_at = now() WHERE due_at > now()";
        sqlx::query(pass).execute(&shop.pool).await.unwrap();
        let open = "SELECT count(*) FROM transactions WHERE due_at IS NOT NULL OR step IS NOT NULL";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&shop.pool).await.unwrap() == 0
    })
    .await;
    let sold = "SELECT to_seller FROM transactions WHERE status = 'completed'";
    let sold: Vec<i64> = sqlx::query_scalar(sold).fetch_all(&shop.pool).await.unwrap();
    let earned: i64 = sold.iter().map(|price| price - (price * 2 + 99) / 100).sum();
    let ended = (has(&shop.buyer).await, has(&shop.seller).await.0.signed());
    let lost = "SELECT coalesce(sum(bond), 0)::bigint FROM transactions WHERE bond_state = 'forfeited'";
    let lost: i64 = sqlx::query_scalar(lost).fetch_one(&shop.pool).await.unwrap();
    let spent = Amount::from_units(100_000_000 - (sold.iter().sum::<i64>() + lost).unsigned_abs()).unwrap();
    assert_eq!(ended, ((spent, Amount::ZERO), 100_000_000 + earned + lost));
    assert_eq!(shop.sales().await, sold.len() as i64);
    assert!(differing(&market, &shop.world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_through_the_escrow_are_listed_and_told_as_the_chain_has_them() {
    let world = World::new().await;
    let market = Market::start(market::Config { arbiter: Some(address(8)), ..world.config() }).await;
    let shop = Shop::new(&market, world).await;
    let (buyer, seller, provider) = (&shop.buyer.client, &shop.seller.client, shop.world.stack.provider());
    let from_ledger = shop.paid().await;
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(buyer.initiate(&through_escrow(shop.listing.id, BUYER)).await.unwrap());
    }
    let order = orders[0].clone();
    assert_eq!(refusal(buyer.confirm_payment(order.id).await), Code::WrongState);
    let token = Token::new(shop.world.stack.deployment().usdc, provider);
    mined(token.approve(agreement(&order).escrow, U256::MAX).from(address(BUYER))).await;
    // What the market says to call is what the contract takes.
    let send = async |order: &Transaction, function: &str, account: usize| {
        let now = buyer.transaction(order.id).await.unwrap();
        let call = agreement(&now).calls.into_iter().find(|call| call.function == function);
        send_call(&shop.world, &now, call.unwrap_or_else(|| panic!("{function} of {now:?}")), account).await;
        buyer.transaction(order.id).await.unwrap()
    };
    assert_eq!(send(&order, "fund", BUYER).await.status, Status::PaymentConfirmed);
    assert_eq!(buyer.confirm_payment(order.id).await.unwrap().status, Status::PaymentConfirmed);
    assert_eq!(refusal(buyer.verify_delivery(order.id, &VerifyDelivery::default()).await), Code::WrongState);
    let delivered = send(&order, "markDelivered", SELLER).await;
    assert_eq!(
        (delivered.status, delivered.waits_for, delivered.otherwise),
        (Status::Delivered, Some(Actor::Buyer), Some(Status::Completed))
    );
    assert_eq!(buyer.transaction_content(order.id).await.unwrap().body, GOODS);
    assert_eq!(refusal(buyer.dispute(order.id, &said("half of it")).await), Code::WrongState, "only the chain disputes");
    assert_eq!(send(&order, "dispute", BUYER).await.status, Status::Disputed);
    seller.submit_evidence(order.id, &said("all of it is there")).await.unwrap();
    let arbiter = market.client.with_api_key(&market.staff(shop.world.stack.database_url(), Role::Arbiter).await);
    let half = Amount::from_units(PRICE.base_units() / 2).unwrap();
    let award = Award { to_buyer: half, to_seller: half, reason: "half of it was there".into() };
    let told = arbiter.award(order.id, &award).await.unwrap();
    assert_eq!(told.status, Status::Disputed, "the arbiter's account sends it");
    let resolve = agreement(&told).calls.into_iter().find(|call| call.function == "resolve").unwrap();
    send_call(&shop.world, &told, resolve, 8).await;
    let done = buyer.transaction(order.id).await.unwrap();
    assert_eq!((done.status, done.to_seller, done.given_back), (Status::Completed, Some(half), half));
    let history = seller.transaction_history(order.id).await.unwrap().data;
    assert_eq!(
        history.iter().map(|change| (change.to, change.actor)).collect::<Vec<_>>(),
        [
            (Status::Initiated, Actor::Buyer),
            (Status::PaymentPending, Actor::Market),
            (Status::PaymentConfirmed, Actor::Buyer),
            (Status::Delivered, Actor::Seller),
            (Status::Disputed, Actor::Buyer),
            (Status::Completed, Actor::Arbiter),
        ]
    );
    assert!(history[2..].iter().all(|change| change.transaction_hash.is_some()));

    send(&orders[1], "fund", BUYER).await;
    let listed = async |client: &api::Client, filter: TransactionFilter| {
        let mut rows = Vec::new();
        let mut filter = TransactionFilter { limit: Some(2), ..filter };
        loop {
            let page = client.transactions(&filter).await.unwrap();
            rows.extend(page.data.iter().map(|row| (row.id, row.status)));
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                return rows;
            }
        }
    };
    let all = [
        (orders[2].id, Status::PaymentPending),
        (orders[1].id, Status::PaymentConfirmed),
        (orders[0].id, Status::Completed),
        (from_ledger.id, Status::PaymentConfirmed),
    ];
    assert_eq!(listed(buyer, TransactionFilter::default()).await, all);
    let sells = TransactionFilter { role: Some(TransactionRole::Seller), ..TransactionFilter::default() };
    assert_eq!(listed(seller, sells.clone()).await, all);
    assert!(listed(buyer, sells).await.is_empty());
    let confirmed = TransactionFilter { status: Some(Status::PaymentConfirmed), ..TransactionFilter::default() };
    assert_eq!(listed(buyer, confirmed).await, [all[1], all[3]]);

    // What is written down and is not so shows.
    assert!(differing(&market, &shop.world).await.is_empty());
    let change = async |change: &'static str| {
        for id in [orders[0].id, from_ledger.id] {
            sqlx::query(change).bind(id).execute(&shop.pool).await.unwrap();
        }
        sqlx::query("UPDATE transaction_checks SET checked_at = 'epoch'").execute(&shop.pool).await.unwrap();
    };
    change(
        "UPDATE transactions SET outcome = CASE WHEN method = 'escrow' THEN 'released' ELSE outcome END,
             status = CASE WHEN method = 'escrow' THEN NULL ELSE 'completed' END, delivered_at = now() WHERE id = $1",
    )
    .await;
    assert_eq!(differing(&market, &shop.world).await, [from_ledger.id], "what was ruled to both is released");
    until("it is counted", async || metric(&market, "market_transactions_differing ").await == 1).await;
    change(
        "UPDATE transactions SET outcome = NULL, status = CASE WHEN method = 'escrow' THEN NULL ELSE 'payment_confirmed' END WHERE id = $1",
    )
    .await;
    until("it is well again", async || metric(&market, "market_transactions_differing ").await == 0).await;
}

/// Sends what the market says to call, and waits until the mirror has it.
async fn send_call(world: &World, order: &Transaction, call: api::EscrowCall, account: usize) {
    let request = TransactionRequest::default().with_from(address(account)).with_to(agreement(order).escrow);
    let sent = world.stack.provider().send_transaction(request.with_input(call.data)).await.unwrap();
    assert!(sent.get_receipt().await.unwrap().status(), "{}", call.function);
    world.mirrored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usdc_of_the_ledger_pays_as_well_and_large_purchases_go_through_the_escrow() {
    let world = World::new().await;
    let market = Market::start(market::Config { escrow_from: PRICE, ..world.config() }).await;
    let shop = Shop::new(&market, world).await;
    let large = Initiate { payment_method: None, ..shop.order() };
    assert_eq!(shop.buyer.client.initiate(&large).await.unwrap().payment_method, PaymentMethod::Escrow);
    let to = ledger::open(&shop.pool, shop.buyer.agent.id, Asset::Usdc, Purpose::Free).await.unwrap();
    let amount = Asset::Usdc.price_of(PRICE).unwrap();
    let deposit = Move { kind: Kind::Deposit, from: ledger::OUTSIDE, to, amount, reference: Uuid::now_v7(), memo: None };
    let bank = Ledger::start(shop.pool.clone(), Rates::default());
    bank.submit(Order { key: None, what: What::Move(deposit) }).await.unwrap();
    let order = Initiate { payment_method: Some(PaymentMethod::Balance), ..shop.order() };
    let order = shop.buyer.client.initiate(&order).await.unwrap();
    shop.buyer.client.confirm_payment(order.id).await.unwrap();
    shop.seller.client.deliver(order.id, order.content_hash).await.unwrap();
    let done = shop.buyer.client.verify_delivery(order.id, &VerifyDelivery::default()).await.unwrap();
    assert_eq!((done.status, done.asset), (Status::Completed, Asset::Usdc));
    let earned = shop.seller.client.wallet().await.unwrap().balances;
    assert_eq!(earned.iter().find(|balance| balance.asset == Asset::Usdc).unwrap().free, ard("0.049"));
}
