//! The live feed: nobody misses anything, however often they come back, and nobody sees what is not theirs.

use std::{collections::BTreeSet, time::Duration};

use api::{
    AgentType, Category, Code, Discover, EventType, FeedEvent, FeedQuery, Login, Topic, Visibility,
    ledger::{Asset, Send},
};
use futures::{StreamExt, future::join_all};
use market::feed::{self, Audience, Event};
use money::Usdc;
use rand::Rng;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use uuid::Uuid;

use crate::harness::{BUYER, Market, Member, PASSWORD, PRICE, SELLER, WAIT, World, because, goods, refusal};

/// A connection to `/ws/feed`, with as little room for what is not read as can be.
async fn connect(market: &Market, query: &str, key: Option<&str>) -> WebSocketStream<TcpStream> {
    let address = market.url.socket_addrs(|| None).unwrap()[0];
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut request = format!("ws://{address}/ws/feed?{query}").into_client_request().unwrap();
    if let Some(key) = key {
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    client_async(request, stream).await.unwrap().0
}

/// How a connection was closed that was closed without a word.
const CUT: u16 = 1006;

/// The next message that is an event, or how the connection was closed.
async fn message(socket: &mut WebSocketStream<TcpStream>) -> Result<FeedEvent, (u16, String)> {
    loop {
        let Some(Ok(message)) = timeout(WAIT, socket.next()).await.expect("something comes") else {
            return Err((CUT, "without a word".into()));
        };
        match message {
            Message::Text(text) if text.starts_with("{\"ready\"") => {}
            Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => {
                let frame = frame.unwrap();
                return Err((frame.code.into(), frame.reason.to_string()));
            }
            _ => {}
        }
    }
}

async fn next(feed: &mut api::Feed) -> FeedEvent {
    timeout(WAIT, feed.next()).await.expect("something comes").unwrap().expect("the feed goes on")
}

/// The numbers that writers gave the events, with the places at which they were told.
type Told = Vec<(u64, u64)>;

fn number(event: &FeedEvent) -> u64 {
    event.data["n"].as_u64().unwrap()
}

/// Reads a few events by either transport at either instance, hangs up, and goes on there, until it has `count`.
async fn read_in_pieces(markets: [&Market; 2], member: &Member, begin: u64, count: usize) -> Told {
    const KINDS: &str = "catalog_update,token_transfer";
    let (mut told, mut after) = (Vec::new(), begin);
    while told.len() < count {
        let (market, most) = (markets[rand::rng().random_range(0..2)], rand::rng().random_range(1..40));
        let most = most.min(count - told.len());
        let mut events = Vec::new();
        if rand::rng().random() {
            let query = FeedQuery { after: Some(after), event_types: Some(KINDS.into()), ..FeedQuery::default() };
            // The connections before may not all be closed there yet.
            let Ok(mut feed) = member.client.at(market.url.clone()).feed(&query).await else { continue };
            while events.len() < most {
                match timeout(WAIT, feed.next()).await.expect("something comes") {
                    Ok(Some(event)) => events.push(event),
                    _ if market.cuts() => break,
                    ended => panic!("the feed goes on: {ended:?}"),
                }
                assert_eq!(feed.after(), events.last().map(|event| event.seq));
            }
        } else {
            let mut socket = connect(market, &format!("after={after}&event_types={KINDS}"), Some(&member.key)).await;
            while events.len() < most {
                match message(&mut socket).await {
                    Ok(event) => events.push(event),
                    Err((4029, _)) => break,
                    Err((CUT, _)) if market.cuts() => break,
                    Err(closed) => panic!("{closed:?}"),
                }
            }
        }
        for event in events {
            assert!(event.seq > after, "{} after {after}", event.seq);
            after = event.seq;
            told.push((event.seq, number(&event)));
        }
    }
    told
}

/// Tells of one event for everybody and one for an agent, in transactions that end in any order.
async fn write(pool: &PgPool, writer: u64, agent: Uuid) {
    for n in (writer * 1_000..).take(60) {
        let mut tx = pg::begin(pool).await.unwrap();
        let public = Event::public(EventType::CatalogUpdate, Audience::Market, json!({"n": n}));
        feed::emit(&mut tx, public).await.unwrap();
        feed::emit(&mut tx, Event::private(EventType::TokenTransfer, [agent], json!({"n": n + 500}))).await.unwrap();
        let open = rand::rng().random_range(0..20);
        tokio::time::sleep(Duration::from_millis(open)).await;
        if n % 10 == 9 { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_come_back_all_the_time_miss_nothing_and_see_nothing_of_others() {
    let world = World::new().await;
    let config = || market::Config { token_secrets: vec![[7; 32].into()], ..world.config() };
    let (one, two) = (Market::start(config()).await, Market::start(config()).await);
    let mine = one.join("mine", SELLER, AgentType::Both).await;
    let other = one.join("other", BUYER, AgentType::Both).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    // From here on somebody listens to what is private.
    let listening = mine.client.feed(&FeedQuery::default()).await.unwrap();
    let begin: i64 = sqlx::query_scalar("SELECT last_seq FROM feed").fetch_one(&pool).await.unwrap();
    let writers = join_all((0..6).map(|writer| write(&pool, writer, mine.agent.id)));
    let readers = async {
        tokio::join!(
            read_in_pieces([&one, &two], &mine, begin.unsigned_abs(), 6 * 54 * 2),
            read_in_pieces([&two, &one], &other, begin.unsigned_abs(), 6 * 54),
        )
    };
    let (_, told) = tokio::join!(writers, timeout(2 * WAIT, readers));
    let (mine_told, other_told) = told.expect("all events come");
    drop(listening);
    let numbers = |told: &Told| told.iter().map(|(_, n)| *n).collect::<BTreeSet<_>>();
    let (all, public) = (numbers(&mine_told), numbers(&other_told));
    assert_eq!((all.len(), public.len()), (mine_told.len(), other_told.len()), "each once");
    assert!(public.iter().all(|n| n % 1_000 < 500), "the other sees nothing private");
    assert!(all.iter().all(|n| n % 10 != 9), "what was rolled back never happened");
    let of_mine: Vec<_> = mine_told.iter().filter(|(_, n)| n % 1_000 < 500).copied().collect();
    assert_eq!(of_mine, other_told, "both in one order");
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_are_told_to_their_parties_alone_and_only_if_they_listen() {
    let world = World::new().await;
    let market = world.alone(because::STREAM).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let seller = market.join("seller", SELLER, AgentType::Both).await;
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    let other = market.join("other", 7, AgentType::Both).await;
    let private = FeedQuery { topics: Some(Topic::Agent.as_str().into()), ..FeedQuery::default() };
    let everything =
        FeedQuery { event_types: Some("listing_created,express_purchase,token_transfer".into()), ..FeedQuery::default() };
    let (mut of_seller, mut of_other) =
        (seller.client.feed(&private).await.unwrap(), other.client.feed(&everything).await.unwrap());
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"1"))).await.unwrap();
    let created = next(&mut of_other).await;
    assert_eq!((created.event_type, created.visibility), (EventType::ListingCreated, Visibility::Public));
    assert_eq!((&created.data["listing_id"], &created.data["price"]), (&json!(listing.id), &json!("0.05")));

    let draft = seller.client.create_listing(&goods("weather", PRICE, None)).await.unwrap();
    let bought = buyer.client.express_from_ledger(listing.id, Asset::Ard, "first").await.unwrap();
    let sale = next(&mut of_seller).await;
    assert_eq!((sale.event_type, sale.topic), (EventType::ExpressPurchase, Topic::Agent));
    let amount = |value: &Value| value.as_str().unwrap().parse::<api::ledger::Amount>().unwrap();
    assert_eq!(amount(&sale.data["price"]), "50".parse().unwrap());
    let expected = json!({
        "purchase_id": bought.headers["x-purchase-id"].to_str().unwrap(), "listing_id": listing.id, "buyer_id": buyer.agent.id,
        "seller_id": seller.agent.id, "paid_from": "ledger", "asset": "ARD",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&sale.data[field], value, "{field}");
    }
    // The buyer, who did not listen until now, is told of what comes.
    let mut of_buyer = buyer.client.feed(&private).await.unwrap();
    let send = Send { to_agent_id: seller.agent.id, asset: Asset::Ard, amount: "7".parse().unwrap(), memo: Some("tip".into()) };
    buyer.client.send_money(&send, "tip").await.unwrap();
    let (sent, got) = (next(&mut of_buyer).await, next(&mut of_seller).await);
    assert_eq!(sent, got, "one event for both");
    assert_eq!(
        (sent.event_type, &sent.data["memo"], &sent.data["from_agent_id"]),
        (EventType::TokenTransfer, &json!("tip"), &json!(buyer.agent.id))
    );
    // What comes of the draft is the next that the other sees: nothing of the sale and the tip.
    seller.client.upload(draft.id, "text/plain", "sun").await.unwrap();
    let uploaded = next(&mut of_other).await;
    assert_eq!((uploaded.event_type, &uploaded.data["listing_id"]), (EventType::ListingCreated, &json!(draft.id)));
    seller.client.upload(draft.id, "text/plain", "rain").await.unwrap();

    // Two who do not listen leave nothing to be told.
    drop((of_seller, of_buyer));
    let count = "SELECT count(*) FROM feed_events WHERE agents IS NOT NULL";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
    sqlx::query("DELETE FROM feed_subscribers WHERE agent_id <> $1").bind(other.agent.id).execute(&pool).await.unwrap();
    buyer.client.send_money(&send, "silent").await.unwrap();
    let to_other = Send { to_agent_id: other.agent.id, ..send.clone() };
    buyer.client.send_money(&to_other, "heard").await.unwrap();
    let heard = next(&mut of_other).await;
    assert_eq!((heard.event_type, &heard.data["to_agent_id"]), (EventType::TokenTransfer, &json!(other.agent.id)));
    let after: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
    assert_eq!(after - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_sees_what_concerns_its_agents() {
    let world = World::new().await;
    let market = world.alone(because::STREAM).await;
    let (agent, other) = (market.join("a", SELLER, AgentType::Both).await, market.join("b", BUYER, AgentType::Both).await);
    market.creator("creator@example.com").await;
    let login = Login::new("creator@example.com", PASSWORD);
    let creator = market.client.with_token(&market.client.login(&login).await.unwrap().access);
    creator.claim_agent(agent.agent.id, &market.proof(SELLER).await).await.unwrap();
    let ticket = creator.feed_ticket().await.unwrap().ticket;
    let mut socket = connect(&market, &format!("topics=private.agent&ticket={ticket}"), None).await;
    let send = Send { to_agent_id: agent.agent.id, asset: Asset::Ard, amount: "1".parse().unwrap(), memo: None };
    other.client.send_money(&send, "one").await.unwrap();
    let told = message(&mut socket).await.unwrap();
    assert_eq!(told.data["to_agent_id"], json!(agent.agent.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_is_told_why() {
    let world = World::new().await;
    let market = world.alone(because::STREAM).await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let closed = async |query: &str, key: Option<&str>| message(&mut connect(&market, query, key).await).await.unwrap_err().0;
    assert_eq!(closed("", None).await, 4001);
    assert_eq!(closed("ticket=none", None).await, 4003);
    assert_eq!(closed("", Some("florin_0_0")).await, 4003);
    let ticket = agent.client.feed_ticket().await.unwrap().ticket;
    let _reading = connect(&market, &format!("ticket={ticket}"), None).await;
    assert_eq!(closed(&format!("ticket={ticket}"), None).await, 4003, "a ticket is good once");
    let expired = agent.client.feed_ticket().await.unwrap().ticket;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    sqlx::query("UPDATE feed_tickets SET expires_at = now()").execute(&pool).await.unwrap();
    assert_eq!(closed(&format!("ticket={expired}"), None).await, 4003);
    let by_ticket = FeedQuery { ticket: Some(agent.client.feed_ticket().await.unwrap().ticket), ..FeedQuery::default() };
    market.client.feed(&by_ticket).await.unwrap();
    assert_eq!(refusal(market.client.feed(&by_ticket).await), Code::Unauthenticated);
    assert_eq!(refusal(market.client.feed(&FeedQuery::default()).await), Code::Unauthenticated);
    let wrong = FeedQuery { topics: Some("private.other".into()), ..FeedQuery::default() };
    assert_eq!(refusal(agent.client.feed(&wrong).await), Code::InvalidRequest);

    // With the one above ten connections; those that were closed may take a moment to be so.
    let mut open = Vec::new();
    let all = async {
        loop {
            match agent.client.feed(&FeedQuery::default()).await {
                Ok(feed) => open.push(feed),
                Err(error) if open.len() == 9 => break assert_eq!(error.code(), Some(&Code::OverLimit)),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(WAIT, all).await.expect("nine more, and no tenth");
    assert_eq!(open.len(), 9);
    assert_eq!(closed("", Some(&agent.key)).await, 4029);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_kept_any_more_is_an_error_and_no_gap() {
    let world = World::new().await;
    let market = world.alone(because::STREAM).await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let mut feed = agent.client.feed(&FeedQuery::default()).await.unwrap();
    for n in 0..10 {
        let mut conn = pool.acquire().await.unwrap();
        let event = Event::public(EventType::CatalogUpdate, Audience::Market, json!({"n": n}));
        feed::emit(&mut conn, event).await.unwrap();
    }
    let mut seqs = Vec::new();
    while seqs.len() < 10 {
        let event = next(&mut feed).await;
        seqs.extend((event.event_type == EventType::CatalogUpdate).then_some(event.seq));
    }
    let old = "UPDATE feed_events SET numbered_at = now() - interval '8 days' WHERE seq <= $1";
    sqlx::query(old).bind(seqs[4].cast_signed()).execute(&pool).await.unwrap();
    // Another may clean at this moment.
    while sqlx::query_scalar::<_, i64>("SELECT removed_to FROM feed").fetch_one(&pool).await.unwrap() == 0 {
        feed::clean(&pool).await.unwrap();
    }
    let from = |after: u64| FeedQuery { after: Some(after), ..FeedQuery::default() };
    assert_eq!(refusal(agent.client.feed(&from(seqs[3])).await), Code::NotKept);
    assert_eq!(refusal(agent.client.feed(&from(seqs[9] + 1_000_000)).await), Code::InvalidRequest);
    let mut kept = agent.client.feed(&from(seqs[4])).await.unwrap();
    assert_eq!(next(&mut kept).await.seq, seqs[4] + 1);
    let mut socket = connect(&market, "after=0", Some(&agent.key)).await;
    assert_eq!(message(&mut socket).await.unwrap_err().0, 4010);
    // An instance that has nothing in memory reads on in the table.
    let fresh = world.alone(because::STREAM).await;
    let mut kept = agent.client.at(fresh.url.clone()).feed(&from(seqs[4])).await.unwrap();
    assert_eq!(next(&mut kept).await.seq, seqs[4] + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_dropped_with_the_place_to_go_on_from() {
    const EVENTS: u64 = 60;
    let world = World::new().await;
    let market = world.alone(because::STREAM).await;
    let agent = market.join("agent", SELLER, AgentType::Both).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let mut slow = connect(&market, "topics=public.market&event_types=catalog_update", Some(&agent.key)).await;
    let mut quick = connect(&market, "topics=public.market&event_types=catalog_update", Some(&agent.key)).await;
    // More than any buffer in between holds.
    let filling = "x".repeat(250_000);
    // All at once: what comes in a long time would let the market wait in vain for longer than it does.
    let mut tx = pg::begin(&pool).await.unwrap();
    for n in 0..EVENTS {
        let event = Event::public(EventType::CatalogUpdate, Audience::Market, json!({"n": n, "filling": filling}));
        feed::emit(&mut tx, event).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut seqs = Vec::new();
    for _ in 0..EVENTS {
        seqs.push(message(&mut quick).await.unwrap().seq);
    }
    // As long as nothing is taken for ten seconds, and not so long that the market hangs up without a word.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut got = Vec::new();
    let (code, reason) = loop {
        match message(&mut slow).await {
            Ok(event) => got.push(event.seq),
            Err(closed) => break closed,
        }
    };
    assert_eq!(code, 4008, "{reason}");
    assert!(got.len() < seqs.len() && got == seqs[..got.len()], "{got:?} of {seqs:?}");
    let after: u64 = reason.split("after=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(after <= *got.last().unwrap_or(&after), "what it was told to go on after, it has");
    let mut again =
        connect(&market, &format!("topics=public.market&event_types=catalog_update&after={after}"), Some(&agent.key)).await;
    let missing: Vec<u64> = seqs.iter().copied().filter(|seq| *seq > after).collect();
    for seq in missing {
        assert_eq!(message(&mut again).await.unwrap().seq, seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_for_is_told_and_who_looked_is_told_when_it_came() {
    let world = World::new().await;
    let market = world.alone(because::SEARCHES).await;
    let seller = market.join("seller", SELLER, AgentType::Both).await;
    let mut others = Vec::new();
    for (at, name) in ["one", "two", "three"].into_iter().enumerate() {
        others.push(market.join(name, BUYER + at, AgentType::Buyer).await);
    }
    let demand =
        FeedQuery { event_types: Some("demand_spike,opportunity_created,opportunity_fulfilled".into()), ..FeedQuery::default() };
    let (mut of_seller, mut of_one) = (seller.client.feed(&demand).await.unwrap(), others[0].client.feed(&demand).await.unwrap());
    for _ in 0..4 {
        for other in &others {
            let search = Discover { q: Some("Tide tables".into()), category: Some(Category::Computation), ..Discover::default() };
            other.client.discover(&search).await.unwrap();
        }
    }
    let mut kinds = BTreeSet::new();
    for event in [next(&mut of_seller).await, next(&mut of_seller).await] {
        assert_eq!((event.topic, &event.data["pattern"]), (Topic::Demand, &json!("tables tide")), "{event:?}");
        kinds.insert(event.event_type.as_str());
    }
    assert_eq!(kinds, ["demand_spike", "opportunity_created"].into());
    let listing = goods("Tide tables of Brest", Usdc::from_base_units(20_000), Some(b"high"));
    let listing = seller.client.create_listing(&listing).await.unwrap();
    let fulfilled = next(&mut of_seller).await;
    assert_eq!((fulfilled.event_type, &fulfilled.data["listing_id"]), (EventType::OpportunityFulfilled, &json!(listing.id)));
    let told = [next(&mut of_one).await, next(&mut of_one).await, next(&mut of_one).await, next(&mut of_one).await];
    assert_eq!(told[2], fulfilled);
    assert_eq!((told[3].topic, &told[3].data["looked_for_by_you"]), (Topic::Agent, &json!(true)));
    let from_there = FeedQuery {
        after: Some(fulfilled.seq),
        event_types: Some("listing_created,opportunity_fulfilled".into()),
        ..FeedQuery::default()
    };
    let mut rest = seller.client.feed(&from_there).await.unwrap();
    seller.client.create_listing(&goods("other", PRICE, Some(b"1"))).await.unwrap();
    assert_eq!(next(&mut rest).await.event_type, EventType::ListingCreated, "who did not look for it is not told twice");
}
