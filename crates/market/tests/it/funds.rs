//! USDC between the chain and the ledger: what counts is what is final, and everything counts once.

use std::time::Duration;

use alloy::{
    network::TransactionBuilder,
    primitives::U256,
    providers::ext::AnvilApi,
    rpc::types::{
        TransactionRequest,
        anvil::{ReorgOptions, TransactionData},
    },
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use api::{
    AgentType, Code, Decision, DecisionFilter, PageQuery, Role, ToppedUp,
    ledger::{Amount, Asset, Assign, DepositStatus, OpenDeposit, Refuse, Withdraw, Withdrawal, WithdrawalStatus},
};
use contracts::{payment_router::PaymentRouter, usdc::Usdc as Token};
use market::Config;

use crate::{
    harness::{BUYER, METRICS, Market, Member, SELLER, WAIT, World, address, goods, pay, refusal},
    relay::{Fault, Relay, RpcFault, RpcRelay},
};

const STRANGER: usize = 8;

pub(crate) fn usdc(text: &str) -> Amount {
    text.parse().unwrap()
}

/// A custody account with gas, and a market that has its key.
pub(crate) async fn custody(world: &World) -> (PrivateKeySigner, Config) {
    let key = PrivateKeySigner::random();
    world.stack.provider().anvil_set_balance(key.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
    let config = Config { custody_key: Some(key.clone()), token_secrets: vec![[7; 32].into()], ..world.config() };
    (key, config)
}

async fn transfer(world: &World, from: usize, to: alloy::primitives::Address, amount: &str) {
    let token = Token::new(world.stack.deployment().usdc, world.stack.provider());
    let call = token.transfer(to, U256::from(usdc(amount).units())).from(address(from));
    assert!(call.send().await.unwrap().get_receipt().await.unwrap().status());
}

/// Makes everything on chain final.
pub(crate) async fn finalize(world: &World) {
    world.stack.provider().anvil_mine(Some(indexer::Config::FINALITY_BLOCKS + 1), None).await.unwrap();
    world.mirrored().await;
}

async fn free(member: &Member) -> Amount {
    let wallet = member.client.wallet().await.unwrap();
    wallet.balances.iter().find(|balance| balance.asset == Asset::Usdc).unwrap().free
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap_or_else(|_| panic!("it never comes that {what}"));
}

pub(crate) async fn metric(market: &Market, name: &str) -> i64 {
    let request = reqwest::Client::new().get(market.url.join("metrics").unwrap()).bearer_auth(METRICS);
    let text = request.send().await.unwrap().text().await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
}

pub(crate) async fn top_up(member: &Member, account: usize, amount: &str) -> Result<ToppedUp, api::ClientError> {
    let ToppedUp::PaymentRequired(asked) = member.client.top_up(usdc(amount), None).await? else {
        panic!("credited for nothing")
    };
    let payment = pay(&x402::header::decode(asked.as_bytes()).unwrap(), account);
    member.client.top_up(usdc(amount), Some(&x402::header::encode(&payment).unwrap())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_the_custody_account_is_credited_once_when_it_is_final() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    // Two instances look at the same chain.
    let (market, _other) = (Market::start(config.clone()).await, Market::start(config).await);
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    // This one's wallet belongs to two agents, so it says nothing.
    market.join("twin", SELLER, AgentType::Both).await;
    market.join("other twin", SELLER, AgentType::Both).await;
    let deposit = agent.client.open_deposit(&OpenDeposit { amount: Some(usdc("5")) }).await.unwrap();
    assert_eq!((deposit.pay_to, deposit.status), (key.address(), DepositStatus::Pending));
    let provider = world.stack.provider();

    transfer(&world, BUYER, key.address(), "7").await;
    world.mirrored().await;
    // Undone: what comes instead is less. From the agent's wallet; then with the reference; then from nobody known.
    let call = Token::transferCall { to: key.address(), value: U256::from(3_000_000) };
    let request = TransactionRequest::default().with_from(address(BUYER)).with_to(world.stack.deployment().usdc);
    let instead = TransactionData::JSON(request.with_gas_limit(300_000).with_input(call.abi_encode()));
    provider.anvil_reorg(ReorgOptions { depth: 1, tx_block_pairs: vec![(instead, 0)] }).await.unwrap();
    let router = PaymentRouter::new(world.stack.deployment().payment_router, provider);
    let token = Token::new(world.stack.deployment().usdc, provider);
    let allow = token.approve(*router.address(), U256::MAX).from(address(STRANGER));
    assert!(allow.send().await.unwrap().get_receipt().await.unwrap().status());
    let reference = deposit.reference.unwrap();
    let paid = router.pay(reference, *token.address(), key.address(), U256::from(5_000_000)).from(address(STRANGER));
    assert!(paid.send().await.unwrap().get_receipt().await.unwrap().status());
    transfer(&world, SELLER, key.address(), "2").await;
    world.mirrored().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(free(&agent).await, Amount::ZERO, "nothing is final");

    finalize(&world).await;
    until("both are credited", async || free(&agent).await == usdc("8")).await;
    let deposits = agent.client.deposits(&PageQuery::default()).await.unwrap().data;
    assert!(deposits.iter().all(|deposit| deposit.status == DepositStatus::Completed), "{deposits:?}");
    assert_eq!(deposits.iter().filter(|deposit| deposit.reference == Some(reference)).count(), 1);

    let (http, staff) = (reqwest::Client::new(), market.staff(world.stack.database_url(), Role::Finance).await);
    let unmatched = http.get(market.url.join("api/v1/admin/deposits/unmatched").unwrap());
    assert_eq!(unmatched.try_clone().unwrap().bearer_auth(&agent.key).send().await.unwrap().status(), 403);
    let rows: Vec<api::ledger::Unmatched> = unmatched.bearer_auth(&staff).send().await.unwrap().json().await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.sender, row.amount), (address(SELLER), usdc("2")));
    let word = Assign { block_number: row.block_number, log_index: row.log_index, agent_id: agent.agent.id };
    let assign = http.post(market.url.join("api/v1/admin/deposits/assign").unwrap()).bearer_auth(&staff).json(&word);
    assert_eq!(assign.try_clone().unwrap().send().await.unwrap().status(), 204);
    assert_eq!(assign.send().await.unwrap().status(), 404);
    until("the assigned one is credited", async || free(&agent).await == usdc("10")).await;
    until("the books are looked at", async || metric(&market, "market_usdc_owed_units").await == 10_000_000).await;
    assert_eq!(metric(&market, "market_usdc_covered_units").await, 10_000_000);
    assert_eq!(metric(&market, "market_books_violated").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_full_of_transfers_hides_no_deposit() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    let market = Market::start(config).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    transfer(&world, BUYER, key.address(), "7").await;
    world.mirrored().await;
    // Anybody can move nothing from anybody: more than is read at once, before and after the deposit.
    let many = "INSERT INTO chain.transfers SELECT block_number, n, tx_index, token, recipient, sender, 0, NULL
                FROM chain.transfers AS t CROSS JOIN generate_series(0, 12000) AS n WHERE recipient = $1 AND n <> t.log_index";
    let pool = sqlx::PgPool::connect(world.stack.database_url()).await.unwrap();
    assert_eq!(sqlx::query(many).bind(key.address().as_slice()).execute(&pool).await.unwrap().rows_affected(), 12_000);
    transfer(&world, BUYER, key.address(), "1").await;
    finalize(&world).await;
    until("both are credited", async || free(&agent).await == usdc("8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x402_payment_is_credited_at_once_and_not_again_when_it_is_final() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let relay = Relay::start(world.stack.facilitator_url(), Fault::AnswerLost).await;
    let market = Market::start(Config { facilitator_url: relay.url.clone(), ..config }).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let thief = market.join("thief", SELLER, AgentType::Both).await;
    // The answer is lost: the mirror tells of it.
    assert_eq!(refusal(top_up(&agent, BUYER, "4").await), Code::SettlementPending);
    relay.repair();
    let ToppedUp::PaymentRequired(asked) = agent.client.top_up(usdc("5"), None).await.unwrap() else { panic!("for nothing") };
    let payment = pay(&x402::header::decode(asked.as_bytes()).unwrap(), STRANGER);
    let payment = x402::header::encode(&payment).unwrap();
    let ToppedUp::Credited(deposit) = agent.client.top_up(usdc("5"), Some(&payment)).await.unwrap() else { panic!("refused") };
    assert_eq!((deposit.status, deposit.amount), (DepositStatus::Completed, Some(usdc("5"))));
    let ToppedUp::Credited(again) = agent.client.top_up(usdc("5"), Some(&payment)).await.unwrap() else { panic!("refused") };
    assert_eq!((again.id, free(&agent).await), (deposit.id, usdc("5")));
    // A payment is public once it is on chain.
    assert_eq!(refusal(thief.client.top_up(usdc("5"), Some(&payment)).await), Code::PaymentUsed);
    until("the early credit is covered", async || metric(&market, "market_usdc_covered_units").await >= 5_000_000).await;
    finalize(&world).await;
    until("the lost one is credited", async || free(&agent).await == usdc("9")).await;
    until("the books know", async || metric(&market, "market_usdc_owed_units").await == 9_000_000).await;
    assert_eq!(metric(&market, "market_usdc_covered_units").await, 9_000_000);
    assert_eq!(metric(&market, "market_books_violated").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_backed_by_one_account() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    Market::start(config.clone()).await.stop().await;
    // Who names none is told by the ledger; who names another one would count what this ledger owes against money of something else.
    let unnamed = Market::start(Config { custody_key: None, ..config.clone() }).await;
    let agent = unnamed.join("agent", BUYER, AgentType::Both).await;
    assert_eq!(agent.client.open_deposit(&OpenDeposit { amount: None }).await.unwrap().pay_to, key.address());
    let other = Config { custody_key: None, custody: Some(address(STRANGER)), ..config };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = market::serve(other, listener, tokio_util::sync::CancellationToken::new()).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("is backed by {}", key.address())), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_account_is_corrected_while_nothing_is_owed() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    let mistyped = Config { custody_key: None, custody: Some(address(STRANGER)), ..config.clone() };
    assert_eq!(market::replace_custody(world.stack.database_url(), key.address()).await.unwrap(), None, "there is none yet");
    let market = Market::start(mistyped).await;
    transfer(&world, SELLER, address(STRANGER), "3").await;
    finalize(&world).await;
    until("it is walked", async || metric(&market, "market_deposits_unmatched").await > 0).await;
    market.stop().await;
    let replace = async |new| market::replace_custody(world.stack.database_url(), new).await;
    assert_eq!(replace(key.address()).await.unwrap(), Some(address(STRANGER)));
    let market = Market::start(config.clone()).await;
    assert_eq!(metric(&market, "market_deposits_unmatched").await, 0, "what came there is not this ledger's");
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    transfer(&world, BUYER, key.address(), "2").await;
    finalize(&world).await;
    until("it is credited", async || free(&agent).await == usdc("2")).await;
    until("the books are right", async || {
        metric(&market, "market_usdc_covered_units").await == 2_000_000 && metric(&market, "market_books_violated").await == 0
    })
    .await;
    let refused = replace(address(STRANGER)).await.unwrap_err().to_string();
    assert!(refused.contains("owes 2"), "{refused}");
    // Paid out, replaced by mistake and put back: what came is walked over again and is the same.
    agent.client.withdraw(&Withdraw { amount: usdc("2"), to_address: None }, "a").await.unwrap();
    until("it is paid", async || {
        finalize(&world).await;
        metric(&market, "market_usdc_owed_units").await == 0
    })
    .await;
    market.stop().await;
    for account in [address(STRANGER), key.address()] {
        replace(account).await.unwrap();
    }
    let market = Market::start(config).await;
    transfer(&world, BUYER, key.address(), "1").await;
    finalize(&world).await;
    let agent = Member { client: market.client.with_api_key(&agent.key), ..agent };
    until("what comes is credited", async || free(&agent).await == usdc("1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_whoever_has_the_token() {
    let world = World::new().await;
    let ask = async |market: &Market, token: &str| {
        reqwest::Client::new().get(market.url.join("metrics").unwrap()).bearer_auth(token).send().await.unwrap().status()
    };
    let (shows, hides) = (world.market().await, Market::start(Config { metrics_token: None, ..world.config() }).await);
    assert_eq!([ask(&shows, METRICS).await, ask(&shows, "guess").await, ask(&shows, "").await], [200, 401, 401]);
    assert_eq!([ask(&hides, METRICS).await, ask(&hides, "").await], [404, 404]);
}

async fn decide(market: &Market, staff: &str, withdrawal: &Withdrawal, word: &str) -> reqwest::StatusCode {
    let url = market.url.join(&format!("api/v1/admin/withdrawals/{}/{word}", withdrawal.id)).unwrap();
    let request = reqwest::Client::new().post(url).bearer_auth(staff).json(&Refuse { reason: "not today".into() });
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_is_held_approved_paid_once_and_completed_when_final() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let market = Market::start(config).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    top_up(&agent, BUYER, "20000").await.unwrap();
    let had = world.balance(BUYER).await;
    let staff = market.staff(world.stack.database_url(), Role::Finance).await;
    let ask = |amount: &str, to_address| Withdraw { amount: usdc(amount), to_address };
    let own = agent.client.withdraw(&ask("600", None), "a").await.unwrap();
    assert_eq!((own.status, free(&agent).await), (WithdrawalStatus::Pending, usdc("19400")));
    assert_eq!(agent.client.withdraw(&ask("600", None), "a").await.unwrap().id, own.id);
    assert_eq!(refusal(agent.client.withdraw(&ask("601", None), "a").await), Code::IdempotencyKeyReused);
    // Above 1,000 a day somebody looks; elsewhere always; beyond 10,000 a day never.
    let large = agent.client.withdraw(&ask("500", None), "b").await.unwrap();
    let elsewhere = agent.client.withdraw(&ask("1", Some(address(STRANGER))), "c").await.unwrap();
    let mistaken = agent.client.withdraw(&ask("2", Some(address(STRANGER))), "d").await.unwrap();
    for asked in [&large, &elsewhere, &mistaken] {
        assert_eq!(asked.status, WithdrawalStatus::AwaitingApproval);
    }
    assert_eq!(refusal(agent.client.withdraw(&ask("9000", None), "e").await), Code::OverLimit);
    assert_eq!(refusal(agent.client.withdraw(&ask("0.01", None), "f").await), Code::InvalidRequest);
    assert_eq!(agent.client.cancel_withdrawal(mistaken.id).await.unwrap().status, WithdrawalStatus::Cancelled);
    assert_eq!(decide(&market, &staff, &elsewhere, "reject").await, 200);
    assert_eq!(decide(&market, &staff, &large, "approve").await, 200);
    assert_eq!(decide(&market, &staff, &mistaken, "approve").await, 409);
    let admin = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Admin).await);
    let decisions = async |subject| admin.decisions(&DecisionFilter { subject, ..DecisionFilter::default() }).await.unwrap().data;
    let rejected = &decisions(Some(elsewhere.id)).await[..];
    assert!(
        matches!(rejected, [Decision { what, decided_by: Some(_), reason: Some(_), .. }] if what == "withdrawal_rejected"),
        "{rejected:?}"
    );
    assert_eq!(decisions(Some(large.id)).await[0].what, "withdrawal_approved");
    assert!(decisions(Some(mistaken.id)).await.is_empty(), "what came to nothing is no decision");
    // The two roles were given by a command.
    assert_eq!(decisions(None).await.iter().filter(|decision| decision.decided_by.is_none()).count(), 2);

    until("it is paid on chain", async || world.balance(BUYER).await == had + 1_100_000_000).await;
    assert_eq!(refusal(agent.client.cancel_withdrawal(own.id).await), Code::WrongState);
    assert_eq!(agent.client.withdrawal(own.id).await.unwrap().status, WithdrawalStatus::Processing);
    finalize(&world).await;
    until("it is completed", async || agent.client.withdrawal(large.id).await.unwrap().status == WithdrawalStatus::Completed)
        .await;
    let done = agent.client.withdrawal(own.id).await.unwrap();
    assert!(done.status == WithdrawalStatus::Completed && done.transaction_hash.is_some(), "{done:?}");
    // As where an account is custody once more: what happened is not written anew.
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let walked = async || sqlx::query_scalar::<_, i64>("SELECT walked_to FROM custody").fetch_one(&pool).await.unwrap();
    let before = walked().await;
    sqlx::query("UPDATE custody SET walked_to = -1").execute(&pool).await.unwrap();
    finalize(&world).await;
    until("the chain is walked again", async || walked().await > before).await;
    assert_eq!(agent.client.withdrawal(own.id).await.unwrap(), done);
    until("the ledger knows", async || metric(&market, "market_usdc_owed_units").await == 18_900_000_000).await;
    let wallet = agent.client.wallet().await.unwrap();
    let balance = wallet.balances.iter().find(|balance| balance.asset == Asset::Usdc).unwrap();
    assert_eq!((balance.free, balance.held), (usdc("18900"), Amount::ZERO));
    assert_eq!((world.balance(BUYER).await, metric(&market, "market_books_violated").await), (had + 1_100_000_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_withdraws_what_agents_earned_to_a_wallet_that_was_proven_a_day_ago() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let market = Market::start(config).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let me = market.client.with_token(&market.creator("me@example.com").await.access);
    me.claim_agent(seller.agent.id, &market.proof(SELLER).await).await.unwrap();
    top_up(&buyer, BUYER, "10").await.unwrap();
    let listing =
        seller.client.create_listing(&goods("prices", money::Usdc::from_base_units(5_000_000), Some(b"42"))).await.unwrap();
    buyer.client.express_from_ledger(listing.id, Asset::Usdc, "a").await.unwrap();
    assert_eq!(free(&seller).await, Amount::ZERO, "all of it is royalty");

    let ask = |amount: &str| Withdraw { amount: usdc(amount), to_address: None };
    assert_eq!(refusal(me.withdraw(&ask("1"), "a").await), Code::WrongState);
    assert_eq!(me.prove_wallet(&market.proof(STRANGER).await).await.unwrap().wallet_address, Some(address(STRANGER)));
    // Whoever knows the password may have proven it just now.
    let early = me.withdraw(&ask("1"), "a").await.unwrap();
    assert_eq!((early.status, early.to_address), (WithdrawalStatus::AwaitingApproval, address(STRANGER)));
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let day = "UPDATE creators SET wallet_since = wallet_since - interval '1 day'";
    sqlx::query(day).execute(&pool).await.unwrap();
    me.prove_wallet(&market.proof(STRANGER).await).await.unwrap();
    let had = world.balance(STRANGER).await;
    let later = me.withdraw(&ask("3.9"), "b").await.unwrap();
    assert_eq!(me.cancel_withdrawal(early.id).await.unwrap().status, WithdrawalStatus::Cancelled);
    until("it is paid on chain", async || world.balance(STRANGER).await == had + 3_900_000).await;
    finalize(&world).await;
    until("it is completed", async || me.withdrawal(later.id).await.unwrap().status == WithdrawalStatus::Completed).await;
    assert_eq!(refusal(buyer.client.withdrawal(later.id).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_paid_once_whatever_dies_while_it_is_sent() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let market = Market::start(config.clone()).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    top_up(&agent, BUYER, "100").await.unwrap();
    market.stop().await;
    let mut expected = world.balance(BUYER).await;
    for (key, fault) in [("lost", RpcFault::Lost), ("unheard", RpcFault::Unheard)] {
        let relay = RpcRelay::start(world.stack.rpc_url(), fault).await;
        let market = Market::start(Config { rpc_url: relay.url.clone(), ..config.clone() }).await;
        let agent = Member { client: agent.client.at(market.url.clone()), ..agent.clone() };
        agent.client.withdraw(&Withdraw { amount: usdc("10"), to_address: None }, key).await.unwrap();
        // Dies right after the node was told, without hearing an answer.
        tokio::time::timeout(WAIT, relay.told.notified()).await.unwrap();
        market.kill();
        let market = Market::start(config.clone()).await;
        expected += 10_000_000;
        until("it is paid", async || world.balance(BUYER).await == expected).await;
        finalize(&world).await;
        until("it is final", async || metric(&market, "market_batches_open").await == 0).await;
        until("it is over", async || metric(&market, "market_withdrawals_pending").await == 0).await;
        assert_eq!((world.balance(BUYER).await, metric(&market, "market_books_violated").await), (expected, 0));
        market.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn books_that_are_wrong_stop_withdrawals() {
    let world = World::new().await;
    let (key, config) = custody(&world).await;
    let market = Market::start(config).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    transfer(&world, BUYER, key.address(), "100").await;
    finalize(&world).await;
    until("it is credited", async || free(&agent).await == usdc("100")).await;
    until("it was looked at", async || metric(&market, "market_books_checked_transfers").await == 2).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    // A hand in the till, which takes what nobody asks for soon.
    let tamper = "UPDATE accounts SET balance = balance + 1 WHERE purpose = 3 AND asset = 2";
    sqlx::query(tamper).execute(&pool).await.unwrap();
    until("it is seen", async || metric(&market, "market_books_violated").await == 1).await;
    let had = world.balance(BUYER).await;
    let withdrawal = agent.client.withdraw(&Withdraw { amount: usdc("10"), to_address: None }, "a").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.client.withdrawal(withdrawal.id).await.unwrap().status, WithdrawalStatus::Pending);
    sqlx::query("UPDATE accounts SET balance = balance - 1 WHERE purpose = 3 AND asset = 2").execute(&pool).await.unwrap();
    until("it is paid", async || world.balance(BUYER).await == had + 10_000_000).await;
}
