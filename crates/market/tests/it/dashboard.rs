//! What whoever runs the market sees at a glance.

use api::{AgentType, Code, Role, ledger::Asset};
use money::Usdc;

use crate::{
    funds::until,
    harness::{BUYER, PRICE, SELLER, World, goods, refusal},
};

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_the_market_sees_what_there_is_and_what_waits() {
    let world = World::new().await;
    let market = world.market().await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"1"))).await.unwrap();
    buyer.client.express_from_ledger(listing.id, Asset::Ard, "bought").await.unwrap();
    let waiting = "INSERT INTO withdrawals (id, owner, person, recipient, amount, status, created_at)
         SELECT gen_random_uuid(), id, person, wallet, 1500000, status, '2026-06-01'
         FROM agents, unnest(ARRAY['awaiting_approval', 'rejected']) AS s (status)";
    sqlx::query(waiting).execute(&pool).await.unwrap();
    let found = "INSERT INTO fraud_findings (id, rule, subject, action, agents, evidence, hits, first_at, last_at)
         SELECT gen_random_uuid(), 'new_account', gen_random_uuid(), action, '{}', '{}', 1, now(), now()
         FROM unnest(ARRAY['hold', 'flag']) AS a (action)";
    sqlx::query(found).execute(&pool).await.unwrap();
    let finance = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    let support = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Support).await);
    assert_eq!(refusal(support.admin_dashboard().await), Code::Forbidden);
    until("the sale is counted", async || finance.admin_dashboard().await.unwrap().today.sold == 1).await;
    let seen = finance.admin_dashboard().await.unwrap();
    assert_eq!((seen.agents, seen.creators, seen.listings), (2, 2, 1));
    assert_eq!((seen.today.ard, seen.today.usdc), ("50".parse().unwrap(), Usdc::ZERO));
    assert_eq!((seen.findings_open, seen.findings_acting, seen.disputes, seen.transactions_differing), (2, 1, 0, 0));
    assert_eq!((seen.withdrawals_awaiting, seen.withdrawals_awaiting_usdc), (2, Usdc::from_base_units(3_000_000)));
    assert_eq!(seen.withdrawals_awaiting_since.map(|since| since.year()), Some(2026));
    assert_eq!((seen.seals_unanchored, seen.books.missing, seen.books.violation), (None, Usdc::ZERO, None));
    until("all is sealed", async || finance.admin_dashboard().await.unwrap().transfers_unsealed == 0).await;
}
