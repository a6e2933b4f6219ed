//! What is kept of somebody is theirs to take, and gone when they leave; the ledger stays right.

use std::collections::BTreeMap;

use alloy::primitives::B256;
use api::{
    AgentType, Code, ConsentKind, CreateApiKey, DeleteCreator, Discover, GiveConsent, Login, PageQuery, Role, Scope,
    UpdateCreator,
    ledger::{Asset, Redeem, RedemptionMethod, Send},
};
use serde_json::Value;
use sqlx::PgPool;

use crate::{
    funds::until,
    harness::{BUYER, PASSWORD, PRICE, SELLER, World, because, goods, refusal},
    redemptions::give,
};

/// What tables have of nobody in particular, or work out of the others, or forget within a day, and so is in no export.
const OF_NOBODY: &[&str] = &[
    "_sqlx_migrations",
    "agent_categories",
    "agent_days",
    "agent_figures",
    "anchors",
    "audit_seals",
    "batch_attempts",
    "batches",
    "books",
    "challenges",
    "content_proofs",
    "conversions",
    "counterparties",
    "custody",
    "demand",
    "feed",
    "feed_events",
    "feed_leaders",
    "feed_outbox",
    "feed_tickets",
    "former_persons",
    "fraud",
    "fraud_findings",
    "fraud_funding",
    "fraud_pairs",
    "fraud_payers",
    "holds",
    "ledger",
    "listing_meanings",
    "login_tries",
    "market_days",
    "mcp_answers",
    "meanings",
    "meanings_due",
    "opportunities",
    "owned_keys",
    "pattern_askers",
    "pattern_hours",
    "patterns",
    "payout_months",
    "persons",
    "proof_asks",
    "registrations",
    "request_counts",
    "seals",
    "settings",
    "sign_ins",
    "sold_listings",
    "standing",
    "transaction_checks",
    "transaction_news",
    "transaction_told",
    "webhook_cursor",
];
const WITH_ANOTHER: [&str; 3] = ["transfers", "unmatched", "words"];

fn lines(export: &[u8]) -> BTreeMap<String, Vec<Value>> {
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in std::str::from_utf8(export).unwrap().lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        kinds.entry(line["kind"].as_str().unwrap().to_owned()).or_default().push(line["row"].take());
    }
    kinds
}

