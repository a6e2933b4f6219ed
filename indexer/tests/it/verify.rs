//! Proving again finds what somebody changed in the database, and nothing else.

use crate::{
    harness::{Chain, Indexer, config, database, pool, synced},
    story::make_one_of_each,
};

#[tokio::test(flavor = "multi_thread")]
async fn proving_again_finds_every_row_that_is_not_the_chains() {
    let chain = Chain::start().await;
    chain.block(&[(0, 1, 11), (2, 3, 7)]).await;
    let first = chain.height().await;
    chain.block(&[(1, 0, 5)]).await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    indexer.stop().await;
    let config = config(&chain, &database);
    let clean = indexer::verify(&config, None, None, |_| {}).await.unwrap();
    assert_eq!(clean.differences, []);
    assert_eq!(clean.blocks, chain.height().await - chain.deployment.start_block + 1);

    for change in [
        "UPDATE chain.transfers SET amount = amount + 1 WHERE block_number = $1",
        "DELETE FROM chain.transfers WHERE block_number = $1 AND log_index = 0",
        "UPDATE chain.blocks SET hash = sha256(hash) WHERE number = $1",
    ] {
        let before = indexer::verify(&config, Some(first), Some(first), |_| {}).await.unwrap().differences.len();
        sqlx::query(change).bind(i64::try_from(first).unwrap()).execute(&pool).await.unwrap();
        let after = indexer::verify(&config, Some(first), Some(first), |_| {}).await.unwrap().differences;
        assert!(!after.is_empty() && after.len() >= before, "{change}: {after:?}");
        assert!(after.iter().all(|difference| difference.block == first), "{change}: {after:?}");
    }
    let elsewhere = indexer::verify(&config, Some(first + 1), None, |_| {}).await.unwrap();
    assert_eq!(elsewhere.differences, [], "the other blocks are as they were");

    sqlx::query("UPDATE chain.balances SET balance = balance + 1 WHERE account = $1 AND until_block IS NULL")
        .bind(chain.accounts[3].as_slice())
        .execute(&pool)
        .await
        .unwrap();
    let off = indexer::verify(&config, Some(first + 1), None, |_| {}).await.unwrap().differences;
    assert_eq!(off.len(), 1, "{off:?}");
    assert!(off[0].what.contains(&chain.accounts[3].to_string()), "{off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_accounts_had_before_the_first_block_is_no_difference() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.start_block = Some(chain.height().await + 1);
    chain.block(&[(0, 1, 11), (2, 3, 7)]).await;
    let indexer = Indexer::start_with(config.clone()).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    indexer.stop().await;
    assert_eq!(indexer::verify(&config, None, None, |_| {}).await.unwrap().differences, []);
    let spoil = "UPDATE chain.balances SET balance = balance + 1 WHERE account = $1 AND until_block IS NULL";
    sqlx::query(spoil).bind(chain.accounts[3].as_slice()).execute(&pool).await.unwrap();
    assert_eq!(indexer::verify(&config, None, None, |_| {}).await.unwrap().differences.len(), 1);

    let first = config.start_block.unwrap();
    for (from, to) in [(Some(first - 1), None), (None, Some(first + 1)), (Some(first + 1), Some(first))] {
        let refused = indexer::verify(&config, from, to, |_| {}).await.unwrap_err();
        assert!(matches!(refused, indexer::Error::NotInMirror { mirrored: Some(_), .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_indexer_says_what_is_not_as_the_chain_says() {
    let chain = Chain::start().await;
    make_one_of_each(&chain).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.reconcile_seconds = 1;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    let metric = async |name: &str| -> u64 {
        let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    let differences = async |what: &str| metric(&format!("florin_indexer_differences{{what=\"{what}\"}} ")).await;
    while metric("florin_indexer_reconciliations_total ").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let spoiled = [
        ("balances", "UPDATE chain.balances SET balance = balance - 1 WHERE account = $1 AND until_block IS NULL"),
        ("agreements", "UPDATE chain.agreements SET state = jsonb_set(state, '{released}', '\"1\"') WHERE $1 IS NOT NULL"),
        ("wallets", "UPDATE chain.wallets SET state = jsonb_set(state, '{owner}', to_jsonb('0x' || encode($1, 'hex')))"),
        ("subscriptions", "UPDATE chain.subscriptions SET state = jsonb_set(state, '{charged}', '\"1\"') WHERE $1 IS NOT NULL"),
        ("services", "UPDATE chain.services SET state = jsonb_set(state, '{payee}', to_jsonb('0x' || encode($1, 'hex')))"),
        (
            "proposals",
            "UPDATE chain.proposals SET state = jsonb_set(state, '{approvals}', jsonb_build_array('0x' || encode($1, 'hex')))",
        ),
        ("payments", "UPDATE chain.payments SET payee = $1 WHERE kind = 'wallet'"),
        ("treasuries", "UPDATE chain.treasuries SET state = jsonb_set(state, '{paused}', 'true') WHERE $1 IS NOT NULL"),
    ];
    for (what, _) in spoiled {
        assert_eq!(differences(what).await, 0, "{what}");
    }
    for (what, spoil) in spoiled {
        sqlx::query(spoil).bind(chain.accounts[3].as_slice()).execute(&pool).await.unwrap();
        while differences(what).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(differences(what).await, 1, "{what}");
    }
    indexer.stop().await;
}
