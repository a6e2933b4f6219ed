use alloy::primitives::{B256, Bytes};
use alloy::signers::SignerSync;
use api::{
    AgentFilter, AgentType, Code, ProveWallet, Register, Scope, TokenRequest, UpdateAgent,
    ledger::{Amount, Asset, Send},
};
use contracts::agent_wallet_factory::{
    AgentWalletFactory,
    IAgentWallet::{OperatorConfig, WalletConfig},
};
use stack::Account;

use crate::harness::{BUYER, PRICE, SELLER, World, address, bytes_of, goods, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_a_wallet_that_did_not_sign() {
    let world = World::new().await;
    let market = world.market().await;
    let mut stolen = market.registration("thief", BUYER, AgentType::Seller).await;
    stolen.wallet_address = address(SELLER);
    assert_eq!(refusal(market.client.register(&stolen).await), Code::WalletNotProven);
    let mut forged = market.registration("forger", BUYER, AgentType::Seller).await;
    forged.signature = market.registration("other", SELLER, AgentType::Seller).await.signature;
    assert_eq!(refusal(market.client.register(&forged).await), Code::WalletNotProven);
    // An address without code cannot vouch by EIP-1271.
    forged.signature = Bytes::from(vec![1; 600]);
    assert_eq!(refusal(market.client.register(&forged).await), Code::WalletNotProven);
    let unknown = market.client.with_wallet_proof(B256::from(rand::random::<[u8; 32]>()), &forged.signature);
    assert_eq!(refusal(unknown.purchases(&Default::default()).await), Code::WalletNotProven);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_registers_once_even_when_sent_many_times_at_once() {
    let world = World::new().await;
    let market = world.market().await;
    let first = market.registration("one", SELLER, AgentType::Both).await;
    let many = (0..8).map(|i| {
        let (mut request, client) = (first.clone(), market.client.clone());
        request.name = format!("one {i}");
        async move { client.register(&request).await.is_ok() }
    });
    let registered = futures::future::join_all(many).await;
    assert_eq!(registered.iter().filter(|ok| **ok).count(), 1);
    assert_eq!(market.client.agents(&AgentFilter::default()).await.unwrap().data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_changed_by_itself_only_and_its_key_ends_with_it() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let other = market.join("other", BUYER, AgentType::Both).await;
    let id = seller.agent.id;
    assert_eq!(seller.agent.wallet_address, address(SELLER));
    let change = UpdateAgent { description: Some("new".into()), ..UpdateAgent::default() };
    assert_eq!(refusal(other.client.update_agent(id, &change).await), Code::Forbidden);
    assert_eq!(refusal(market.client.update_agent(id, &change).await), Code::Unauthenticated);
    assert_eq!(seller.client.update_agent(id, &change).await.unwrap().description, "new");
    assert!(seller.client.heartbeat(id).await.unwrap().last_seen_at >= seller.agent.last_seen_at);
    let again = market.registration("seller", SELLER, AgentType::Seller).await;
    assert_eq!(refusal(market.client.register(&again).await), Code::NameTaken);

    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"42"))).await.unwrap();
    assert!(!seller.client.deactivate_agent(id).await.unwrap().active);
    let refused = async || seller.client.heartbeat(id).await.is_err_and(|error| error.code() == Some(&Code::Unauthenticated));
    market.soon("the key ended", refused).await;
    assert_eq!(refusal(market.client.express(listing.id, None).await), Code::WrongState);

    // What it has is still its wallet's: who proves that takes it out, and does nothing else.
    let ask = |agent_id, scopes| TokenRequest { agent_id, scopes };
    assert_eq!(refusal(market.as_wallet(SELLER).await.token(&ask(None, None)).await), Code::NotFound);
    let token = market.as_wallet(SELLER).await.token(&ask(Some(id), None)).await.unwrap();
    let gone = market.client.with_token(&token);
    let send = Send { to_agent_id: other.agent.id, asset: Asset::Ard, amount: "100".parse().unwrap(), memo: None };
    assert!(gone.send_money(&send, "a").await.unwrap().balance.is_zero());
    assert_eq!(refusal(gone.create_listing(&goods("prices", PRICE, None)).await), Code::Forbidden);
    assert_eq!(refusal(market.as_wallet(BUYER).await.token(&ask(Some(id), None)).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_speaks_for_the_wallet_it_spends_and_nobody_else_does() {
    let world = World::new().await;
    let market = world.market().await;
    let factory = AgentWalletFactory::new(world.stack.deployment().agent_wallet_factory, world.stack.provider());
    let operator = OperatorConfig { operator: address(BUYER), ..OperatorConfig::default() };
    let config = WalletConfig { owner: address(SELLER), operators: vec![operator], ..WalletConfig::default() };
    let wallet = factory.walletAddress(config.clone()).call().await.unwrap();
    let created = factory.createWallet(config).from(address(7)).send().await.unwrap().get_receipt().await.unwrap();
    assert!(created.status());
    let signed = async |account: usize| {
        let challenge = market.client.challenge(wallet).await.unwrap();
        let signature = Account::at(account).signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
        (challenge.nonce, bytes_of(signature))
    };
    for (account, speaks) in [(7, false), (BUYER, true), (SELLER, true)] {
        let (nonce, signature) = signed(account).await;
        let client = market.client.with_wallet_proof(nonce, &signature);
        assert_eq!(client.purchases(&Default::default()).await.is_ok(), speaks, "account {account}");
    }
    // The operator buys and reads, whatever it is that says so: its money and the agent itself are the owner's.
    let (nonce, signature) = signed(BUYER).await;
    let registered = market.client.register(&Register::new("agent", AgentType::Both, wallet, nonce, signature)).await.unwrap();
    for client in [market.client.with_api_key(&registered.api_key), market.client.with_token(&registered.access)] {
        assert!(client.wallet().await.is_ok());
        assert_eq!(refusal(client.deactivate_agent(registered.agent.id).await), Code::Forbidden);
    }
    let keys = "SELECT expires_at < now() + interval '25 hours' FROM api_keys";
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, Option<bool>>(keys).fetch_all(&pool).await.unwrap(), [Some(true)], "it may be dismissed");
    let ask = |scopes| TokenRequest { agent_id: None, scopes };
    let (nonce, signature) = signed(BUYER).await;
    let operator = market.client.with_wallet_proof(nonce, &signature);
    assert_eq!(refusal(operator.token(&ask(Some(vec![Scope::Transfer]))).await), Code::Forbidden);
    let creator = market.creator("me@example.com").await;
    let (nonce, signature) = signed(BUYER).await;
    let claimed =
        market.client.with_token(&creator.access).claim_agent(registered.agent.id, &ProveWallet { nonce, signature }).await;
    assert_eq!(refusal(claimed), Code::Forbidden);
    let (nonce, signature) = signed(SELLER).await;
    let token = market.client.with_wallet_proof(nonce, &signature).token(&ask(Some(Scope::ALL.into()))).await.unwrap();
    assert!(!market.client.with_token(&token).deactivate_agent(registered.agent.id).await.unwrap().active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_welcomed_once_where_anybody_is() {
    let world = World::new().await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let minted =
        async || sqlx::query_scalar::<_, i64>("SELECT -balance FROM accounts WHERE id = 4").fetch_one(&pool).await.unwrap();
    let market = crate::harness::Market::start(market::Config { signup_bonus: Amount::ZERO, ..world.config() }).await;
    market.join("early", SELLER, AgentType::Both).await;
    assert_eq!(minted().await, 0);
    market.stop().await;
    let market = world.market().await;
    market.join("first", BUYER, AgentType::Both).await;
    market.join("second", BUYER, AgentType::Both).await;
    market.creator("me@example.com").await;
    assert_eq!(minted().await, 100_000_000);
    let welcomed: bool = sqlx::query_scalar("SELECT bool_and(welcomed) FROM agents").fetch_one(&pool).await.unwrap();
    assert!(welcomed, "nobody is looked at again");
}
