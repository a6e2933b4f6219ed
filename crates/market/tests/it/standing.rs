//! What agents did: figures step by step against figures of all at once, a ring against one honest buyer, and what is told of them.

use alloy::primitives::{Address, B256, U256, aliases::U88};
use api::{
    AgentType, Category, Code, DaysQuery, LeaderQuery, MarketDaysQuery, Role,
    ledger::{Amount, Asset, Kind},
};
use contracts::{
    service_registry::{IServiceRegistry, ServiceRegistry},
    usdc::Usdc as Token,
};
use futures::future::join_all;
use market::{
    ledger::{self, Ledger, Move, Order, Party, Purpose, Rates, Sale, What},
    standing,
};
use money::{Bps, Usdc};
use sqlx::PgPool;
use stack::Postgres;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    demand::until,
    escrow::mined,
    funds::finalize,
    harness::{BUYER, PRICE, SELLER, World, address, buy, goods, refusal},
};

const WHOLE: u64 = 5_000_000;

/// A ledger with agents, and nothing else of a market.
pub(crate) struct Town {
    pub(crate) pool: PgPool,
    pub(crate) ledger: Ledger,
    _server: Postgres,
}

impl Town {
    pub(crate) async fn new() -> Self {
        let server = Postgres::start(None).await.unwrap();
        let database = server.create("standing", None).await.unwrap();
        market::migrate(&database.url).await.unwrap();
        let pool = market::pool(&database.url).await.unwrap();
        Self { ledger: Ledger::start(pool.clone(), Rates::default()), pool, _server: server }
    }

    /// Agents with wallets, each a person of its own.
    pub(crate) async fn agents(&self, first: u32, count: u32) -> Vec<Uuid> {
        let ids: Vec<Uuid> = (first..first + count).map(|n| Uuid::from_u128(n.into())).collect();
        let wallets: Vec<Vec<u8>> = ids.iter().map(|id| Address::left_padding_from(id.as_bytes()).to_vec()).collect();
        let agents = "INSERT INTO agents (id, name, description, agent_type, wallet)
             SELECT id, id::text, '', 'both', wallet FROM unnest($1::uuid[], $2::bytea[]) AS new (id, wallet)";
        sqlx::query(agents).bind(&ids).bind(wallets).execute(&self.pool).await.unwrap();
        ids
    }

    pub(crate) async fn party(&self, id: Uuid, asset: Asset) -> Party {
        Party { id, account: ledger::open(&self.pool, id, asset, Purpose::Free).await.unwrap() }
    }

    /// USDC from the chain, or ARD from the house.
    pub(crate) async fn fund(&self, id: Uuid, asset: Asset, units: u64) {
        let (kind, from) = if asset == Asset::Usdc { (Kind::Deposit, ledger::OUTSIDE) } else { (Kind::Bonus, ledger::MINT) };
        let to = self.party(id, asset).await.account;
        let moved = Move { kind, from, to, amount: Amount::from_units(units).unwrap(), reference: id, memo: None };
        self.ledger.submit(Order { key: None, what: What::Move(moved) }).await.unwrap();
    }

    /// The transfer that paid.
    pub(crate) async fn sell(&self, buyer: Uuid, seller: Uuid, asset: Asset, units: u64) -> u64 {
        let sale = Sale {
            id: Uuid::now_v7(),
            listing: seller,
            buyer: self.party(buyer, asset).await,
            seller: self.party(seller, asset).await,
            royalty: None,
            price: Amount::from_units(units).unwrap(),
            quality: Bps::ZERO,
            rewarded: None,
            content_hash: B256::ZERO,
            content_size: 1,
            content_type: "text/plain".into(),
            owned_for: time::Duration::ZERO,
            offered: None,
        };
        self.ledger.submit(Order { key: None, what: What::Sale(sale) }).await.unwrap().transfer
    }

    async fn fold(&self, most: i64) {
        while standing::fold(&self.pool, Address::ZERO, most).await.unwrap() != Some(0) {}
    }

    /// Trust, what has no weight, and distrust, each as whole numbers of the day.
    async fn sums(&self, agent: Uuid) -> (String, String, String) {
        let sums = "SELECT trust::text, unproven::text, distrust::text FROM agent_figures WHERE agent_id = $1";
        sqlx::query_as(sums).bind(agent).fetch_one(&self.pool).await.unwrap()
    }

