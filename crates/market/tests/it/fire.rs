//! Correctness under fire: clients buy, send, deposit, withdraw and redeem, sales are reversed, while Postgres and the market are killed at
//! random. Whoever gets no answer asks again with the same key. For longer and with more: `FLORIN_FIRE_SECONDS=600`,
//! `FLORIN_FIRE_CLIENTS=64`.

use std::{
    collections::BTreeSet,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{primitives::U256, providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use api::{
    AgentType, ClientError, ToppedUp,
    ledger::{Asset, Kind, Redeem, RedemptionMethod, Send, VerifyQuery, Withdraw},
};
use futures::future::join_all;
use market::{
    Config,
    ledger::{self, Ledger, Move, Order, Purpose, Rates, What},
};
use rand::Rng;
use sqlx::PgPool;
use stack::{Options, Postgres, Stack};
use tokio::sync::RwLock;
use url::Url;
use uuid::Uuid;
use x402::PaymentRequired;

use crate::{
    funds::{custody, finalize, metric, until, usdc},
    harness::{Market, Member, PRICE, WAIT, World, because, goods, pay},
};

const CLIENTS: usize = 6;
const SECONDS: usize = 8;
/// Wallets that clients pay with; several may share one.
const WALLETS: usize = 6;

/// What one client was told, all of it for good.
#[derive(Debug, Default)]
struct Told {
    purchases: BTreeSet<Uuid>,
    sent: i64,
    redeemed: i64,
    deposited: i64,
    withdrawn: i64,
}

struct Client {
    member: Member,
    account: usize,
    others: Vec<Uuid>,
    listings: Vec<Uuid>,
    market: Arc<RwLock<Url>>,
}

impl Client {
    /// Asks until there is an answer. `None` when it was refused.
    async fn ask<T>(&self, request: impl AsyncFn(api::Client) -> Result<T, ClientError>) -> Option<T> {
        loop {
            let at = self.market.read().await.clone();
            match request(self.member.client.at(at)).await {
                Ok(answer) => return Some(answer),
                Err(ClientError::Refused(problem)) if problem.status < 500 => return None,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn act(&self, key: &str, told: &mut Told) {
        let (what, which) = (rand::rng().random_range(0..10), rand::rng().random_range(0..1_000));
        match what {
            0..=3 => {
                let listing = self.listings[which % self.listings.len()];
                let bought = self.ask(async |client| client.express_from_ledger(listing, Asset::Ard, key).await).await;
                told.purchases.extend(bought.map(|content| {
                    assert_eq!(content.body.len(), 1_000);
                    content.headers["x-purchase-id"].to_str().unwrap().parse::<Uuid>().unwrap()
                }));
            }
            4 | 5 => {
                let to_agent_id = self.others[which % self.others.len()];
                let send = Send { to_agent_id, asset: Asset::Ard, amount: usdc("1"), memo: None };
                told.sent += i64::from(self.ask(async |client| client.send_money(&send, key).await).await.is_some());
            }
            6 => {
                let redeem = Redeem { method: RedemptionMethod::ApiCredits, amount: usdc("100"), details: None };
                told.redeemed += i64::from(self.ask(async |client| client.redeem(&redeem, key).await).await.is_some());
            }
            7 | 8 => {
                let Some(ToppedUp::PaymentRequired(asked)) = self.ask(async |client| client.top_up(usdc("1"), None).await).await
                else {
                    panic!("credited for nothing")
                };
                let payment = pay(&x402::header::decode(asked.as_bytes()).unwrap(), self.account);
                let payment = x402::header::encode(&payment).unwrap();
                match self.ask(async |client| client.top_up(usdc("1"), Some(&payment)).await).await {
                    Some(ToppedUp::Credited(_)) => told.deposited += 1_000_000,
                    // Nothing was there to settle it while it was good: nothing came, and the chain will tell.
                    Some(ToppedUp::PaymentRequired(asked)) => {
                        let asked: PaymentRequired = x402::header::decode(asked.as_bytes()).unwrap();
                        assert_eq!(asked.error.as_deref(), Some("invalid_exact_evm_payload_authorization_valid_before"));
                    }
                    None => panic!("neither credited nor asked for"),
                }
            }
            _ => {
                let withdraw = Withdraw { amount: usdc("0.1"), to_address: None };
                let asked = self.ask(async |client| client.withdraw(&withdraw, key).await).await;
                told.withdrawn += asked.map_or(0, |_| 100_000);
            }
        }
    }
}

/// Kills one process of the database without warning; the server ends all others and recovers.
async fn kill_postgres(pool: &PgPool) {
    let pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'florin-market' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
    if let Ok(pid) = sqlx::query_scalar::<_, i32>(pid).fetch_one(pool).await {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }
}

/// A server that has just lost a process to us ends every connection and starts anew.
async fn number(pool: &PgPool, query: &'static str) -> i64 {
    let ask = async {
        loop {
            match sqlx::query_scalar(query).fetch_one(pool).await {
                Ok(number) => return number,
                Err(sqlx::Error::Io(_)) => {}
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("57P")) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WAIT, ask).await.expect("the server comes back")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_every_key_has_one_effect_and_the_books_are_right() {
    let option = |name, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (seconds, clients) = (option("FLORIN_FIRE_SECONDS", SECONDS), option("FLORIN_FIRE_CLIENTS", CLIENTS));
    let server = Postgres::start(None).await.unwrap();
    let database = server.create("fire", None).await.unwrap();
    let options = Options { database_url: Some(database.url), without_market: true, ..Options::default() };
    let world = World::of(Stack::start(options).await.unwrap());
    let (custody, config) = custody(&world).await;
    let anchors = PrivateKeySigner::random();
    let provider = world.stack.provider();
    provider.anvil_set_balance(anchors.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    let config = Config {
        ledger_key: Some(anchors),
        anchor_seconds: Some(1),
        requests_per_minute: 0,
        requests_per_minute_unknown: 0,
        withdrawal_day_max: PRICE.checked_mul(1_000_000).unwrap(),
        withdrawal_unapproved_max: PRICE.checked_mul(1_000_000).unwrap(),
        transfer_day_max: PRICE.checked_mul(1_000_000).unwrap(),
        ..config
    };
    let market = Market::alone(config.clone(), because::OWN).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let own = Ledger::start(pool.clone(), Rates::default());

    let mut members = Vec::new();
    for number in 0..clients {
        let account = 1 + number % WALLETS;
        members.push((account, market.join(&format!("agent {number}"), account, AgentType::Both).await));
    }
    let mut listings = Vec::new();
    for (_, member) in &members {
        let to = ledger::open(&pool, member.agent.id, Asset::Ard, Purpose::Free).await.unwrap();
        let gift = Move { kind: Kind::Bonus, from: ledger::MINT, to, amount: usdc("100000"), reference: Uuid::nil(), memo: None };
        own.submit(Order { key: None, what: What::Move(gift) }).await.unwrap();
        for title in 0..10 {
            let listing = goods(&format!("goods {title}"), PRICE, Some(&[7; 1_000]));
            listings.push(member.client.create_listing(&listing).await.unwrap().id);
        }
    }
    let place = Arc::new(RwLock::new(market.url.clone()));
    let ids: Vec<Uuid> = members.iter().map(|(_, member)| member.agent.id).collect();
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let clients = members.into_iter().map(|(account, member)| {
        let others = ids.iter().copied().filter(|id| *id != member.agent.id).collect();
        let client = Client { member, account, others, listings: listings.clone(), market: place.clone() };
        async move {
            let mut told = Told::default();
            for step in 0.. {
                if Instant::now() > end {
                    break;
                }
                client.act(&format!("step {step}"), &mut told).await;
            }
            told
        }
    });
    let (mut markets, mut servers) = (0, 0);
    let fire = async {
        let mut market = market;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(rand::rng().random_range(300..1_500))).await;
            if let Ok(sale) =
                sqlx::query_scalar::<_, i64>("SELECT transfer FROM sales ORDER BY random() LIMIT 1").fetch_one(&pool).await
            {
                // Refused when the seller has spent it, or it was reversed before.
                let _ = own.submit(Order { key: None, what: What::Reverse(sale.unsigned_abs(), None) }).await;
            }
            if rand::rng().random() {
                kill_postgres(&pool).await;
                servers += 1;
            } else {
                market.kill();
                // As whoever supervises it would, until there is a database again.
                while sqlx::query("SELECT 1").execute(&pool).await.is_err() {}
                market = Market::alone(config.clone(), because::OWN).await;
                *place.write().await = market.url.clone();
                markets += 1;
            }
        }
        market
    };
    let (told, market) = tokio::join!(join_all(clients), fire);
    let sum = |of: fn(&Told) -> i64| told.iter().map(of).sum::<i64>();
    let (deposited, withdrawn) = (sum(|told| told.deposited), sum(|told| told.withdrawn));
    eprintln!(
        "{markets} markets and {servers} databases killed in {seconds} s; {} transfers, {deposited} units in, {withdrawn} out",
        number(&pool, "SELECT last_id FROM ledger").await
    );

    finalize(&world).await;
    let owed = "SELECT -balance FROM accounts WHERE id = 2";
    until("the last batch is final", async || {
        finalize(&world).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        number(&pool, "SELECT count(*) FROM withdrawals WHERE status <> 'completed'").await == 0
            && number(&pool, owed).await == deposited - withdrawn
    })
    .await;
    until("the books were looked at", async || {
        number(&pool, "SELECT last_id - checked_to FROM books, ledger").await == 0
            && metric(&market, "market_books_violated").await == 0
    })
    .await;
    let balance = world.stack.chain().balance(custody.address()).await.unwrap().base_units();
    assert_eq!(balance.cast_signed(), deposited - withdrawn, "custody has what is owed");
    let unsound = "SELECT count(*) FROM (
         SELECT id FROM accounts LEFT JOIN entries ON account = id GROUP BY id HAVING coalesce(sum(amount), 0) <> max(accounts.balance)
         UNION ALL SELECT transfer FROM entries JOIN accounts ON id = account GROUP BY transfer, asset HAVING sum(amount) <> 0) AS wrong";
    assert_eq!(number(&pool, unsound).await, 0);
    assert_eq!(number(&pool, "SELECT count(*) FROM transfers WHERE kind = 3").await, sum(|told| told.sent));
    assert_eq!(number(&pool, "SELECT count(*) FROM redemptions WHERE status = 'completed'").await, sum(|told| told.redeemed));
    assert_eq!(
        number(&pool, "SELECT coalesce(sum(credits), 0)::bigint FROM api_credits").await,
        sum(|told| told.redeemed) * 100_000_000
    );
    // No charge without content, no content without charge.
    let sold: Vec<(Uuid, bool)> = sqlx::query_as("SELECT id, reversed FROM sales").fetch_all(&pool).await.unwrap();
    let bought: BTreeSet<Uuid> = told.iter().flat_map(|told| told.purchases.iter().copied()).collect();
    // Whose answer was lost, and whose money was given back before the next one, has no content either.
    assert!(sold.iter().all(|(id, reversed)| *reversed || bought.contains(id)), "a charge without content");
    let sold: BTreeSet<Uuid> = sold.into_iter().map(|(id, _)| id).collect();
    assert!(bought.is_subset(&sold), "content without a charge");
    // All of it is sealed and anchored, and is what was anchored.
    let auditor = &market.client;
    let verified = async |from: u64| auditor.verify_ledger(&VerifyQuery { from: Some(from), limit: Some(100) }).await.unwrap();
    let unanchored =
        "SELECT last_id - coalesce((SELECT max(first_id + count) - 1 FROM seals WHERE anchor IS NOT NULL), 0) FROM ledger";
    until("all is anchored", async || {
        finalize(&world).await;
        number(&pool, unanchored).await == 0
    })
    .await;
    let (mut next, mut proved) = (1, 0);
    loop {
        let part = verified(next).await;
        assert!(part.valid && part.anchored_seals == part.seals, "{part:?}");
        if part.seals == 0 {
            break;
        }
        (next, proved) = (next + part.seals, proved + part.transfers);
    }
    assert_eq!(proved.cast_signed(), number(&pool, "SELECT last_id FROM ledger").await);
}
