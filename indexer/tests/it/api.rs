use crate::harness::{Chain, Indexer, database, pool, synced};

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_an_accounts_transfers_are_complete_while_blocks_arrive() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    for i in 0..25 {
        chain.pay(1, 2, 1_000 + i).await;
    }
    synced(&chain, &pool).await;
    let account = chain.accounts[2];
    let (mut amounts, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = indexer.get(&format!("/api/v1/chain/accounts/{account}/transfers?limit=7{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        amounts.extend(page["data"].as_array().unwrap().iter().map(|t| t["amount"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        chain.pay(1, 2, 5).await;
        synced(&chain, &pool).await;
    }
    let mut expected: Vec<String> = (0..25).rev().map(|i| format!("0.0010{i:02}")).collect();
    expected.push("1000.00".into());
    assert_eq!(
        amounts.iter().map(|a| a.parse::<money::Usdc>().unwrap()).collect::<Vec<_>>(),
        expected.iter().map(|a| a.parse::<money::Usdc>().unwrap()).collect::<Vec<_>>()
    );

    let (_, account) = indexer.get(&format!("/api/v1/chain/accounts/{account}")).await;
    assert_eq!(account["transfers"], 1 + 25 + 3);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_cannot_be_used_is_named() {
    let chain = Chain::start().await;
    let indexer = Indexer::start(&chain, &database().await).await;
    for (path, named) in [
        ("/api/v1/chain/events?colour=red", "colour"),
        ("/api/v1/chain/events?limit=0", "limit must be from 1 to 500"),
        ("/api/v1/chain/events?cursor=x", "next_cursor"),
        ("/api/v1/chain/accounts/0x12", "string"),
        ("/api/v1/chain/events?name=%00", "zero byte"),
        ("/api/v1/chain/stream?name=%00", "zero byte"),
        ("/api/v1/chain/webhooks/7/dead-letters", "UUID"),
        ("/api/v1/chain/stream/ws", "Connection header"),
    ] {
        let (status, problem) = indexer.get(path).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{path}: {problem}");
    }
    let (status, problem) = indexer.get("/api/v1/chain/nothing").await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("no_such_path")));
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_dashboard_is_there() {
    let chain = Chain::start().await;
    let indexer = Indexer::start(&chain, &database().await).await;
    let metrics = reqwest::get(format!("{}/metrics", indexer.url)).await.unwrap().text().await.unwrap();
    let dashboard = include_str!("../../grafana.json");
    let named = dashboard.split(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|word| word.starts_with("florin_indexer_"));
    let missing: Vec<&str> = named.clone().filter(|name| !metrics.contains(&format!("# TYPE {name} "))).collect();
    assert!(named.count() > 10 && missing.is_empty(), "{missing:?} in\n{metrics}");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_ask_by_graphql_and_register_no_webhook() {
    let chain = Chain::start().await;
    let indexer = Indexer::start(&chain, &database().await).await;
    let allowed = async |path: &str, header: &str| {
        let url = format!("{}/api/v1/chain/{path}", indexer.url);
        let ask = reqwest::Client::new().request(reqwest::Method::OPTIONS, url).header("origin", "https://shop.example");
        let ask = ask.header("access-control-request-method", "POST").header("access-control-request-headers", header);
        let answer = ask.send().await.unwrap();
        let lists = |name: &str, value: &str| {
            let listed = answer.headers().get(name).map(|listed| listed.to_str().unwrap().to_lowercase());
            listed.is_some_and(|listed| listed.split(',').any(|one| one.trim() == value))
        };
        lists("access-control-allow-methods", "post") && lists("access-control-allow-headers", header)
    };
    assert!(allowed("graphql", "content-type").await, "a browser asks this before it posts JSON");
    assert!(!allowed("webhooks", "authorization").await);
    indexer.stop().await;
}
