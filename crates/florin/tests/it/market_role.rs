//! `florin market-role`: how a market gets its first administrator.

use api::{Client, Login, RegisterCreator, Role};
use stack::Stack;

use crate::cli::{florin, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_made_by_whoever_has_the_database() {
    let stack = Stack::for_test().await.unwrap();
    let market = Client::new(stack.market_url().clone());
    let (email, password) = ("me@example.com".to_owned(), "correct horse battery".to_owned());
    let creator = RegisterCreator {
        email: email.clone(),
        password: password.clone(),
        display_name: "Me".into(),
        phone: None,
        country: None,
    };
    assert_eq!(market.register_creator(&creator).await.unwrap().creator.role, Role::User);
    let role = |email: &str, role: &str| {
        let mut command = florin(&["market-role", email, role]);
        command.env("DATABASE_URL", stack.database_url());
        command
    };
    let (code, said) = refusal(&mut role("nobody@example.com", "admin"));
    assert!(code == 1 && said.contains("register at the marketplace first"), "{code}: {said}");
    let (code, said) = refusal(&mut role(&email, "king"));
    assert!(code == 2 && said.contains("finance"), "{code}: {said}");
    assert!(role("Me@Example.com", "admin").output().unwrap().status.success());
    let session = market.login(&Login::new(email, password)).await.unwrap();
    assert_eq!(session.creator.role, Role::Admin);
    stack.shutdown().await;
}
