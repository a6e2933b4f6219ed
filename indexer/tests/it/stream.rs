//! A reader of the feed misses nothing and hears of everything that is undone, however often it comes back.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::Value;

use crate::{
    harness::{Chain, Indexer, database, pool, synced},
    reorg::reorg,
};

/// One server-sent event: kind, cursor and data.
type Item = (String, String, Value);

/// Reads up to `most` items after `cursor`, not beyond block `last`, then hangs up.
async fn read(indexer: &Indexer, query: &str, cursor: Option<&str>, most: usize, last: u64) -> Vec<Item> {
    let mut request = reqwest::Client::new().get(format!("{}/api/v1/chain/stream?{query}", indexer.url));
    if let Some(cursor) = cursor {
        request = request.header("last-event-id", cursor);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let (mut body, mut text, mut items) = (response.bytes_stream(), String::new(), Vec::new());
    loop {
        text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
            if !field("data:").is_empty() {
                let data: Value = serde_json::from_str(&field("data:")).unwrap();
                let end = data["number"].as_u64() == Some(last);
                items.push((field("event:"), field("id:"), data));
                if end || items.len() == most {
                    return items;
                }
            }
        }
    }
}

fn row(data: &Value) -> (u64, u64, String) {
    (data["block_number"].as_u64().unwrap(), data["log_index"].as_u64().unwrap(), data["block_hash"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reconnects_all_the_time_misses_nothing_and_sees_every_undo() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    for i in 0..10 {
        chain.block(&[(i % 10, (i + 3) % 10, 10), ((i + 1) % 10, i % 10, 7)]).await;
    }
    synced(&chain, &pool).await;
    let (mut rows, mut undone, mut cursor) = (BTreeSet::<(u64, u64, String)>::new(), 0, None::<String>);
    let mut last_block = 0;
    let query = "topics=transfers,blocks&from_block=0";
    for (step, depth) in [0, 2, 5, 0, 9, 1].into_iter().enumerate() {
        if depth > 0 {
            reorg(&chain, depth, 1_000 * u64::try_from(step).unwrap()).await;
        }
        chain.pay(1, 2, 3).await;
        synced(&chain, &pool).await;
        let (height, before) = (chain.height().await, undone);
        // Each time another, small number of items, so that it hangs up everywhere, also within a block.
        for most in (1..).map(|i| 1 + i % 3) {
            for (kind, id, data) in read(&indexer, query, cursor.as_deref(), most, height).await {
                cursor = Some(id);
                match kind.as_str() {
                    "undo" => {
                        undone += 1;
                        last_block = data["from_block"].as_u64().unwrap() - 1;
                        rows.retain(|(block, ..)| *block <= last_block);
                    }
                    "transfer" => assert!(rows.insert(row(&data)), "twice: {data}"),
                    "block" => {
                        assert!(last_block == 0 || data["number"].as_u64() == Some(last_block + 1), "{data} after {last_block}");
                        last_block = data["number"].as_u64().unwrap();
                    }
                    other => panic!("{other}: {data}"),
                }
            }
            if last_block == height {
                break;
            }
        }
        assert_eq!(undone - before, usize::from(depth > 0), "step {step}");
        let (_, all) = indexer.get("/api/v1/chain/transfers?limit=500").await;
        assert_eq!(rows, all["data"].as_array().unwrap().iter().map(row).collect::<BTreeSet<_>>(), "step {step}");
    }
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_of_a_block_when_it_is_mirrored_and_why_it_is_dropped() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let url = format!("{}/api/v1/chain/stream", indexer.url);
    let response = reqwest::get(format!("{url}?topics=transfers&account={}", chain.accounts[2])).await.unwrap();
    let mut body = response.bytes_stream();
    chain.pay(3, 4, 8).await;
    chain.pay(1, 2, 9).await;
    let mut text = String::new();
    while !text.contains("0.000009") {
        text += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
    }
    assert!(!text.contains("0.000008"), "{text}");
    let (status, problem) = indexer.get("/api/v1/chain/stream?cursor=5-1-1-1-77-00000000").await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{problem}");
    let (status, problem) = indexer.get("/api/v1/chain/stream?topics=weather").await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid_parameter")), "{problem}");
    let rest = tokio::spawn(async move {
        let mut text = String::new();
        while let Some(Ok(bytes)) = body.next().await {
            text += std::str::from_utf8(&bytes).unwrap();
        }
        text
    });
    indexer.stop().await;
    let rest = rest.await.unwrap();
    assert!(rest.contains("event: dropped") && rest.contains("the server stops"), "{rest}");
}
