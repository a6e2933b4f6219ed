//! What looks like fraud: each rule by its attack, judging in parts beside judging at once, and what follows from what is found.

use api::{
    AgentType, AuditFilter, Code, FindingFilter, FindingStatus, FraudAction, FraudRule, Initiate, PaymentMethod, Role,
    ledger::{Amount, Asset, Kind, Send, Withdraw, WithdrawalStatus},
};
use market::{
    fraud::{self, Rules},
    ledger::{Move, Order, What},
};
use money::Usdc;
use uuid::Uuid;

use crate::{
    funds::{custody, top_up, until, usdc},
    harness::{BUYER, Market, PRICE, SELLER, World, address, buy, goods, refusal},
    standing::Town,
};

impl Town {
    async fn give(&self, from: Uuid, to: Uuid, units: u64) {
        let (from, to) = (self.party(from, Asset::Usdc).await.account, self.party(to, Asset::Usdc).await.account);
        let amount = Amount::from_units(units).unwrap();
        let gift = Move { kind: Kind::Transfer, from, to, amount, reference: Uuid::nil(), memo: None };
        self.ledger.submit(Order { key: None, what: What::Move(gift) }).await.unwrap();
    }

    async fn judge(&self, rules: &Rules, most: i64) {
        while fraud::fold(&self.pool, rules, most).await.unwrap() != Some(0) {}
    }