    /// By how much less than a whole counterparty of today all of it counts.
    async fn whole_counterparties_bps(&self, agent: Uuid) -> u128 {
        let (trust, unproven, _) = self.sums(agent).await;
        let (trust, unproven): (u128, u128) = (trust.parse().unwrap(), unproven.parse().unwrap());
        let days = u128::try_from(OffsetDateTime::now_utc().unix_timestamp() / 86_400 - 20_454).unwrap();
        let today = (90 + days % 90) << (days / 90);
        (trust / today).max((unproven / today).min(5_000))
    }

    async fn figures(&self) -> Vec<Option<String>> {
        let mut all = Vec::new();
        for (table, key) in [
            ("persons", "person"),
            ("counterparties", "seller_id, person"),
            ("agent_figures", "agent_id"),
            ("agent_categories", "agent_id, category"),
            ("agent_days", "agent_id, day"),
            ("market_days", "day, category"),
            ("sold_listings", "listing_id"),
        ] {
            let rows = format!("SELECT string_agg(t::text, E'\\n' ORDER BY {key}) FROM {table} AS t");
            all.push(sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&self.pool).await.unwrap());
        }
        all
    }

    async fn forget(&self) {
        let empty = "TRUNCATE persons, counterparties, agent_figures, agent_categories, agent_days, market_days, sold_listings";
        for statement in [empty, "UPDATE standing SET ledger_to = 0", "UPDATE purchases SET counted = FALSE"] {
            sqlx::query(statement).execute(&self.pool).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_folded_in_parts_by_two_instances_are_those_folded_at_once() {
    let town = Town::new().await;
    let agents = town.agents(1, 12).await;
    let mut sold = Vec::new();
    for (at, agent) in agents.iter().enumerate() {
        town.fund(*agent, Asset::Usdc, (at as u64 + 1) * 1_000_000).await;
        town.fund(*agent, Asset::Ard, 1_000_000).await;
    }
    for round in 0..40_usize {
        let (buyer, seller) = (agents[1 + round * 7 % 11], agents[round * 5 % 12]);
        if buyer != seller {
            let asset = if round % 4 == 0 { Asset::Ard } else { Asset::Usdc };
            sold.push(town.sell(buyer, seller, asset, 20_000 + round as u64 * 3_000).await);
        }
        if round % 9 == 0
            && let Some(last) = sold.pop()
        {
            town.ledger.submit(Order { key: None, what: What::Reverse(last, None) }).await.unwrap();
        }
        if round % 5 == 0 {
            // Both try at once; whoever does not fold leaves it to the other.
            let folds = [7, 3].map(|most| standing::fold(&town.pool, Address::ZERO, most));
            for folded in join_all(folds).await {
                folded.unwrap();
            }
        }
    }
    town.fold(5).await;
    let in_parts = town.figures().await;
    assert!(in_parts[1].as_ref().unwrap().lines().count() > 20);
    town.forget().await;
    town.fold(1_000_000).await;
    assert_eq!(town.figures().await, in_parts);
}

/// Five hundred accounts bring fifty times the money of one honest buyer, and are given ARD on top; they buy from each other and from the target in
/// USDC, in ARD and on chain, and the target buys from them, so that the money goes around.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_five_hundred_moves_a_reputation_less_than_one_honest_buyer() {
    const RING: u32 = 500;
    let town = Town::new().await;
    let [target, other, honest] = town.agents(1, 3).await[..] else { unreachable!() };
    town.fund(honest, Asset::Usdc, WHOLE).await;
    town.sell(honest, other, Asset::Usdc, WHOLE).await;
    town.fold(10_000).await;
    assert_eq!(town.whole_counterparties_bps(other).await, 10_000, "what one honest buyer says");

    let ring = town.agents(1_000, RING).await;
    join_all(ring.iter().map(async |member| {
        town.fund(*member, Asset::Usdc, WHOLE / 10).await;
        town.fund(*member, Asset::Ard, 100_000_000).await;
    }))
    .await;
    for round in 0..3_usize {
        join_all(ring.iter().enumerate().map(async |(at, member)| {
            let next = ring[(at + 1 + round) % ring.len()];
            town.sell(*member, next, Asset::Usdc, 150_000).await;
            town.sell(*member, target, Asset::Usdc, 100_000).await;
            town.sell(*member, target, Asset::Ard, 10_000_000).await;
        }))
        .await;
        // It comes back as it went, less the fee.
        join_all(ring.iter().map(async |member| town.sell(target, *member, Asset::Usdc, 95_000).await)).await;
    }
    let on_chain = "WITH listing AS (
             INSERT INTO listings (id, seller_id, title, description, category, tags, price, content_type, status)
             VALUES (gen_random_uuid(), $1, 'air', '', 'computation', '{}', 1, 'text/plain', 'draft') RETURNING id)
         INSERT INTO purchases (id, payment_key, payment_hash, request, payment_nonce, token, valid_before, listing_id, seller_id, pay_to, payer,
             amount, content_hash, content_size, content_type, status, settled_at)
         SELECT gen_random_uuid(), sha256(a.id::text::bytea), '', '{}', '', '', 0, listing.id, $1, '', a.wallet, 1000000000, '', 1, '', 'settled', now()
         FROM listing, agents AS a WHERE a.id = ANY($2)";
    sqlx::query(on_chain).bind(target).bind(&ring).execute(&town.pool).await.unwrap();
    town.fold(10_000).await;
    let (sold, persons): (i64, i64) = sqlx::query_as("SELECT sold, persons FROM agent_figures WHERE agent_id = $1")
        .bind(target)
        .fetch_one(&town.pool)
        .await
        .unwrap();
    assert_eq!((sold, persons), (7 * i64::from(RING), i64::from(RING)), "all of it was counted");
    assert_eq!(town.whole_counterparties_bps(target).await, 5_000, "and is half of what one honest buyer says");

    // Beside one honest buyer the whole ring says nothing.
    town.fund(honest, Asset::Usdc, WHOLE).await;
    town.sell(honest, target, Asset::Usdc, WHOLE).await;
    town.fold(10_000).await;
    assert_eq!(town.whole_counterparties_bps(target).await, 10_000);

    // One who brings what a whole counterparty brings, and gives it to a friend to spend, has none; nor has the friend.
    let [giver, friend, third] = town.agents(5_000, 3).await[..] else { unreachable!() };
    town.fund(giver, Asset::Usdc, WHOLE).await;
    let (from, to) = (town.party(giver, Asset::Usdc).await.account, town.party(friend, Asset::Usdc).await.account);
    let amount = Amount::from_units(WHOLE).unwrap();
    let gift = Move { kind: Kind::Transfer, from, to, amount, reference: Uuid::nil(), memo: None };
    town.ledger.submit(Order { key: None, what: What::Move(gift) }).await.unwrap();
    town.sell(friend, third, Asset::Usdc, WHOLE).await;
    town.fold(10_000).await;
    assert_eq!(town.sums(third).await.0, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_one_person_count_once_and_not_for_each_other() {
    let town = Town::new().await;
    let [seller, own, one, two] = town.agents(1, 4).await[..] else { unreachable!() };
    let creator = "INSERT INTO creators (id, email, password_hash, display_name) VALUES ($1, $1::text, '', '')";
    let claim = "UPDATE agents SET creator_id = $1 WHERE id = ANY($2)";
    for (creator_id, agents) in [(Uuid::from_u128(91), [seller, own]), (Uuid::from_u128(92), [one, two])] {
        sqlx::query(creator).bind(creator_id).execute(&town.pool).await.unwrap();
        sqlx::query(claim).bind(creator_id).bind(agents).execute(&town.pool).await.unwrap();
    }
    for agent in [own, one, two] {
        town.fund(agent, Asset::Usdc, WHOLE).await;
        town.sell(agent, seller, Asset::Usdc, WHOLE).await;
    }
    town.fold(10_000).await;
    assert_eq!(town.whole_counterparties_bps(seller).await, 10_000);
    let (sold, persons): (i64, i64) = sqlx::query_as("SELECT sold, persons FROM agent_figures WHERE agent_id = $1")
        .bind(seller)
        .fetch_one(&town.pool)
        .await
        .unwrap();
    assert_eq!((sold, persons), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reversal_takes_back_what_was_counted_whoever_claimed_the_agents_since() {
    let town = Town::new().await;
    let [seller, buyer] = town.agents(1, 2).await[..] else { unreachable!() };
    town.fund(buyer, Asset::Usdc, 2 * WHOLE).await;
    let counted = town.sell(buyer, seller, Asset::Usdc, WHOLE).await;
    town.fold(10_000).await;
    assert_eq!(town.whole_counterparties_bps(seller).await, 10_000);
    let creator = "INSERT INTO creators (id, email, password_hash, display_name) VALUES ($1, $1::text, '', '')";
    for (id, agent) in [(91, buyer), (92, seller)] {
        sqlx::query(creator).bind(Uuid::from_u128(id)).execute(&town.pool).await.unwrap();
        let claim = sqlx::query("UPDATE agents SET creator_id = $1 WHERE id = $2").bind(Uuid::from_u128(id)).bind(agent);
        claim.execute(&town.pool).await.unwrap();
    }
    let claimed = town.sell(buyer, seller, Asset::Usdc, WHOLE).await;
    town.fold(10_000).await;
    let pairs = async || -> Vec<(i64, i64)> {
        let pairs = "SELECT good, bad FROM counterparties WHERE seller_id = $1 ORDER BY person = $2";
        sqlx::query_as(pairs).bind(seller).bind(Uuid::from_u128(91)).fetch_all(&town.pool).await.unwrap()
    };
    assert_eq!(pairs().await, [(1, 0), (1, 0)], "the wallet's first, then the creator's");
    town.ledger.submit(Order { key: None, what: What::Reverse(counted, None) }).await.unwrap();
    town.fold(10_000).await;
    assert_eq!(pairs().await, [(0, 1), (1, 0)]);
    town.ledger.submit(Order { key: None, what: What::Reverse(claimed, None) }).await.unwrap();
    town.fold(10_000).await;
    assert_eq!(pairs().await, [(0, 1), (0, 1)]);
    assert_eq!(town.sums(seller).await.0, "0");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM persons WHERE fees <> 0 OR earned <> 0 OR weight <> 0")
        .fetch_one(&town.pool)
        .await
        .unwrap();
    assert_eq!(left, 0, "nobody is left with what others lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sold_is_told_in_reputations_boards_and_days() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let finance = market.staff(world.stack.database_url(), Role::Finance).await;
    let finance = market.client.with_api_key(&finance);
    let publish = async |title: &str, price| {
        seller.client.create_listing(&goods(title, Usdc::from_base_units(price), Some(title.as_bytes()))).await.unwrap()
    };
    let (cheap, dear) = (publish("cheap", 10_000).await, publish("dear", 20_000).await);
    let none = market.client.reputation(seller.agent.id).await.unwrap();
    assert_eq!((none.score_bps, none.facts.sold, none.facts.first_sale_day), (Bps::ZERO, 0, None));

    buyer.client.express_from_ledger(cheap.id, Asset::Ard, "cheap").await.unwrap();
    buyer.client.express_from_ledger(dear.id, Asset::Ard, "dear").await.unwrap();
    buy(&market, &dear, &market.payment(&dear, BUYER).await).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let wrong: i64 =
        sqlx::query_scalar("SELECT transfer FROM sales WHERE listing_id = $1").bind(cheap.id).fetch_one(&pool).await.unwrap();
    finance.reverse(wrong.unsigned_abs(), "another's data").await.unwrap();
    let told = until(async || {
        let told = market.client.reputation(seller.agent.id).await.unwrap();
        (told.facts.bad == 1 && told.facts.sold == 2).then_some(told)
    })
    .await;
    assert_eq!((told.facts.persons, told.facts.proven_persons, told.facts.listings), (1, 0, 2), "one person in both ways");
    // One of three purchases was bad; without own money the person adds a twentieth. The score is as its terms say.
    assert_eq!((told.terms.trust_bps, told.terms.unproven_bps, told.terms.distrust_bps), (0, 500, 3_333));
    assert_eq!(u64::from(told.score_bps.get()), 10_000 * 500 / (500 + 4 * 3_333 + 100_000));

    let week = DaysQuery { days: Some(7) };
    let earned = seller.client.my_earnings(&week).await.unwrap();
    let ard: Amount = "19.6".parse().unwrap();
    assert_eq!((earned.sold, earned.usdc, earned.ard), (2, Usdc::from_base_units(20_000), ard));
    assert_eq!((earned.days.len(), earned.days[6].usdc, earned.days[6].ard, earned.days[0].sold), (7, earned.usdc, ard, 0));
    assert_eq!((earned.categories.len(), earned.categories[0].category), (1, Category::Computation));
    let stats = buyer.client.my_stats(&week).await.unwrap();
    assert_eq!((stats.bought, stats.spent_ard, stats.days[6].spent_ard), (1, "20".parse().unwrap(), "20".parse().unwrap()));
    let profile = market.client.profile(seller.agent.id, &week).await.unwrap();
    assert_eq!((profile.reputation, profile.specialization, profile.active_listings), (told, Some(Category::Computation), 2));
    assert_eq!(profile.days[6].sold, 2);
    let days = market.client.market_days(&MarketDaysQuery::default()).await.unwrap().data;
    let today = days.last().unwrap();
    assert_eq!(
        (days.len(), today.sold, today.usdc, today.fees_ard),
        (30, 2, Usdc::from_base_units(20_000), "0.4".parse().unwrap())
    );
    let elsewhere = MarketDaysQuery { category: Some(Category::WebSearch), ..MarketDaysQuery::default() };
    assert!(market.client.market_days(&elsewhere).await.unwrap().data.iter().all(|day| day.sold == 0));

    let any = LeaderQuery::default();
    for board in ["helpfulness", "earnings", "contributors", "category:computation"] {
        let leaders = market.client.leaderboard(board, &any).await.unwrap().data;
        assert_eq!((leaders.len(), leaders[0].agent_id, leaders[0].rank), (1, seller.agent.id, 1), "{board}");
        assert_eq!(leaders[0].earned, Usdc::from_base_units(39_600), "{board}");
    }
    assert_eq!(market.client.reputations(&any).await.unwrap().data[0].name, "seller");
    assert_eq!(refusal(market.client.leaderboard("wealth", &any).await), Code::NotFound);
    assert_eq!(refusal(market.client.my_earnings(&week).await), Code::Unauthenticated);
    assert_eq!(refusal(seller.client.my_stats(&DaysQuery { days: Some(367) }).await), Code::InvalidRequest);
    assert_eq!(refusal(market.client.reputation(Uuid::now_v7()).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escrowed_purchase_counts_when_the_block_that_ends_it_is_final() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let listing = seller.client.create_listing(&goods("prices", PRICE, Some(b"0.21"))).await.unwrap();
    let order = crate::escrow::through_escrow(listing.id, BUYER);
    let order = market.as_wallet(BUYER).await.initiate(&order).await.unwrap();
    crate::escrow::play(&world, &order).await;
    let pool = market::pool(world.stack.database_url()).await.unwrap();
    let outcome = async || -> Option<String> {
        sqlx::query_scalar("SELECT outcome FROM transactions WHERE id = $1").bind(order.id).fetch_one(&pool).await.unwrap()
    };
    world.mirrored().await;
    standing::fold(&pool, crate::escrow::agreement(&order).escrow, 100).await.unwrap();
    assert_eq!(outcome().await, None, "a reorganisation may still undo it");
    finalize(&world).await;
    world.mirrored().await;
    let told = until(async || {
        let told = market.client.reputation(seller.agent.id).await.unwrap();
        (told.facts.sold > 0).then_some(told)
    });
    let facts = told.await.facts;
    assert_eq!((facts.sold, facts.persons, outcome().await.as_deref()), (1, 1, Some("released")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wallet_registered_on_chain_stands_beside_its_reputation() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    assert!(market.client.reputation(seller.agent.id).await.unwrap().services.is_empty());
    let (provider, deployment, wallet) = (world.stack.provider(), world.stack.deployment(), address(SELLER));
    let registry = ServiceRegistry::new(deployment.service_registry, provider);
    let offer = IServiceRegistry::Offer {
        endpoint: "https://prices.example".into(),
        metadataURI: String::new(),
        metadataHash: B256::ZERO,
        pricing: 0,
        token: deployment.usdc,
        price: U88::from(1_000_u64),
        period: 0,
        agentId: U256::ZERO,
    };
    let salt = B256::repeat_byte(7);
    let id = registry.serviceId(wallet, salt).call().await.unwrap();
    mined(registry.register(salt, wallet, address(8), offer.clone()).from(wallet)).await;
    // Another's, which only names the wallet.
    mined(registry.register(salt, wallet, address(8), offer).from(address(BUYER))).await;
    let token = Token::new(deployment.usdc, provider);
    mined(token.approve(deployment.service_registry, U256::MAX).from(wallet)).await;
    mined(registry.addStake(id, U256::from(2_000_000)).from(wallet)).await;
    world.mirrored().await;
    let told = market.client.reputation(seller.agent.id).await.unwrap();
    let [service] = &told.services[..] else { panic!("{told:?}") };
    assert_eq!((service.service, service.payee, service.arbiter), (id, wallet, address(8)));
    assert_eq!((service.stake, service.settled, service.score), (Usdc::from_base_units(2_000_000), 0, None));
    assert_eq!(service.endpoint, "https://prices.example");
    let profile = market.client.profile(seller.agent.id, &DaysQuery { days: Some(7) }).await.unwrap();
    assert_eq!(profile.reputation, told);
}
