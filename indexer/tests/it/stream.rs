//! A reader of the feed misses nothing and hears of everything that is undone, however often it comes back.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    harness::{Chain, Indexer, config, database, pool, synced},
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
    let (status, problem) = indexer.get("/api/v1/chain/stream?from_block=999999").await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("is not mirrored yet"), "{problem}");
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

/// A reader by WebSocket that holds little that it has not read.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(indexer: &Indexer, query: &str) -> Self {
        let address = indexer.url.strip_prefix("http://").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        Self(client_async(format!("ws://{address}/api/v1/chain/stream/ws?{query}"), stream).await.unwrap().0)
    }

    /// The next item; none when there will be no more, and why if that was said.
    async fn next(&mut self) -> Result<Item, Option<String>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    let item: Value = serde_json::from_str(&text).unwrap();
                    let word = |name: &str| item[name].as_str().unwrap().to_owned();
                    return Ok((word("kind"), word("cursor"), item["data"].clone()));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.reason.to_string())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_by_websocket_goes_on_after_its_cursor_and_hears_what_was_undone() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    for amount in 1..=6 {
        chain.pay(1, 2, amount).await;
    }
    synced(&chain, &pool).await;
    let first = chain.height().await - 5;
    let mut socket = Socket::open(&indexer, &format!("topics=transfers&from_block={first}")).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..4 {
        let (kind, at, data) = socket.next().await.unwrap();
        assert_eq!(kind, "transfer");
        seen.push(data["amount"].as_str().unwrap().parse::<money::Usdc>().unwrap().base_units());
        cursor = at;
    }
    drop(socket);
    reorg(&chain, 2, 1_000).await;
    synced(&chain, &pool).await;
    // The two payments that it had not read were undone: it never hears of them, and not of the undoing either.
    let mut socket = Socket::open(&indexer, &format!("topics=transfers&cursor={cursor}")).await;
    chain.pay(1, 2, 77).await;
    loop {
        let (kind, at, data) = socket.next().await.unwrap();
        assert_eq!(kind, "transfer", "{data}");
        cursor = at;
        seen.push(data["amount"].as_str().unwrap().parse::<money::Usdc>().unwrap().base_units());
        if seen.last() == Some(&77) {
            break;
        }
    }
    assert_eq!(&seen[..4], [1, 2, 3, 4]);
    assert!(!seen[4..].contains(&5) && !seen[4..].contains(&6), "{seen:?}");
    // What it has read is undone while it listens.
    reorg(&chain, 1, 2_000).await;
    chain.pay(1, 2, 78).await;
    let (kind, _, data) = socket.next().await.unwrap();
    assert_eq!((kind.as_str(), data["from_block"].as_u64()), ("undo", Some(first + 6)), "{data} after {cursor}");
    let stopping = tokio::spawn(indexer.stop());
    let why = loop {
        if let Err(why) = socket.next().await {
            break why;
        }
    };
    assert!(why.unwrap().contains("the server stops"));
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_dropped_and_loses_nothing_by_it() {
    const ROWS: usize = 16_000;
    let chain = Chain::start().await;
    chain.pay(1, 2, 5).await;
    let database = database().await;
    let mut config = config(&chain, &database);
    config.stream_slow_seconds = 1;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    synced(&chain, &pool).await;
    // More than the buffers between the two hold.
    let height = chain.height().await;
    let many = "INSERT INTO chain.transfers SELECT block_number, 10 + n, tx_index, token, sender, recipient, n, NULL
                FROM chain.transfers CROSS JOIN generate_series(1, $2) AS n WHERE block_number = $1";
    sqlx::query(many).bind(i64::try_from(height).unwrap()).bind(i32::try_from(ROWS).unwrap()).execute(&pool).await.unwrap();
    let mut query = format!("topics=transfers&from_block={height}");
    let (mut rows, mut dropped) = (Vec::new(), 0);
    while rows.len() < ROWS + 1 {
        let mut socket = Socket::open(&indexer, &query).await;
        if dropped == 0 {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
        while rows.len() < ROWS + 1 {
            let Ok((_, cursor, data)) = socket.next().await else {
                dropped += 1;
                break;
            };
            rows.push(data["log_index"].as_u64().unwrap());
            query = format!("topics=transfers&cursor={cursor}");
        }
    }
    assert_eq!(dropped, 1, "it was dropped while it took nothing, and not when it did");
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "each row once and in order");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leaves_places_for_others() {
    let chain = Chain::start().await;
    let mut config = config(&chain, &database().await);
    config.readers_per_address = 2;
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let read = async |from: [u8; 4]| {
        let client = reqwest::Client::builder().local_address(std::net::IpAddr::from(from)).build().unwrap();
        client.get(format!("{}/api/v1/chain/stream", indexer.url)).send().await.unwrap()
    };
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let (first, _second) = (read(here).await, read(here).await);
    let refused = read(here).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().await.unwrap().contains("2 readers are connected from your address"));
    assert_eq!(read(there).await.status(), 200);
    drop(first);
    let again = async {
        while read(here).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), again).await.expect("a reader that left takes no place");
    indexer.stop().await;
}
