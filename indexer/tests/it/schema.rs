//! The schema as an analyst meets it.

use sqlx::{AssertSqlSafe, Executor};

use crate::harness::{Chain, Indexer, database, pool, synced};

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_every_column_says_what_it_holds() {
    let database = database().await;
    indexer::migrate(&database).await.unwrap();
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || coalesce('.' || a.attname, '')
         FROM pg_class AS c CROSS JOIN LATERAL (
             SELECT NULL::name AS attname, 0 AS attnum
             UNION ALL SELECT attname, attnum FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
         ) AS a
         WHERE c.relnamespace = 'chain'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
           AND c.relname <> '_sqlx_migrations' AND col_description(c.oid, a.attnum) IS NULL
         ORDER BY 1",
    )
    .fetch_all(&pool(&database).await)
    .await
    .unwrap();
    assert_eq!(silent, Vec::<String>::new(), "COMMENT ON them");
}

/// The statements in the README.
fn examples() -> Vec<&'static str> {
    let blocks = include_str!("../../README.md").split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(|block| block.split(';')).map(str::trim).filter(|statement| !statement.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_role_can_run_every_documented_query_and_change_nothing() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    chain.pay(1, 2, 5).await;
    synced(&chain, &pool).await;
    indexer.stop().await;

    let mut reader = pool.acquire().await.unwrap();
    reader.execute("SET ROLE florin_reader").await.unwrap();
    assert!(examples().len() >= 5);
    for statement in examples() {
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut *reader).await;
        rows.unwrap_or_else(|error| panic!("{error}\n{statement}"));
    }
    // Also what the writer made later.
    let partition = "SELECT count(*) FROM chain.transfers_0 WHERE amount = 5";
    assert_eq!(sqlx::query_scalar::<_, i64>(partition).fetch_one(&mut *reader).await.unwrap(), 1);
    for refused in ["DELETE FROM chain.transfers", "UPDATE chain.sync SET chain_id = 1", "CREATE TABLE chain.mine ()"] {
        let error = sqlx::query(refused).execute(&mut *reader).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{refused}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_mirror_has_reached_the_chain_every_index_is_there() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    let first_columns = async |table: &str| -> Vec<String> {
        let select = "SELECT pg_get_indexdef(indexrelid, 1, false) FROM pg_index WHERE indrelid = $1::regclass ORDER BY 1";
        sqlx::query_scalar(select).bind(table).fetch_all(&pool).await.unwrap()
    };
    let built = async {
        // They are built beside, the last of them that of balances.
        while first_columns("chain.balances").await.len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::harness::WAIT, built).await.expect("every index is built");
    assert_eq!(first_columns("chain.transfers_0").await, ["authorization_nonce", "block_number", "recipient", "sender"]);
    assert_eq!(first_columns("chain.balances").await, ["account", "token"]);
    indexer.stop().await;

    // One whose building was interrupted is no index.
    let broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'chain.transfers_0_sender'::regclass";
    sqlx::query(broken).execute(&pool).await.unwrap();
    let indexer = Indexer::start(&chain, &database).await;
    let valid =
        "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('chain.transfers_0_sender')), false)";
    let mended = async {
        while !sqlx::query_scalar::<_, bool>(valid).fetch_one(&pool).await.unwrap() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::harness::WAIT, mended).await.expect("it is built again");
    indexer.stop().await;
}
