use std::net::TcpListener;

use alloy::{primitives::U256, providers::Provider};
use contracts::usdc::Usdc as Token;
use money::Usdc;
use sqlx::{Connection, PgConnection};
use stack::{Account, Error, Options, Postgres, Stack, USDC_PER_ACCOUNT};

#[tokio::test]
async fn every_account_has_its_usdc_and_eth_from_the_first_moment() {
    let stack = Stack::for_test().await.unwrap();
    for account in Account::all() {
        assert_eq!(stack.chain().balance(account.address).await.unwrap(), USDC_PER_ACCOUNT);
        assert!(stack.provider().get_balance(account.address).await.unwrap() > U256::ZERO);
    }
}

#[tokio::test]
async fn two_stacks_of_one_process_share_nothing() {
    let (first, second) = tokio::try_join!(Stack::for_test(), Stack::for_test()).unwrap();
    first.chain().mint(first.account(1).address, Usdc::ONE).await.unwrap();
    let after = USDC_PER_ACCOUNT.checked_add(Usdc::ONE).unwrap();
    assert_eq!(first.chain().balance(first.account(1).address).await.unwrap(), after);
    assert_eq!(second.chain().balance(second.account(1).address).await.unwrap(), USDC_PER_ACCOUNT);
    assert_ne!(first.database_url(), second.database_url());
    assert_ne!(first.indexer_url(), second.indexer_url());
}

#[tokio::test]
async fn the_keys_that_are_shown_are_the_keys_of_the_accounts_anvil_unlocks() {
    let stack = Stack::for_test().await.unwrap();
    let unlocked = stack.provider().get_accounts().await.unwrap();
    assert_eq!(unlocked, Account::all().iter().map(|account| account.address).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_service_answers_before_the_stack_is_handed_over() {
    let stack = Stack::for_test().await.unwrap();
    for url in [stack.facilitator_url(), stack.indexer_url(), stack.market_url()] {
        let answer = reqwest::get(url.join("health").unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{url} {}", answer.status());
    }
}

#[tokio::test]
async fn after_shutdown_neither_node_nor_database_answers() {
    let stack = Stack::start(Options::default()).await.unwrap();
    let (rpc, indexer, database) = (stack.rpc_url().clone(), stack.indexer_url().clone(), stack.database_url().to_owned());
    assert!(reqwest::get(indexer.join("health").unwrap()).await.unwrap().status().is_success());
    stack.shutdown().await;
    assert!(reqwest::get(rpc).await.is_err());
    assert!(reqwest::get(indexer).await.is_err());
    assert!(PgConnection::connect(&database).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_left_running() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for options in [Options { indexer_port: port, ..Options::default() }, Options { chain_port: port, ..Options::default() }] {
        let refused = Stack::start(options).await.unwrap_err();
        assert!(matches!(refused, Error::PortInUse { port: named } if named == port), "{refused}");
    }
}

#[tokio::test]
async fn on_a_server_of_somebody_else_only_a_database_is_made_and_it_is_removed_in_the_end() {
    let server = Postgres::start(None).await.unwrap();
    let theirs = server.create("theirs", None).await.unwrap();
    let mut connection = PgConnection::connect(&theirs.url).await.unwrap();
    let names = "SELECT array_agg(datname::text) FROM pg_database WHERE datname LIKE 'florin_%'";
    for orderly in [true, false] {
        let options = Options { database_url: Some(theirs.url.clone()), ..Options::default() };
        let stack = Stack::start(options).await.unwrap();
        let made: Vec<String> = sqlx::query_scalar(names).fetch_one(&mut connection).await.unwrap();
        assert!(stack.database_url().contains(&made[0]));
        if orderly {
            stack.shutdown().await
        } else {
            drop(stack)
        }
        let left: Option<Vec<String>> = sqlx::query_scalar(names).fetch_one(&mut connection).await.unwrap();
        assert_eq!(left, None);
    }
}

#[tokio::test]
async fn an_amount_survives_a_column_and_an_amount_too_large_for_one_is_refused() {
    let stack = Stack::for_test().await.unwrap();
    let mut connection = PgConnection::connect(stack.database_url()).await.unwrap();
    let largest = Usdc::from_base_units(i64::MAX.unsigned_abs());
    for amount in [Usdc::ZERO, Usdc::from_base_units(1), largest] {
        let read: Usdc = sqlx::query_scalar("SELECT $1::bigint").bind(amount).fetch_one(&mut connection).await.unwrap();
        assert_eq!(read, amount);
    }
    let too_large = Usdc::from_base_units(i64::MAX.unsigned_abs() + 1);
    assert!(sqlx::query_scalar::<_, Usdc>("SELECT $1::bigint").bind(too_large).fetch_one(&mut connection).await.is_err());
    assert!(sqlx::query_scalar::<_, Usdc>("SELECT -1::bigint").fetch_one(&mut connection).await.is_err());
    let many: Vec<Usdc> =
        sqlx::query_scalar("SELECT $1::bigint[]").bind(vec![Usdc::ONE, largest]).fetch_one(&mut connection).await.unwrap();
    assert_eq!(many, [Usdc::ONE, largest]);
}

#[tokio::test]
async fn the_token_of_a_copied_chain_still_knows_its_past() {
    let stack = Stack::for_test().await.unwrap();
    let token = Token::new(stack.deployment().usdc, stack.provider());
    let minted = token.Transfer_filter().from_block(stack.deployment().start_block).query().await.unwrap();
    assert_eq!(minted.len(), Account::COUNT);
}
