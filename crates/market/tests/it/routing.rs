//! Which of several is taken: each rule by what it says of itself, turns over two instances, and agents by what the registry knows.

use api::{
    AgentRouteRequest, AgentType, Availability, Code, JudgeListing, Region, Role, RouteFact, RouteRequest, Strategy, UpdateAgent,
    ledger::Asset,
};
use money::{Bps, Usdc};

use crate::harness::{BUYER, Market, Member, SELLER, World, goods, refusal};

fn usdc(units: u64) -> Usdc {
    Usdc::from_base_units(units)
}

async fn publish(member: &Member, title: &str, price: u64, content: &str) -> uuid::Uuid {
    member.client.create_listing(&goods(title, usdc(price), Some(content.as_bytes()))).await.unwrap().id
}

fn by(strategy: Strategy) -> RouteRequest {
    RouteRequest { strategy, q: Some("tides".into()), ..RouteRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_chosen_by_the_rule_that_is_asked_for_and_it_is_said_why() {
    let world = World::new().await;
    let market = world.market().await;
    let one = market.join("one", SELLER, AgentType::Seller).await;
    let two = market.join("two", 7, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Both).await;
    let cheap = publish(&one, "Tides of Brest", 1_000, "a long table of all tides").await;
    let good = publish(&two, "Tides of Dover", 4_000, "short").await;
    let dear = publish(&two, "Tides of Calais", 9_000, "of middle length").await;
    publish(&buyer, "My own tides", 1, "own").await;
    publish(&one, "Nothing of it", 1, "else").await;
    let moderator = market.staff(world.stack.database_url(), Role::Moderator).await;
    let best = JudgeListing { version: 1, quality_bps: Bps::WHOLE };
    market.client.with_api_key(&moderator).judge_listing(good, &best).await.unwrap();
    for (agent, region, capacity) in [(&one, Region::Oceania, 1), (&two, Region::Europe, 100)] {
        let change = UpdateAgent { region: Some(region), capacity_per_hour: Some(capacity), ..UpdateAgent::default() };
        agent.client.update_agent(agent.agent.id, &change).await.unwrap();
    }
    buyer.client.express_from_ledger(cheap, Asset::Ard, "one").await.unwrap();

    let order = async |request: RouteRequest| {
        let routed = buyer.client.route(&request).await.unwrap();
        assert_eq!(routed.compared, 3, "of others, with the words");
        for route in &routed.data {
            let sum =
                route.terms.iter().map(|term| u64::from(term.weight_bps.get()) * u64::from(term.value_bps.get())).sum::<u64>();
            assert_eq!(u64::from(route.score_bps.get()), sum / 10_000, "{route:?}");
            assert!(route.why.starts_with("Of 3 compared: ") && route.why.ends_with('.'), "{}", route.why);
        }
        routed.data.iter().map(|route| route.listing.id).collect::<Vec<_>>()
    };
    assert_eq!(order(by(Strategy::Cheapest)).await, [cheap, good, dear]);
    assert_eq!(order(by(Strategy::Fastest)).await, [good, dear, cheap]);
    assert_eq!(order(by(Strategy::HighestQuality)).await[0], good);
    assert_eq!(order(by(Strategy::BestValue)).await, [cheap, good, dear]);
    assert_eq!(order(by(Strategy::LeastLoaded)).await, [good, dear, cheap], "it takes one in an hour, and sold one");
    let near = RouteRequest { region: Some(Region::Africa), ..by(Strategy::Locality) };
    assert_eq!(order(near).await, [good, dear, cheap]);
    let seed = RouteRequest { seed: Some(7), ..by(Strategy::WeightedRandom) };
    assert_eq!(order(seed.clone()).await, order(seed).await, "a seed draws the same");
    let lost = buyer.client.route(&by(Strategy::Locality)).await.unwrap();
    assert_eq!(lost.strategy, Strategy::BestValue, "nobody says where the buyer is");

    let named = RouteRequest { listing_ids: vec![dear, good], max_price: Some(usdc(5_000)), ..RouteRequest::default() };
    let routed = buyer.client.route(&named).await.unwrap();
    assert_eq!((routed.compared, routed.data[0].listing.id), (1, good));
    let facts: Vec<_> = routed.data[0].terms.iter().map(|term| term.fact).collect();
    assert_eq!(facts, [RouteFact::Value, RouteFact::Reputation, RouteFact::Freshness, RouteFact::Price]);
    let offered = market.client.route_strategies().await.unwrap();
    assert_eq!((offered.len(), offered[3].strategy, offered[3].terms.len()), (9, Strategy::BestValue, 4));
    let many = RouteRequest { listing_ids: vec![good; 101], ..RouteRequest::default() };
    assert_eq!(refusal(buyer.client.route(&many).await), Code::InvalidRequest);
    assert_eq!(refusal(buyer.client.route(&RouteRequest { limit: Some(21), ..many }).await), Code::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_go_around_over_two_instances_and_are_each_buyers_own() {
    let world = World::new().await;
    let config = || market::Config { token_secrets: vec![[7; 32].into()], ..world.config() };
    let (market, other) = (Market::start(config()).await, Market::start(config()).await);
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let stranger = market.join("stranger", BUYER + 1, AgentType::Buyer).await;
    let mut listings = Vec::new();
    for n in 0..4 {
        listings.push(publish(&seller, &format!("tides {n}"), 1_000, &n.to_string()).await);
    }
    let clients = [buyer.client.clone(), buyer.client.at(other.url.clone())];
    let asked = by(Strategy::RoundRobin);
    let chosen = async |client: &api::Client| client.route(&asked).await.unwrap().data[0].listing.id;
    let at_once = futures::future::join_all((0..12).map(|n| chosen(&clients[n % 2]))).await;
    for listing in &listings {
        assert_eq!(at_once.iter().filter(|id| *id == listing).count(), 3, "{at_once:?}");
    }
    assert_eq!(chosen(&stranger.client).await, listings[0], "others' turns are not used up");
    let late = publish(&seller, "tides late", 1_000, "late").await;
    assert_eq!(chosen(&clients[0]).await, late, "who is new has a turn");
    assert_ne!(chosen(&clients[1]).await, late, "and no more than one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_chosen_by_what_it_can_asks_and_has_room_for() {
    let world = World::new().await;
    let market = world.market().await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let mut agents = Vec::new();
    for (at, (name, cost, availability)) in [
        ("one", Some(2_000), Availability::Online),
        ("two", Some(1_000), Availability::Online),
        ("three", None, Availability::Online),
        ("four", Some(500), Availability::Busy),
        ("five", Some(1), Availability::Offline),
    ]
    .into_iter()
    .enumerate()
    {
        let agent = market.join(name, [5, 7, 8, 9, 4][at], AgentType::Seller).await;
        let change = UpdateAgent {
            capabilities: Some(vec!["translate".into()]),
            cost_per_task: cost.map(usdc),
            capacity_per_hour: Some(1),
            availability: Some(availability),
            ..UpdateAgent::default()
        };
        agent.client.update_agent(agent.agent.id, &change).await.unwrap();
        agents.push(agent);
    }
    let asked = |strategy| AgentRouteRequest {
        capability: "Translate".into(),
        max_cost: None,
        strategy,
        busy: false,
        seed: None,
        limit: None,
    };
    let names = async |request: AgentRouteRequest| {
        let routed = buyer.client.route_agents(&request).await.unwrap();
        routed.data.into_iter().map(|route| route.agent.name).collect::<Vec<_>>()
    };
    assert_eq!(names(asked(Some(Strategy::Cheapest))).await, ["two", "one"], "who names no cost is not cheap");
    let busy = AgentRouteRequest { busy: true, ..asked(Some(Strategy::Cheapest)) };
    assert_eq!(names(busy).await[0], "four");
    let bound = AgentRouteRequest { max_cost: Some(usdc(1_500)), ..asked(None) };
    assert_eq!(names(bound).await, ["two"]);
    let first = async |capability: &str| names(AgentRouteRequest { capability: capability.into(), ..asked(None) }).await;
    let turns = [first("translate").await, first("translate").await, first("translate").await];
    let mut chosen: Vec<_> = turns.iter().map(|order| order[0].clone()).collect();
    assert_eq!(chosen[2], "two", "it had its turn before");
    chosen.sort();
    assert_eq!(chosen, ["one", "three", "two"]);
    // One sells what it takes in an hour: it comes last, whoever's turn it is.
    let sold = publish(&agents[0], "a translation", 1_000, "bonjour").await;
    buyer.client.express_from_ledger(sold, Asset::Ard, "sold").await.unwrap();
    for strategy in [None, Some(Strategy::LeastLoaded), Some(Strategy::HighestQuality), Some(Strategy::Random)] {
        let order = names(asked(strategy)).await;
        assert_eq!((order.len(), order[2].as_str()), (3, "one"), "{strategy:?}");
    }
    assert_eq!(first("sing").await, Vec::<String>::new());
    assert_eq!(refusal(buyer.client.route_agents(&asked(Some(Strategy::Fastest))).await), Code::InvalidRequest);
}
