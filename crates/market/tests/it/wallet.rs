use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use api::{
    AgentType, Code, DecisionFilter, Role, UpdateListing,
    ledger::{Amount, Asset, Kind, PastQuery, Send, StatementQuery, VerifyQuery, Wallet},
};
use market::{
    Config,
    ledger::{self, Hold, Ledger, Order, Purpose, Rates, What},
};
use money::{Bps, Usdc};
use reqwest::Method;

use crate::harness::{BUYER, Market, Member, SELLER, World, goods, refusal};

const GOODS: &[u8] = b"42.17 EUR/MWh";
/// 50 ARD.
const PRICE: Usdc = Usdc::from_base_units(50_000);

fn ard(text: &str) -> Amount {
    text.parse().unwrap()
}

fn free(wallet: &Wallet) -> Amount {
    wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap().free
}

async fn statement(member: &Member) -> Vec<(Kind, Amount, Amount, Amount)> {
    let query = StatementQuery { asset: Asset::Ard, until: None, cursor: None, limit: None };
    let lines = member.client.statement(&query).await.unwrap().data;
    lines.iter().map(|line| (line.kind, line.credit, line.debit, line.balance)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bought_from_the_ledger_is_paid_once_proved_and_on_the_statement() {
    let world = World::new().await;
    let signer = PrivateKeySigner::random();
    let market = Market::start(market::Config { ledger_key: Some(signer.clone()), ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    // Who is new has 100 ARD.
    assert_eq!(free(&buyer.client.wallet().await.unwrap()), ard("100"));

    let bought = buyer.client.express_from_ledger(listing.id, Asset::Ard, "first").await.unwrap();
    assert_eq!((&bought.body[..], &bought.headers["x-balance"]), (GOODS, &"50.00".parse().unwrap()));
    let again = buyer.client.express_from_ledger(listing.id, Asset::Ard, "first").await.unwrap();
    assert_eq!((&again.body[..], &again.headers["idempotent-replayed"]), (GOODS, &"true".parse().unwrap()));
    assert_eq!(again.headers["x-purchase-id"], bought.headers["x-purchase-id"]);
    // Another request for what is owned costs nothing, and neither does a repetition after the seller changed the content.
    assert_eq!(buyer.client.express_from_ledger(listing.id, Asset::Ard, "second").await.unwrap().body, GOODS);
    seller.client.upload(listing.id, "text/plain", "43.01 EUR/MWh").await.unwrap();
    assert_eq!(buyer.client.express_from_ledger(listing.id, Asset::Ard, "first").await.unwrap().body, GOODS);
    let renewed = buyer.client.express_from_ledger(listing.id, Asset::Ard, "third").await.unwrap();
    assert_eq!((&renewed.body[..], &renewed.headers["x-balance"]), (&b"43.01 EUR/MWh"[..], &"0.00".parse().unwrap()));
    let other = seller.client.create_listing(&goods("weather", PRICE, Some(GOODS))).await.unwrap();
    let broke = buyer.client.express_from_ledger(other.id, Asset::Ard, "fourth").await;
    assert_eq!(refusal(broke), Code::InsufficientFunds);

    let sold = ard("49");
    assert_eq!(
        statement(&seller).await,
        [
            (Kind::Sale, sold, Amount::ZERO, ard("198")),
            (Kind::Sale, sold, Amount::ZERO, ard("149")),
            (Kind::Bonus, ard("100"), Amount::ZERO, ard("100")),
        ]
    );
    assert_eq!(statement(&buyer).await[0], (Kind::Sale, Amount::ZERO, ard("50"), Amount::ZERO));

    let query = StatementQuery { asset: Asset::Ard, until: None, cursor: None, limit: Some(1) };
    let last = buyer.client.statement(&query).await.unwrap();
    let transfer = last.data[0].transfer_id;
    assert!(last.next_cursor.is_some());
    let proof = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match buyer.client.ledger_proof(transfer).await {
                Ok(proof) if proof.seal.signature.is_some() => break proof,
                Ok(_) => {}
                Err(error) => assert_eq!(error.code(), Some(&Code::WrongState)),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!((proof.verify().unwrap().id, proof.seal.signer()), (transfer, Some(signer.address())));
    let stranger = market.join("stranger", 7, AgentType::Buyer).await;
    assert_eq!(refusal(stranger.client.ledger_proof(transfer).await), Code::NotFound);
    let verified = stranger.client.verify_ledger(&VerifyQuery::default()).await.unwrap();
    assert!(verified.valid && verified.transfers >= transfer, "{verified:?}");
    // Whoever audits takes nobody's word, and sees what is left out or changed.
    let auditor = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    let sealed = async || auditor.sealed(&VerifyQuery { limit: Some(100), from: None }).await.unwrap();
    crate::funds::until("what came later is sealed", async || sealed().await.seals.len() > 1).await;
    let all = sealed().await;
    let there = all.verify(None).unwrap();
    assert!(there.iter().map(|transfer| transfer.id).eq(1..=there.len() as u64) && there.len() as u64 >= transfer);
    let first = &all.seals[0];
    let later = auditor.sealed(&VerifyQuery { from: Some(2), limit: Some(100) }).await.unwrap();
    assert_eq!(later.verify(Some(first)).unwrap()[..], there[first.count as usize..]);
    assert!(later.verify(None).is_err(), "the first is left out");
    let mut changed = all.clone();
    changed.bodies.swap(0, 1);
    assert!(changed.verify(None).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_bought_from_the_ledger_without_a_key() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let url = buyer.client.express_url(listing.id);
    let http = reqwest::Client::new();
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let request = http.request(method, format!("{url}?payment_method=token")).bearer_auth(&buyer.key);
        assert_eq!(request.send().await.unwrap().status(), 400);
    }
    assert_eq!(free(&buyer.client.wallet().await.unwrap()), ard("100"));
    // Who knows neither way is told of both, from whatever page.
    let asked = http.get(url.clone()).header("origin", "https://elsewhere.example").send().await.unwrap();
    let readers: Vec<_> = asked.headers().get_all("access-control-allow-origin").iter().collect();
    assert!(asked.status() == 402 && readers == ["*"], "{readers:?}");
    let offers: serde_json::Value = asked.json().await.unwrap();
    assert_eq!((&offers["accepts"][0]["amount"], &offers["ledger"]["token"]), (&"50000".into(), &"50.00".into()));
    let preflight = http.request(Method::OPTIONS, url).header("origin", "https://elsewhere.example");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,idempotency-key");
    let allowed = preflight.send().await.unwrap();
    let told = allowed.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(told.contains("authorization") && told.contains("idempotency-key"), "{told}");
    assert!(!allowed.headers().contains_key("access-control-allow-credentials"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sold_much_pays_the_fee_of_the_tier() {
    let world = World::new().await;
    let rates = Rates { fee: Bps::new(1_000).unwrap(), tiers: "small:0:0,large:60:5000".parse().unwrap(), ..Rates::default() };
    let market = Market::start(Config { rates, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let sells = async |title: &str, price: u64| {
        let goods = goods(title, Usdc::from_base_units(price), Some(GOODS));
        let listing = seller.client.create_listing(&goods).await.unwrap();
        buyer.client.express_from_ledger(listing.id, Asset::Ard, title).await.unwrap();
        let wallet = seller.client.wallet().await.unwrap();
        let tier = wallet.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap().tier.clone();
        (free(&wallet), tier)
    };
    assert_eq!(sells("a", 50_000).await, (ard("145"), "small".to_owned()));
    assert_eq!(sells("b", 20_000).await, (ard("163"), "large".to_owned()), "who sells the first 60 is small while it sells");
    assert_eq!(sells("c", 20_000).await, (ard("182"), "large".to_owned()), "half the fee is off");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_sent_once_by_its_key_and_never_beyond_the_balance() {
    let world = World::new().await;
    let market = world.market().await;
    let (from, to) = (market.join("from", SELLER, AgentType::Both).await, market.join("to", BUYER, AgentType::Both).await);
    let request = |amount| Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: ard(amount), memo: Some("thanks".into()) };
    let (thirty, forty) = (request("30"), request("40"));
    let all = futures::future::join_all((0..10).map(|_| from.client.send_money(&thirty, "a"))).await;
    assert!(all.iter().all(|sent| sent.as_ref().unwrap().balance == ard("70")));
    assert_eq!(refusal(from.client.send_money(&forty, "a").await), Code::IdempotencyKeyReused);
    // Keys are their sender's own.
    assert_eq!(
        to.client.send_money(&Send { to_agent_id: from.agent.id, ..forty.clone() }, "a").await.unwrap().balance,
        ard("90")
    );
    assert_eq!(refusal(from.client.send_money(&request("110.000001"), "b").await), Code::InsufficientFunds);
    assert_eq!(refusal(from.client.send_money(&Send { to_agent_id: from.agent.id, ..forty }, "c").await), Code::Inconsistent);
    assert_eq!((free(&from.client.wallet().await.unwrap()), free(&to.client.wallet().await.unwrap())), (ard("110"), ard("90")));
    let post = reqwest::Client::new().post(market.url.join("api/v1/wallet/transfer").unwrap()).json(&thirty);
    assert_eq!(post.send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_answered_as_it_was_whatever_became_of_the_listing() {
    let world = World::new().await;
    let market = world.market().await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let buys = async |key: &str| buyer.client.express_from_ledger(listing.id, Asset::Ard, key).await;
    let first = buys("first").await.unwrap();
    let owned = buys("owned").await.unwrap();
    assert_eq!(
        (&owned.headers["x-balance"], &owned.headers["idempotent-replayed"]),
        (&"50.00".parse().unwrap(), &"false".parse().unwrap())
    );
    // It is owned no more, and what was free stays free for the key that was told so.
    sqlx::query("UPDATE sales SET owned_until = now()").execute(&pool).await.unwrap();
    seller.client.delist(listing.id).await.unwrap();
    for (key, before) in [("first", &first), ("owned", &owned)] {
        let again = buys(key).await.unwrap();
        assert_eq!((&again.body[..], &again.headers["idempotent-replayed"]), (GOODS, &"true".parse().unwrap()), "{key}");
        assert_eq!(again.headers["x-purchase-id"], before.headers["x-purchase-id"]);
    }
    assert_eq!(free(&buyer.client.wallet().await.unwrap()), ard("50"));
    assert_eq!(refusal(buys("new").await), Code::WrongState);
    // Whoever has the money back has the content no more.
    let transfer: i64 = sqlx::query_scalar("SELECT transfer FROM sales").fetch_one(&pool).await.unwrap();
    let finance = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    finance.reverse(transfer.unsigned_abs(), "another's data").await.unwrap();
    assert_eq!(free(&buyer.client.wallet().await.unwrap()), ard("100"));
    assert_eq!(refusal(buys("first").await), Code::WrongState);
    assert_eq!(refusal(buys("owned").await), Code::WrongState);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_undone_once_by_somebody_it_is_not_about_who_says_why() {
    let world = World::new().await;
    let market = world.market().await;
    let (from, to) = (market.join("from", BUYER, AgentType::Both).await, market.join("to", SELLER, AgentType::Both).await);
    let request = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: ard("30"), memo: None };
    let sent = from.client.send_money(&request, "a").await.unwrap();
    let staff = async |role| market.client.with_api_key(&market.staff(world.stack.database_url(), role).await);
    let (finance, admin) = (staff(Role::Finance).await, staff(Role::Admin).await);
    admin.claim_agent(to.agent.id, &market.proof(SELLER).await).await.unwrap();
    assert_eq!(refusal(admin.reverse(sent.transfer_id, "mine").await), Code::Forbidden);
    assert_eq!(refusal(finance.reverse(sent.transfer_id, "").await), Code::InvalidRequest);
    assert_eq!(refusal(finance.reverse(u64::MAX, "none").await), Code::NotFound);

    let all = Send { to_agent_id: from.agent.id, amount: ard("130"), ..request.clone() };
    to.client.send_money(&all, "b").await.unwrap();
    assert_eq!(refusal(finance.reverse(sent.transfer_id, "it is spent").await), Code::WrongState);
    from.client.send_money(&Send { amount: ard("100"), ..request }, "c").await.unwrap();
    let (first, second) =
        (finance.reverse(sent.transfer_id, "fraud").await.unwrap(), finance.reverse(sent.transfer_id, "again").await);
    assert_eq!(first, second.unwrap());
    assert_eq!((free(&from.client.wallet().await.unwrap()), free(&to.client.wallet().await.unwrap())), (ard("130"), ard("70")));
    assert_eq!(refusal(finance.reverse(first.reversal_id, "not that").await), Code::WrongState);
    let about = DecisionFilter { subject: Some(from.agent.id), ..DecisionFilter::default() };
    let decisions = admin.decisions(&about).await.unwrap().data;
    let reasons: Vec<_> = decisions.iter().map(|decision| (&decision.what[..], decision.reason.clone())).collect();
    assert_eq!(reasons, [("transfer_reversed", Some(format!("transfer {}: fraud", sent.transfer_id)))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_more_than_they_would() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let up_to = async |max: Usdc, key| buyer.client.express_up_to(listing.id, Asset::Ard, Some(max), key).await;
    assert_eq!(refusal(up_to(Usdc::from_base_units(49_999), "a").await), Code::PriceTooHigh);
    let price = Some(PRICE.checked_mul(2).unwrap());
    seller.client.update_listing(listing.id, &UpdateListing { price, ..UpdateListing::default() }).await.unwrap();
    assert_eq!(refusal(up_to(PRICE, "b").await), Code::PriceTooHigh);
    assert_eq!(free(&buyer.client.wallet().await.unwrap()), ard("100"));
    assert_eq!(up_to(PRICE.checked_mul(2).unwrap(), "c").await.unwrap().body, GOODS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_where_it_should() {
    let world = World::new().await;
    let market = world.market().await;
    let (from, to) = (market.join("from", SELLER, AgentType::Both).await, market.join("to", BUYER, AgentType::Both).await);
    for key in ["a", "b", "c", "d"] {
        let request = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: ard("1"), memo: None };
        from.client.send_money(&request, key).await.unwrap();
    }
    let query = |until| StatementQuery { asset: Asset::Ard, until, cursor: None, limit: None };
    let lines = from.client.statement(&query(None)).await.unwrap().data;
    assert_eq!(lines.len(), 5);
    for (newer, line) in lines.iter().enumerate() {
        let there = from.client.statement(&query(Some(line.at))).await.unwrap().data;
        assert_eq!(there, lines[newer..], "with all that was there by then");
        let before = from.client.statement(&query(Some(line.at - Duration::from_micros(1)))).await.unwrap().data;
        assert_eq!(before, lines[newer + 1..]);
        let past = from.client.past_wallet(&PastQuery { at: line.at }).await.unwrap();
        let had = past.balances.iter().find(|balance| balance.asset == Asset::Ard).unwrap();
        assert_eq!((past.transfer_id >= line.transfer_id, had.free, had.held), (true, line.balance, Amount::ZERO));
        let until = line.at.format(&time::format_description::well_known::Rfc3339).unwrap();
        let url = market.url.join(&format!("api/v1/wallet/statement.csv?asset=ARD&until={until}")).unwrap();
        let csv = reqwest::Client::new().get(url).bearer_auth(&from.key).send().await.unwrap().text().await.unwrap();
        assert_eq!(csv.lines().count(), 1 + there.len(), "{csv}");
    }
    let never = PastQuery { at: time::OffsetDateTime::UNIX_EPOCH };
    assert!(from.client.past_wallet(&never).await.unwrap().balances.iter().all(|balance| balance.free.is_zero()));
    let soon = PastQuery { at: time::OffsetDateTime::now_utc() + time::Duration::minutes(1) };
    assert_eq!(refusal(from.client.past_wallet(&soon).await), Code::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_for_a_while_comes_back_by_itself() {
    let world = World::new().await;
    let market = world.market().await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let account = async |purpose| ledger::open(&pool, agent.agent.id, Asset::Ard, purpose).await.unwrap();
    let (from, held) = (account(Purpose::Free).await, account(Purpose::Held).await);
    let expires_at = time::OffsetDateTime::now_utc();
    let hold = What::Hold(Hold { id: uuid::Uuid::now_v7(), from, held, amount: ard("30"), expires_at });
    Ledger::start(pool.clone(), Rates::default()).submit(Order { key: None, what: hold }).await.unwrap();
    assert_eq!(free(&agent.client.wallet().await.unwrap()), ard("70"));
    crate::funds::until("it is free again", async || free(&agent.client.wallet().await.unwrap()) == ard("100")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_sends_to_others_in_a_day_is_limited_whichever_agent_sends() {
    let world = World::new().await;
    // 150 ARD are 0.15 USDC.
    let market = Market::start(Config { transfer_day_max: Usdc::from_base_units(150_000), ..world.config() }).await;
    let [one, two] = [market.join("one", SELLER, AgentType::Both).await, market.join("two", SELLER, AgentType::Both).await];
    let other = market.join("other", BUYER, AgentType::Both).await;
    let send = async |from: &Member, to: &Member, amount: &str, key: &str| {
        let request = Send { to_agent_id: to.agent.id, asset: Asset::Ard, amount: ard(amount), memo: None };
        from.client.send_money(&request, key).await
    };
    // Among one's own agents nothing leaves.
    send(&one, &two, "60", "a").await.unwrap();
    send(&other, &one, "100", "a").await.unwrap();
    send(&one, &other, "100", "b").await.unwrap();
    assert_eq!(refusal(send(&two, &other, "50.000001", "b").await), Code::OverLimit);
    send(&two, &other, "50", "c").await.unwrap();
    // What was sent is still answered, and more is not.
    send(&two, &other, "50", "c").await.unwrap();
    assert_eq!(refusal(send(&one, &other, "0.000001", "d").await), Code::OverLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_costs_what_it_costs_when_it_is_paid_whichever_instance_changed_it() {
    let world = World::new().await;
    let (market, other) = (world.market().await, world.market().await);
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(GOODS))).await.unwrap();
    let buys = async |account: usize| {
        let buyer = market.join(&format!("buyer {account}"), account, AgentType::Buyer).await;
        buyer.client.express_from_ledger(listing.id, Asset::Ard, "key").await
    };
    assert_eq!(buys(6).await.unwrap().headers["x-balance"], "50.00");
    let elsewhere = seller.client.at(other.url.clone());
    let price = Some(Usdc::from_base_units(20_000));
    elsewhere.update_listing(listing.id, &UpdateListing { price, ..UpdateListing::default() }).await.unwrap();
    assert_eq!(buys(7).await.unwrap().headers["x-balance"], "80.00");
    elsewhere.delist(listing.id).await.unwrap();
    assert_eq!(refusal(buys(8).await), Code::WrongState);
}