/// Rows of any table that have a text.
async fn rows_with(pool: &PgPool, text: &str) -> Vec<String> {
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'market'::regnamespace AND relkind = 'r' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
    let mut found = Vec::new();
    for table in tables {
        let row = if table == "audit_events" { "convert_from(t.body, 'UTF8')" } else { "t::text" };
        let rows = sqlx::AssertSqlSafe(format!("SELECT {row} FROM {table} AS t WHERE {row} ILIKE '%' || $1 || '%'"));
        let rows: Vec<String> = sqlx::query_scalar(rows).bind(text).fetch_all(pool).await.unwrap();
        found.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_all_and_leaves_nothing_but_what_the_ledger_has() {
    let world = World::new().await;
    let market = world.alone(because::SEARCHES).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let agent = market.join("rosalind's agent", SELLER, AgentType::Both).await;
    let shop = market.join("shop", BUYER, AgentType::Both).await;
    let session = market.creator("rosalind@example.com").await;
    let me = market.client.with_token(&session.access);
    me.claim_agent(agent.agent.id, &market.proof(SELLER).await).await.unwrap();
    let about = UpdateCreator {
        display_name: Some("Rosalind".into()),
        phone: Some("+44 rosalind".into()),
        payout_details: Some([("upi".into(), "rosalind@bank".into())].into_iter().collect()),
        ..UpdateCreator::default()
    };
    me.update_creator(&about).await.unwrap();
    let key = CreateApiKey { name: "rosalind's".into(), scopes: vec![Scope::Read], expires_at: None };
    agent.client.create_api_key(&key).await.unwrap();
    let sold = shop.client.create_listing(&goods("air", PRICE, Some(b"air"))).await.unwrap();
    agent.client.express_from_ledger(sold.id, Asset::Ard, "air").await.unwrap();
    let memo =
        Send { to_agent_id: shop.agent.id, asset: Asset::Ard, amount: "1".parse().unwrap(), memo: Some("of rosalind".into()) };
    agent.client.send_money(&memo, "memo").await.unwrap();
    give(&pool, session.creator.id, "100").await;
    let card = Redeem { method: RedemptionMethod::ApiCredits, amount: "100".parse().unwrap(), details: Some("rosalind".into()) };
    me.redeem(&card, "credits").await.unwrap();
    agent.client.discover(&Discover { q: Some("rosalindish".into()), ..Discover::default() }).await.unwrap();
    until("the search is logged", async || rows_with(&pool, "rosalindish").await.iter().any(|row| row.starts_with("searches")))
        .await;

    // One that came while the clock was wrong: there are no searches on the way to it.
    let late = "INSERT INTO searches (at, source, pattern, asker, known, matches)
        SELECT at + interval '7000 years', source, 'later ' || pattern, asker, known, matches FROM searches WHERE pattern = 'rosalindish'";
    sqlx::query(late).execute(&pool).await.unwrap();

    let export = lines(&me.export_creator().await.unwrap().body);
    assert_eq!(export["creators"][0]["email"], "rosalind@example.com");
    assert_eq!((export["agents"].len(), export["api_keys"].len(), export["bought"].len()), (1, 2, 1));
    assert!(export["entries"].iter().any(|row| row["memo"] == "of rosalind"));
    assert_eq!(export["searches"].iter().map(|row| &row["pattern"]).collect::<Vec<_>>(), ["rosalindish", "later rosalindish"]);
    assert_eq!(export["redemptions"][0]["details"], "rosalind");
    let count: usize = export.iter().filter(|(kind, _)| *kind != "end").map(|(_, rows)| rows.len()).sum();
    assert_eq!(export["end"][0]["rows"], count);
    let text = format!("{export:?}");
    assert!(["hash\": String(\"$argon2", "token_hash", "key_hash", "shop"].iter().all(|secret| !text.contains(secret)), "{text}");
    let own = lines(&agent.client.export_agent(agent.agent.id).await.unwrap().body);
    assert!(own["entries"].len() > 2 && !own.contains_key("creators") && !own.contains_key("searches"), "{own:?}");
    assert_eq!(refusal(shop.client.export_agent(agent.agent.id).await), Code::Forbidden);

    let leave = |password: &str, forfeit| DeleteCreator { password: password.into(), forfeit };
    assert_eq!(refusal(me.delete_creator(&leave("not the password", true)).await), Code::Unauthenticated);
    give(&pool, agent.agent.id, "100").await;
    assert_eq!(refusal(me.delete_creator(&leave(PASSWORD, true)).await), Code::WrongState, "there is money");
    assert!(agent.client.wallet().await.is_ok(), "and all goes on");
    let out = Send { amount: "100".parse().unwrap(), memo: None, ..memo };
    agent.client.send_money(&out, "out").await.unwrap();
    assert_eq!(refusal(me.delete_creator(&leave(PASSWORD, false)).await), Code::WrongState, "there is little money");
    market::grant(world.stack.database_url(), "rosalind@example.com", Role::Finance).await.unwrap();
    assert_eq!(refusal(me.delete_creator(&leave(PASSWORD, true)).await), Code::WrongState, "who has a role stays");
    market::grant(world.stack.database_url(), "rosalind@example.com", Role::User).await.unwrap();
    let entries = "SELECT count(*) FROM entries JOIN accounts ON id = account WHERE owner = $1";
    let entries = async || sqlx::query_scalar::<_, i64>(entries).bind(agent.agent.id).fetch_one(&pool).await.unwrap();
    let before = entries().await;
    me.delete_creator(&leave(PASSWORD, true)).await.unwrap();

    assert_eq!(refusal(me.creator().await), Code::Unauthenticated);
    assert_eq!(refusal(market.client.login(&Login::new("rosalind@example.com", PASSWORD)).await), Code::Unauthenticated);
    assert_eq!(refusal(agent.client.wallet().await), Code::Unauthenticated);
    let left = rows_with(&pool, "rosalind").await;
    // What many look for, and the words of listings, are nobody's.
    let left: Vec<_> = left.iter().filter(|row| !row.starts_with("pattern") && !row.starts_with("opportunities")).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(entries().await, before);
    let sums = "SELECT count(*) FROM (SELECT transfer FROM entries JOIN accounts ON id = account GROUP BY transfer, asset HAVING sum(amount) <> 0) AS wrong";
    assert_eq!(sqlx::query_scalar::<_, i64>(sums).fetch_one(&pool).await.unwrap(), 0);
    until("all is sealed", async || {
        while market::ledger::seal(&pool).await.unwrap() > 0 {}
        while market::audit::seal(&pool).await.unwrap() > 0 {}
        let open = "SELECT (SELECT count(*) FROM audit_events WHERE number IS NULL) + last_id
                 - (SELECT max(first_id + count - 1) FROM seals) FROM ledger";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(market::ledger::check(&mut conn, 1, 1_000).await.unwrap().problem, None);
    assert_eq!(market::audit::check(&mut conn, 1, 1_000).await.unwrap().problem, None);
    let noted = "SELECT count(*) FROM audit_events WHERE event_type IN ('data_exported', 'creator_deleted')";
    assert_eq!(sqlx::query_scalar::<_, i64>(noted).fetch_one(&mut *conn).await.unwrap(), 3);
    // Somebody new may have the address.
    market.creator("rosalind@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_agreed_to_stays_known_when_it_is_withdrawn_and_when_they_leave() {
    let world = World::new().await;
    let market = world.market().await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let session = market.creator("ada@example.com").await;
    let (me, eve) =
        (market.client.with_token(&session.access), market.client.with_token(&market.creator("eve@example.com").await.access));
    let terms = GiveConsent { kind: ConsentKind::Terms, version: "2026-11".into(), text_hash: Some(B256::repeat_byte(7)) };
    let given = me.give_consent(&terms).await.unwrap();
    assert_eq!(me.give_consent(&terms).await.unwrap(), given, "said twice, it is one");
    assert_eq!((given.text_hash, given.network.is_some()), (terms.text_hash, true));
    let news = GiveConsent { kind: ConsentKind::Marketing, version: "1".into(), text_hash: None };
    let news = me.give_consent(&news).await.unwrap();
    assert_eq!(refusal(eve.withdraw_consent(news.id).await), Code::NotFound);
    let withdrawn = me.withdraw_consent(news.id).await.unwrap();
    assert!(withdrawn.withdrawn_at.is_some());
    assert_eq!(me.withdraw_consent(news.id).await.unwrap(), withdrawn);
    let naming = GiveConsent { version: "of ada@example.com".into(), ..terms.clone() };
    assert_eq!(refusal(me.give_consent(&naming).await), Code::InvalidRequest);
    assert_eq!(me.consents(&PageQuery::default()).await.unwrap().data, [withdrawn, given]);
    assert!(eve.consents(&PageQuery::default()).await.unwrap().data.is_empty());

    assert_eq!(lines(&me.export_creator().await.unwrap().body)["consents"].len(), 2);
    let noted = "SELECT count(*) FROM audit_events WHERE event_type LIKE 'consent_%' AND actor = $1";
    let noted: i64 = sqlx::query_scalar(noted).bind(session.creator.id).fetch_one(&pool).await.unwrap();
    assert_eq!(noted, 3);
    me.delete_creator(&DeleteCreator { password: PASSWORD.into(), forfeit: false }).await.unwrap();
    let left = "SELECT count(*) FROM consents WHERE creator_id = $1 AND network IS NULL AND withdrawn_at IS NOT NULL";
    let left: i64 = sqlx::query_scalar(left).bind(session.creator.id).fetch_one(&pool).await.unwrap();
    assert_eq!(left, 2, "that they agreed, and not where from");
}

/// A table that is new is either in the export, or known to have nothing of anybody.
#[tokio::test(flavor = "multi_thread")]
async fn the_export_has_every_table_that_has_something_of_somebody() {
    let world = World::new().await;
    let market = world.market().await;
    let source = include_str!("../../src/personal.rs");
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'market'::regnamespace AND relkind = 'r' ORDER BY 1";
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await.unwrap();
    let forgotten: Vec<_> = tables
        .iter()
        .filter(|table| !OF_NOBODY.contains(&table.as_str()) && !WITH_ANOTHER.contains(&table.as_str()))
        .filter(|table| !source.contains(&format!("FROM {table} AS t")))
        .collect();
    assert!(forgotten.is_empty(), "neither exported nor known to be of nobody: {forgotten:?}");
    market.stop().await;
}
