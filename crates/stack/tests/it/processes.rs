use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use stack::{Anvil, AnvilOptions, Error, Postgres};

pub(crate) fn processes_naming(text: &str) -> usize {
    let listed = Command::new("ps").args(["-axww", "-o", "args="]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains(text) && !line.starts_with("ps ")).count()
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn dropping_a_chain_leaves_no_process_and_no_directory() {
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let directory = anvil.directory().to_owned();
    assert!(processes_naming(directory.to_str().unwrap()) > 0);
    drop(anvil);
    until("the directory is gone", || !directory.exists()).await;
    until("the process is gone", || processes_naming(directory.to_str().unwrap()) == 0).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = Anvil::start(&AnvilOptions { port, ..AnvilOptions::default() }).await.unwrap_err();
    assert!(matches!(refused, Error::PortInUse { port: named } if named == port), "{refused}");
}

#[tokio::test]
async fn a_database_is_a_copy_of_its_template_and_apart_from_it() {
    let postgres = Postgres::start(None).await.unwrap();
    let template = postgres.create("template", None).await.unwrap();
    let mut connection = PgConnection::connect(&template.url).await.unwrap();
    sqlx::query("CREATE TABLE kept (n INT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let copy = postgres.create("copy", Some(&template)).await.unwrap();
    let mut connection = PgConnection::connect(&copy.url).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (1)").execute(&mut connection).await.unwrap();
    let mut original = PgConnection::connect(&template.url).await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut original).await.unwrap();
    assert_eq!(rows, 0);
    postgres.stop().await;
    assert!(PgConnection::connect(&copy.url).await.is_err());
}

#[tokio::test]
async fn an_unreachable_database_says_what_to_look_at() {
    let refused = Postgres::start(Some("postgres://nobody@127.0.0.1:1/none")).await.unwrap_err().to_string();
    assert!(refused.contains("DATABASE_URL"), "{refused}");
}
