//! An upgrade adds to a mirror what its version would have made, without fetching again what is there.

use alloy::primitives::Address;
use contracts::Deployment;
use indexer::{Config, Transfers};
use sqlx::PgPool;

use crate::{
    harness::{Chain, Indexer, WAIT, assert_as_from_scratch, config, database, dump, pool, synced},
    story::{deploy_registry, make_one_of_each, register},
};

/// Mirrors all of the chain and a block more: an upgrade comes before it.
async fn mirrored(chain: &Chain, config: Config) -> PgPool {
    chain.pay(0, 1, 1).await;
    followed(chain, config).await
}

async fn followed(chain: &Chain, config: Config) -> PgPool {
    let pool = pool(&config.database_url).await;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    synced(chain, &pool).await;
    indexer.stop().await;
    pool
}

async fn count(pool: &PgPool, table: &'static str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM chain.{table}"))).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_that_are_added_are_filled_in_from_the_first_block_on() {
    let chain = Chain::start().await;
    make_one_of_each(&chain).await;
    let folder = tempfile::tempdir().unwrap();
    let older = Deployment {
        escrow: Address::ZERO,
        payment_router: Address::ZERO,
        agent_wallet_factory: Address::ZERO,
        ..chain.deployment.clone()
    };
    let file = folder.path().join("older.json");
    older.save(&file).unwrap();
    for transfers in [Transfers::All, Transfers::Ours] {
        let with = |database: &str, deployment| Config { transfers, deployment, ..config(&chain, database) };
        let (upgraded, fresh) = (database().await, database().await);
        let pool = mirrored(&chain, with(&upgraded, Some(file.clone()))).await;
        let before = (count(&pool, "events").await, count(&pool, "wallets").await);
        mirrored(&chain, with(&upgraded, None)).await;
        assert!(count(&pool, "events").await > before.0 && count(&pool, "wallets").await > before.1, "{before:?}");
        let fresh = mirrored(&chain, with(&fresh, None)).await;
        followed(&chain, with(&upgraded, None)).await;
        similar(&dump(&pool).await, &dump(&fresh).await);
        // What a later deployment does not name any more stays watched.
        mirrored(&chain, with(&upgraded, Some(file.clone()))).await;
        let proved = indexer::verify(&with(&upgraded, Some(file.clone())), None, None, |_| {}).await.unwrap();
        assert_eq!(proved.differences, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_upgrade_lasts_the_process_is_healthy_and_not_ready() {
    let chain = Chain::start().await;
    make_one_of_each(&chain).await;
    let database = database().await;
    let pool = mirrored(&chain, config(&chain, &database)).await;
    let tag = async |indexer: &Indexer| {
        let answer = reqwest::get(format!("{}/api/v1/chain/payments", indexer.url)).await.unwrap();
        answer.headers()["etag"].clone()
    };
    let older = "UPDATE chain.sync SET derivation = 0, checked_at = now() - interval '1 hour'";
    sqlx::query(older).execute(&pool).await.unwrap();
    // Readers go on, the writer waits: as long as an upgrade of a large mirror.
    let mut large = pg::begin(&pool).await.unwrap();
    sqlx::query("LOCK TABLE chain.payments IN SHARE MODE").execute(&mut *large).await.unwrap();
    let indexer = Indexer::start_with(config(&chain, &database)).await;
    assert!(indexer.started().await);
    let upgrading = async {
        loop {
            let (status, health) = indexer.get("/health").await;
            if (status, health["chains"]["base-sepolia"]["mirror"].as_str()) == (200, Some("upgrading")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, upgrading).await.expect("it says what it is doing");
    assert_eq!(indexer.get("/ready").await.0, 503);
    let before = tag(&indexer).await;
    large.rollback().await.unwrap();
    indexer.ready().await;
    let (_, status) = indexer.get("/api/v1/chain/status").await;
    assert_eq!((&status["upgrading"], &status["last_error"]), (&false.into(), &serde_json::Value::Null), "it is over");
    assert_ne!(tag(&indexer).await, before, "no block was added, but the rows are others");
    indexer.stop().await;
    assert_as_from_scratch(&chain, &pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_newer_version_made_are_not_told_to_be_ready() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    // The writer is of a newer version, and gets on.
    sqlx::query("UPDATE chain.sync SET derivation = derivation + 1").execute(&pool).await.unwrap();
    chain.pay(0, 1, 1).await;
    synced(&chain, &pool).await;
    let (status, answer) = indexer.get("/ready").await;
    assert!(status == 503 && answer["detail"].as_str().unwrap().contains("made by a newer version"), "{answer}");
    assert_eq!(indexer.get("/health").await.0, 200, "to end this process would mend nothing");
    sqlx::query("UPDATE chain.sync SET derivation = derivation - 1").execute(&pool).await.unwrap();
    assert_eq!(indexer.get("/ready").await.0, 200);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_two_registries_with_the_same_id_are_two() {
    let chain = Chain::start().await;
    let (earlier, second) = (chain.deployment.service_registry, deploy_registry(&chain).await);
    let id = register(&chain, earlier, chain.accounts[3]).await;
    assert_eq!(register(&chain, second, chain.accounts[4]).await, id, "owner and salt are the same");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later.json");
    Deployment { service_registry: second, ..chain.deployment.clone() }.save(&file).unwrap();
    let database = database().await;
    for (deployment, payee) in [(None, 3), (Some(file), 4)] {
        let config = Config { deployment, ..config(&chain, &database) };
        let indexer = Indexer::start_with(config.clone()).await;
        indexer.ready().await;
        chain.pay(0, 1, 1).await;
        synced(&chain, &pool(&database).await).await;
        let (_, shown) = indexer.get(&format!("/api/v1/chain/services/{id}")).await;
        assert_eq!(shown["payee"].as_str().unwrap().parse::<Address>().unwrap(), chain.accounts[payee], "{shown}");
        let (_, page) = indexer.get("/api/v1/chain/services").await;
        assert_eq!(page["data"].as_array().unwrap().len(), 1, "those of the deployment's registry: {page}");
        indexer.stop().await;
        assert_eq!(indexer::verify(&config, None, None, |_| {}).await.unwrap().differences, []);
    }
    assert_eq!(count(&pool(&database).await, "services").await, 2);
}

fn similar(ours: &str, theirs: &str) {
    for (a, b) in ours.lines().zip(theirs.lines()) {
        assert_eq!(a, b, "the upgraded mirror differs from a new one");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_could_not_be_read_are_read_after_an_upgrade_and_state_follows() {
    let chain = Chain::start().await;
    make_one_of_each(&chain).await;
    let database = database().await;
    let pool = mirrored(&chain, config(&chain, &database)).await;
    for older in [
        // A version that knew less, and one that drew other conclusions.
        "UPDATE chain.events SET name = NULL, args = NULL WHERE name LIKE 'Agreement%' OR name = 'PaymentExecuted';
         DELETE FROM chain.event_keys; DELETE FROM chain.agreements; DELETE FROM chain.payments; DELETE FROM chain.payment_hours;
         INSERT INTO chain.event_keys SELECT key, block_number, log_index FROM kept JOIN chain.events USING (block_number, log_index)
         WHERE name IS NOT NULL",
        "UPDATE chain.sync SET derivation = 0; UPDATE chain.payments SET amount = amount + 1; DELETE FROM chain.wallets",
    ] {
        let older = format!("CREATE TEMPORARY TABLE kept AS SELECT * FROM chain.event_keys; {older}; DROP TABLE kept");
        sqlx::raw_sql(sqlx::AssertSqlSafe(older)).execute(&mut *pool.acquire().await.unwrap()).await.unwrap();
        mirrored(&chain, config(&chain, &database)).await;
        assert_as_from_scratch(&chain, &pool).await;
    }
}