    /// All that was found, but for ids.
    async fn found(&self) -> Vec<(String, Uuid, Vec<Uuid>, Vec<String>, i64, String)> {
        let all = "SELECT rule, subject, agents, evidence, hits, action || ' ' || first_at || ' ' || last_at FROM fraud_findings ORDER BY rule, subject";
        sqlx::query_as(all).fetch_all(&self.pool).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_finds_its_attack_and_nobody_else_in_parts_as_at_once() {
    let town = Town::new().await;
    let rules = Rules { actions: vec!["sybil_cluster=hold".parse().unwrap()], ..Rules::default() };
    let old = "UPDATE agents SET created_at = now() - interval '2 days' WHERE id <> ALL($1)";
    let [shop, honest, rich, fast, young, own, other, root, one, two, three] = town.agents(1, 11).await[..] else {
        unreachable!()
    };
    sqlx::query(old).bind(vec![young]).execute(&town.pool).await.unwrap();
    sqlx::query("INSERT INTO creators (id, email, password_hash, display_name) VALUES ($1, 'c', '', '')")
        .bind(Uuid::from_u128(91))
        .execute(&town.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE agents SET creator_id = $1 WHERE id = ANY($2)")
        .bind(Uuid::from_u128(91))
        .bind(vec![own, other])
        .execute(&town.pool)
        .await
        .unwrap();
    for agent in [honest, fast, young, own, root] {
        town.fund(agent, Asset::Usdc, 100_000_000).await;
    }
    town.fund(rich, Asset::Usdc, 1_000_000_000).await;
    let waiting = "INSERT INTO withdrawals (id, owner, person, recipient, amount, status)
         SELECT gen_random_uuid(), id, person, wallet, 1000000, 'pending' FROM agents WHERE id = ANY($1)";
    sqlx::query(waiting).bind(vec![honest, three]).execute(&town.pool).await.unwrap();

    // A cluster of one source deals with itself, and at last once with the shop.
    for agent in [one, two, three] {
        town.give(root, agent, 10_000_000).await;
    }
    let judge = async || {
        fraud::fold(&town.pool, &rules, 7).await.unwrap();
    };
    for (payer, payee) in [(one, two), (two, three), (three, one), (one, two), (one, shop)] {
        town.sell(payer, payee, Asset::Usdc, if payee == shop { 100_000 } else { 1_000_000 }).await;
        judge().await;
    }
    for round in 0..60 {
        town.sell(fast, shop, Asset::Usdc, 20_000).await;
        if round < 9 {
            town.sell(honest, shop, Asset::Usdc, 20_000).await;
        }
        if round < 12 {
            town.sell(young, [shop, one][usize::from(round == 3)], Asset::Usdc, 20_000).await;
        }
        if round % 20 == 0 {
            town.sell(own, other, Asset::Usdc, 30_000).await;
            judge().await;
        }
    }
    town.sell(rich, shop, Asset::Usdc, 1_000_000_000).await;
    town.judge(&rules, 5).await;
    let found = town.found().await;
    let what: Vec<_> = found.iter().map(|(rule, subject, _, _, hits, _)| (rule.as_str(), *subject, *hits)).collect();
    let expected = [
        ("large_transaction", rich, 1),
        ("new_account", young, 3),
        ("rapid_transactions", fast, 11),
        ("self_dealing", other, 3),
        ("sybil_cluster", root, 2),
    ];
    assert_eq!(what, expected);
    let (_, _, agents, evidence, ..) = &found[4];
    assert_eq!((agents, evidence.len()), (&vec![one, two, three], 2));
    let states = "SELECT status FROM withdrawals ORDER BY owner";
    let states: Vec<String> = sqlx::query_scalar(states).fetch_all(&town.pool).await.unwrap();
    assert_eq!(states, ["pending", "awaiting_approval"], "what a member of the cluster asked for waits");

    for statement in ["TRUNCATE fraud_findings, fraud_payers, fraud_pairs, fraud_funding", "UPDATE fraud SET ledger_to = 0"] {
        sqlx::query(statement).execute(&town.pool).await.unwrap();
    }
    town.judge(&rules, 1_000_000).await;
    assert_eq!(town.found().await, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_neither_split_nor_joined_by_small_gifts_of_others() {
    let town = Town::new().await;
    let [root, first, second, third, one, two, three, honest] = town.agents(1, 8).await[..] else { unreachable!() };
    town.fund(root, Asset::Usdc, 100_000_000).await;
    for (other, agent) in [(first, one), (second, two), (third, three)] {
        town.fund(other, Asset::Usdc, 2_000_000).await;
        town.give(other, agent, 1_500_000).await;
        for _ in 0..2 {
            town.give(root, agent, 4_000_000).await;
        }
    }
    town.give(first, two, 400_000).await;
    town.give(root, honest, 500_000).await;
    for (payer, payee, units) in [(one, two, 1_000_000), (two, three, 1_000_000), (three, one, 1_000_000), (one, honest, 100_000)]
    {
        town.sell(payer, payee, Asset::Usdc, units).await;
    }
    town.judge(&Rules::default(), 3).await;
    let found: Vec<_> = town.found().await.into_iter().map(|(rule, subject, agents, ..)| (rule, subject, agents)).collect();
    assert_eq!(found, [("sybil_cluster".to_owned(), root, vec![one, two, three])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_finding_refuses_pays_again_when_somebody_found_it_harmless() {
    let world = World::new().await;
    let rules = Rules {
        new_account_per_day: 2,
        burst_per_hour: 5,
        actions: vec!["new_account=refuse".parse().unwrap()],
        ..Rules::default()
    };
    let market = Market::start(market::Config { fraud: rules, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let (hasty, calm) = (market.join("hasty", BUYER, AgentType::Both).await, market.join("calm", 7, AgentType::Both).await);
    let mut listings = Vec::new();
    for title in ["1", "2", "3", "4"] {
        let goods = goods(title, Usdc::from_base_units(1_000), Some(title.as_bytes()));
        listings.push(seller.client.create_listing(&goods).await.unwrap());
    }
    for (at, listing) in listings.iter().take(2).enumerate() {
        hasty.client.express_from_ledger(listing.id, Asset::Ard, &format!("{at}")).await.unwrap();
    }
    let finance = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    let of_hasty = FindingFilter { agent_id: Some(hasty.agent.id), ..FindingFilter::default() };
    let of_rule = FindingFilter { rule: Some(FraudRule::NewAccount), ..of_hasty };
    let findings = async || finance.findings(&of_rule).await.unwrap().data;
    until("it is found", async || !findings().await.is_empty()).await;
    let buy = async |number: usize, key: &str| hasty.client.express_from_ledger(listings[number].id, Asset::Ard, key).await;
    // More than there is.
    let send = Send { to_agent_id: calm.agent.id, asset: Asset::Ard, amount: "500".parse().unwrap(), memo: None };
    let code = async || refusal(hasty.client.send_money(&send, "much").await);
    until("it is refused", async || code().await == Code::UnderReview).await;
    let is_refused = async || buy(2, "2").await.is_err_and(|error| error.code() == Some(&Code::UnderReview));
    market.soon("it is refused", is_refused).await;
    let step = Initiate { listing_id: listings[2].id, buyer: None, payment_method: Some(PaymentMethod::Token) };
    let step = hasty.client.initiate(&step).await.unwrap();
    assert_eq!(refusal(hasty.client.confirm_payment(step.id).await), Code::UnderReview, "in steps neither");
    assert_eq!(buy(0, "0").await.unwrap().body, "1", "what was bought stays");
    calm.client.express_from_ledger(listings[2].id, Asset::Ard, "calm").await.unwrap();
    let [finding] = &findings().await[..] else { panic!("not one finding") };
    assert_eq!(
        (finding.subject, finding.action, finding.evidence.len()),
        (hasty.agent.id, FraudAction::Refuse, finding.hits as usize)
    );

    // Nobody clears what is about their own.
    finance.claim_agent(hasty.agent.id, &market.proof(BUYER).await).await.unwrap();
    assert_eq!(refusal(finance.clear_finding(finding.id, "mine").await), Code::Forbidden);
    let admin = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Admin).await);
    let cleared = admin.clear_finding(finding.id, "they tested").await.unwrap();
    assert_eq!(cleared.status, FindingStatus::Cleared);
    assert_eq!(refusal(admin.clear_finding(finding.id, "again").await), Code::WrongState);
    market.soon("it pays again", async || buy(3, "3").await.is_ok()).await;
    let noted = async |subject| {
        let filter = AuditFilter { subject: Some(subject), ..AuditFilter::default() };
        let noted = admin.audit_events(&filter).await.unwrap().data;
        noted.into_iter().map(|entry| entry.event.event_type).collect::<Vec<_>>()
    };
    assert_eq!(noted(finding.id).await, ["finding_cleared", "fraud_found"]);

    // Three agents and two creators came from here, so far.
    let burst = FindingFilter { rule: Some(FraudRule::RegistrationBurst), ..FindingFilter::default() };
    until("the burst is found", async || !admin.findings(&burst).await.unwrap().data.is_empty()).await;
    let [burst] = &admin.findings(&burst).await.unwrap().data[..] else { panic!("not one burst") };
    assert!(burst.agents.contains(&calm.agent.id) && burst.action == FraudAction::Flag, "{burst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_finding_holds_waits_for_approval() {
    let world = World::new().await;
    let (_, config) = custody(&world).await;
    let rules =
        Rules { large: "5".parse().unwrap(), actions: vec!["large_transaction=hold".parse().unwrap()], ..Rules::default() };
    let market = Market::start(market::Config { fraud: rules, ..config }).await;
    let agent = market.join("agent", BUYER, AgentType::Both).await;
    let other = market.join("other", SELLER, AgentType::Both).await;
    for member in [(&agent, BUYER), (&other, SELLER)] {
        top_up(member.0, member.1, "20").await.unwrap();
    }
    let send = Send { to_agent_id: other.agent.id, asset: Asset::Usdc, amount: usdc("6"), memo: None };
    agent.client.send_money(&send, "much").await.unwrap();
    let finance = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Finance).await);
    until("it is found", async || !finance.findings(&FindingFilter::default()).await.unwrap().data.is_empty()).await;
    let ask = Withdraw { amount: usdc("1"), to_address: None };
    assert_eq!(agent.client.withdraw(&ask, "held").await.unwrap().status, WithdrawalStatus::AwaitingApproval);
    assert_eq!(other.client.withdraw(&ask, "free").await.unwrap().status, WithdrawalStatus::Pending);
    let little = Send { amount: usdc("1"), ..send };
    assert_eq!(refusal(agent.client.send_money(&little, "little").await), Code::UnderReview);
    let back = Send { to_agent_id: agent.agent.id, ..little };
    other.client.send_money(&back, "back").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_by_x402_is_judged_by_the_wallet_that_signed() {
    let world = World::new().await;
    let rules = Rules { rapid_per_hour: 2, actions: vec!["rapid_transactions=refuse".parse().unwrap()], ..Rules::default() };
    let market = Market::start(market::Config { fraud: rules, ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"1"))).await.unwrap();
    let admin = market.client.with_api_key(&market.staff(world.stack.database_url(), Role::Admin).await);
    let findings = async |rule| {
        let of_rule = FindingFilter { rule: Some(rule), ..FindingFilter::default() };
        admin.findings(&of_rule).await.unwrap().data
    };
    let wallet = |account: usize| Uuid::from_slice(&address(account).as_slice()[4..]).unwrap();
    let ask = async || market.client.express(listing.id, Some(&market.payment(&listing, BUYER).await)).await;
    for _ in 0..2 {
        ask().await.unwrap();
    }
    until("the wallet is refused", async || ask().await.is_err()).await;
    let before = world.balance(BUYER).await;
    assert_eq!(refusal(ask().await), Code::UnderReview);
    assert_eq!(world.balance(BUYER).await, before, "nothing was settled");
    let [finding] = &findings(FraudRule::RapidTransactions).await[..] else { panic!("not one finding") };
    assert_eq!((finding.subject, &finding.agents), (wallet(BUYER), &vec![wallet(BUYER)]));
    let bought = "SELECT count(*) FROM purchases WHERE status = 'settled' AND id = ANY($1::uuid[])";
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let bought: i64 = sqlx::query_scalar(bought).bind(&finding.evidence).fetch_one(&pool).await.unwrap();
    assert_eq!(bought, finding.evidence.len() as i64, "what says so are purchases");
    assert!(bought > 0 && finding.hits >= bought.unsigned_abs(), "{finding:?}");

    // Others pay, until they turn out to be the seller.
    buy(&market, &listing, &market.payment(&listing, 7).await).await;
    let twin = market.join("twin", 7, AgentType::Buyer).await;
    let owner = market.client.with_token(&market.creator("owner@example.com").await.access);
    for (agent, account) in [(&seller, SELLER), (&twin, 7)] {
        owner.claim_agent(agent.agent.id, &market.proof(account).await).await.unwrap();
    }
    buy(&market, &listing, &market.payment(&listing, 7).await).await;
    until("it is found", async || !findings(FraudRule::SelfDealing).await.is_empty()).await;
    let [own] = &findings(FraudRule::SelfDealing).await[..] else { panic!("not one finding") };
    assert_eq!(own.subject, seller.agent.id);
    assert!(own.agents.contains(&twin.agent.id) && own.agents.contains(&wallet(7)), "{own:?}");

    let new = "SELECT count(*) FROM purchases WHERE status = 'settled' AND NOT judged";
    until("all is judged", async || sqlx::query_scalar::<_, i64>(new).fetch_one(&pool).await.unwrap() == 0).await;
    admin.clear_finding(finding.id, "they tested").await.unwrap();
    buy(&market, &listing, &market.payment(&listing, BUYER).await).await;
}
