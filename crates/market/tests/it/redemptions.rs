use api::{
    AgentType, Code, Role,
    ledger::{Amount, Asset, HandedOver, Kind, Redeem, Redemption, RedemptionMethod, RedemptionStatus, Refuse},
};
use market::ledger::{self, Ledger, Move, Order, Purpose, Rates, What};

use crate::harness::{BUYER, Market, Member, World, refusal};

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

    let to = ledger::open(&pool, agent.agent.id, Asset::Ard, Purpose::Free).await.unwrap();
    let gift = Move { kind: Kind::Bonus, from: ledger::MINT, to, amount: ard("5000"), reference: agent.agent.id, memo: None };
    Ledger::start(pool, Rates::default()).submit(Order { key: None, what: What::Move(gift) }).await.unwrap();
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
