use api::{
    AgentType, Code, Login, PayoutMethod, Role, UpdateCreator,
    ledger::{Amount, Asset, HandedOver, Kind, Redeem, Redemption, RedemptionFilter, RedemptionMethod, RedemptionStatus, Refuse},
};
use market::ledger::{self, Ledger, Move, Order, Purpose, Rates, What};

use crate::{
    funds::{metric, until},
    harness::{BUYER, Market, Member, PASSWORD, World, refusal},
};

fn ard(text: &str) -> Amount {
    text.parse().unwrap()
}

async fn balance(member: &Member) -> (Amount, Amount) {
    let wallet = member.client.wallet().await.unwrap();
    let balance = wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
    (balance.free, balance.held)
}

async fn word(
    market: &Market,
    staff: &str,
    redemption: &Redemption,
    path: &str,
    body: impl serde::Serialize,
) -> reqwest::StatusCode {
    let url = market.url.join(&format!("api/v1/redemptions/admin/{}/{path}", redemption.id)).unwrap();
    reqwest::Client::new().post(url).bearer_auth(staff).json(&body).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn ard_is_held_until_it_is_handed_over_and_given_back_otherwise() {
    let world = World::new().await;
    let market = world.market().await;
    let staff = market.staff(world.stack.database_url(), Role::Finance).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let ask = |method, amount: &str| Redeem {
        method,
        amount: ard(amount),
        details: (method != RedemptionMethod::ApiCredits).then(|| "me@example.com".into()),
    };
    let (credits, card) = (RedemptionMethod::ApiCredits, RedemptionMethod::GiftCard);
    assert_eq!(refusal(agent.client.redeem(&ask(credits, "99.999999"), "a").await), Code::InvalidRequest);
    assert_eq!(refusal(agent.client.redeem(&ask(card, "1000"), "a").await), Code::InsufficientFunds);
    let done = agent.client.redeem(&ask(credits, "100"), "a").await.unwrap();
    assert_eq!((done.status, balance(&agent).await), (RedemptionStatus::Completed, (Amount::ZERO, Amount::ZERO)));
    assert_eq!(agent.client.redeem(&ask(credits, "100"), "a").await.unwrap().id, done.id);
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let credited: i64 = sqlx::query_scalar("SELECT sum(credits)::bigint FROM api_credits").fetch_one(&pool).await.unwrap();
    assert_eq!(credited, 100_000_000);

    give(&pool, agent.agent.id, "5000").await;
    let cards: Vec<Redemption> = {
        let asked = ["b", "c", "d", "e"].map(|key| (key, ask(card, "1000")));
        futures::future::try_join_all(asked.iter().map(|(key, asked)| agent.client.redeem(asked, key))).await.unwrap()
    };
    assert_eq!((cards[0].worth_usd, balance(&agent).await), (ard("0.95"), (ard("1000"), ard("4000"))));
    let no = Refuse { reason: "no".into() };
    assert_eq!(word(&market, &staff, &cards[0], "approve", ()).await, 200);
    assert_eq!(word(&market, &staff, &cards[0], "complete", HandedOver { receipt: "card 7".into() }).await, 200);
    assert_eq!(word(&market, &staff, &cards[1], "approve", ()).await, 200);
    assert_eq!(word(&market, &staff, &cards[1], "reject", no.clone()).await, 200);
    assert_eq!(word(&market, &staff, &cards[2], "reject", no.clone()).await, 200);
    assert_eq!(word(&market, &staff, &cards[2], "approve", ()).await, 409);
    assert_eq!(agent.client.cancel_redemption(cards[3].id).await.unwrap().status, RedemptionStatus::Cancelled);
    assert_eq!(refusal(agent.client.cancel_redemption(cards[0].id).await), Code::WrongState);
    let stands = async |i: usize| agent.client.redemption(cards[i].id).await.unwrap().status;
    use RedemptionStatus::{Cancelled, Completed, Failed, Rejected};
    assert_eq!([stands(0).await, stands(1).await, stands(2).await, stands(3).await], [Completed, Failed, Rejected, Cancelled]);
    assert_eq!(balance(&agent).await, (ard("4000"), Amount::ZERO));
}

/// Credits somebody, as sales would.
pub(crate) async fn give(pool: &sqlx::PgPool, owner: uuid::Uuid, amount: &str) {
    let to = ledger::open(pool, owner, Asset::Ard, Purpose::Free).await.unwrap();
    let gift = Move { kind: Kind::Bonus, from: ledger::MINT, to, amount: ard(amount), reference: owner, memo: None };
    Ledger::start(pool.clone(), Rates::default()).submit(Order { key: None, what: What::Move(gift) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn creators_are_paid_out_once_a_month_the_way_they_chose() {
    let world = World::new().await;
    // Two instances pay out, each with all it has.
    let (market, _other) = (world.market().await, world.market().await);
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let over = async || {
        let over = "SELECT bool_and(ended_at IS NOT NULL) FROM payout_months";
        sqlx::query_scalar::<_, Option<bool>>(over).fetch_one(&pool).await.unwrap() == Some(true)
    };
    until("this month's payouts are over", &over).await;
    let chosen = |method| UpdateCreator {
        payout_method: Some(method),
        payout_details: Some([("to".into(), "name@bank".into())].into_iter().collect()),
        ..UpdateCreator::default()
    };
    let join = async |name: &str, method: PayoutMethod, amount: &str| {
        let session = market.creator(&format!("{name}@example.com")).await;
        let client = market.client.with_token(&session.access);
        let nowhere = UpdateCreator { payout_details: None, ..chosen(PayoutMethod::Upi) };
        assert_eq!(refusal(client.update_creator(&nowhere).await), Code::InvalidRequest);
        client.update_creator(&chosen(method)).await.unwrap();
        give(&pool, session.creator.id, amount).await;
        (client, session.creator.id)
    };
    let (rich, rich_id) = join("rich", PayoutMethod::Upi, "12000").await;
    let (poor, _) = join("poor", PayoutMethod::Bank, "9999.999999").await;
    let (none, _) = join("none", PayoutMethod::None, "50100").await;
    let (staff, staff_id) = join("staff", PayoutMethod::GiftCard, "10000").await;
    market::grant(world.stack.database_url(), "staff@example.com", Role::Finance).await.unwrap();

    let payouts = async |client: &api::Client| client.redemptions(&RedemptionFilter::default()).await.unwrap().data;
    // A month passes.
    sqlx::query("UPDATE payout_months SET month = '2000-01'").execute(&pool).await.unwrap();
    until("the next month is begun", async || payouts(&rich).await.len() == 1 && payouts(&staff).await.len() == 1).await;
    until("it is over", &over).await;
    // As after a crash: it is walked again.
    sqlx::query("UPDATE payout_months SET ended_at = NULL, walked_to = DEFAULT WHERE month > '2000-01'")
        .execute(&pool)
        .await
        .unwrap();
    until("it is over again", &over).await;
    let [payout] = &payouts(&rich).await[..] else { panic!("not one payout") };
    assert_eq!((payout.owner_id, payout.amount, payout.method), (rich_id, ard("12000"), RedemptionMethod::Upi));
    assert_eq!((payout.status, payout.payout_month.is_some()), (RedemptionStatus::Pending, true));
    assert!(payout.details.as_ref().unwrap().contains("name@bank"));
    assert!(payouts(&poor).await.is_empty() && payouts(&none).await.is_empty());

    // Nobody approves their own, nor does a creator whose role is none.
    let login = async |name: &str| {
        let login = Login::new(format!("{name}@example.com"), PASSWORD);
        market.client.login(&login).await.unwrap().access.access_token
    };
    let own = payouts(&staff).await.remove(0);
    assert_eq!(own.owner_id, staff_id);
    let token = login("staff").await;
    assert_eq!(word(&market, &token, &own, "approve", ()).await, 403);
    assert_eq!(word(&market, &login("rich").await, payout, "approve", ()).await, 403);
    assert_eq!(word(&market, &token, payout, "approve", ()).await, 200);
    assert_eq!(word(&market, &token, payout, "complete", HandedOver { receipt: "7".into() }).await, 200);
    until("the books are right", async || metric(&market, "market_redemptions_open").await == 1).await;
    let free = async |client: &api::Client| {
        let wallet = client.creator_wallet().await.unwrap();
        let balance = wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
        (balance.free, balance.held)
    };
    until("what was held is paid", async || free(&rich).await == (Amount::ZERO, Amount::ZERO)).await;

    // A creator redeems between payouts as an agent does.
    let credits = Redeem { method: RedemptionMethod::ApiCredits, amount: ard("100"), details: None };
    let done = none.redeem(&credits, "a").await.unwrap();
    assert_eq!((done.status, done.payout_month), (RedemptionStatus::Completed, None));
    assert_eq!(none.redeem(&credits, "a").await.unwrap().id, done.id);
    assert_eq!(free(&none).await, (ard("50000"), Amount::ZERO));
    assert_eq!(refusal(rich.redemption(done.id).await), Code::NotFound);
}
