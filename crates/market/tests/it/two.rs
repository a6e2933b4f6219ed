//! Two instances, of which one or the other dies all the time: whoever trades does not notice. With `FLORIN_TEST_INSTANCES=2` most other tests
//! run so, too.

use api::{
    AgentType, FeedQuery, Initiate, Listing, PaymentMethod, TransactionStatus, VerifyDelivery,
    ledger::{Amount, Asset},
};
use market::Config;
use money::Usdc;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{BUYER, Market, Member, SELLER, WAIT, World, goods};

/// A tenth of an ARD.
const PRICE: Usdc = Usdc::from_base_units(100);
const DEATHS: usize = 4;

async fn publish(seller: &Member, title: &str) -> Listing {
    seller.client.create_listing(&goods(title, PRICE, Some(title.as_bytes()))).await.unwrap()
}

/// Buys a listing twice with one key, which is one purchase, whichever instance is asked again.
async fn buy_once(buyer: &Member, listing: &Listing) -> Uuid {
    let mut ids = Vec::new();
    for replayed in ["false", "true"] {
        let bought = buyer.client.express_from_ledger(listing.id, Asset::Ard, &listing.title).await.unwrap();
        assert_eq!(bought.body, listing.title);
        assert_eq!(bought.headers["idempotent-replayed"].to_str().unwrap(), replayed);
        ids.push(bought.headers["x-purchase-id"].to_str().unwrap().parse::<Uuid>().unwrap());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(buyer.client.purchase_content(ids[0]).await.unwrap().body, listing.title);
    ids[0]
}

/// Buys a listing in steps, each of which another instance may take.
async fn buy_in_steps(seller: &Member, buyer: &Member, listing: &Listing) -> Uuid {
    let order = Initiate { listing_id: listing.id, buyer: None, payment_method: Some(PaymentMethod::Token) };
    let order = buyer.client.initiate(&order).await.unwrap().id;
    assert_eq!(buyer.client.confirm_payment(order).await.unwrap().status, TransactionStatus::PaymentConfirmed);
    let delivered = seller.client.deliver(order, listing.content_hash.unwrap()).await.unwrap();
    assert_eq!(delivered.status, TransactionStatus::Delivered);
    let done = buyer.client.verify_delivery(order, &VerifyDelivery::default()).await.unwrap();
    assert_eq!(done.status, TransactionStatus::Completed);
    order
}

/// The sales that an agent is told of after an event, up to that of one listing. Who is cut off goes on from there.
async fn told(agent: &Member, mut after: u64, last: &Listing) -> Vec<Uuid> {
    let mut told = Vec::new();
    loop {
        let event_types = Some("express_purchase".into());
        let Ok(mut feed) = agent.client.feed(&FeedQuery { after: Some(after), event_types, ..FeedQuery::default() }).await else {
            continue;
        };
        while let Ok(Some(event)) = feed.next().await {
            assert!(event.seq > after, "{} after {after}", event.seq);
            after = event.seq;
            told.push(event.data["purchase_id"].as_str().unwrap().parse().unwrap());
            if event.data["listing_id"] == json!(last.id) {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trades_while_instances_die_pays_once_and_is_told_of_everything_once() {
    let world = World::new().await;
    let market = Market::two(Config { requests_per_minute: 0, requests_per_minute_unknown: 0, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Both).await;
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    // From here on somebody listens to what is private.
    drop(seller.client.feed(&FeedQuery::default()).await.unwrap());
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let begin: i64 = sqlx::query_scalar("SELECT last_seq FROM feed").fetch_one(&pool).await.unwrap();
    let last = publish(&seller, "the last").await;
    let trading = async {
        let mut sold = Vec::new();
        while market.deaths() < DEATHS {
            let listing = publish(&seller, &format!("goods {}", sold.len())).await;
            sold.push(buy_once(&buyer, &listing).await);
            sold.push(buy_in_steps(&seller, &buyer, &listing).await);
        }
        sold.push(buy_once(&buyer, &last).await);
        sold
    };
    let both = async { tokio::join!(trading, told(&seller, begin.unsigned_abs(), &last)) };
    let (sold, told) = timeout(2 * WAIT, both).await.expect("it goes on");
    assert_eq!(told, sold, "each once, in the order in which they were sold");
    let wallet = buyer.client.wallet().await.unwrap();
    let ard = wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
    let left = Amount::from_units(100_000_000 - 100_000 * sold.len() as u64).unwrap();
    assert_eq!((ard.free, ard.held), (left, Amount::ZERO));
}
