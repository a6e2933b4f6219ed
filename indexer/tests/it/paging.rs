//! What a client may rely on while blocks come and go.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    harness::{Chain, Indexer, database, pool, synced},
    reorg::reorg,
};

fn id(row: &Value) -> (u64, u64, String) {
    (row["block_number"].as_u64().unwrap(), row["log_index"].as_u64().unwrap(), row["block_hash"].to_string())
}

/// Follows `next_cursor` to the end, and `undone_from` as the description says; between the pages the chain goes on.
async fn read_all(indexer: &Indexer, order: &str, mut meanwhile: impl AsyncFnMut(usize)) -> BTreeSet<(u64, u64, String)> {
    let path = |rest: String| format!("/api/v1/chain/transfers?order={order}&limit=5{rest}");
    let mut rows: BTreeSet<(u64, u64, String)> = BTreeSet::new();
    let mut again: Option<u64> = None;
    let mut next = Some(path(String::new()));
    let mut pages = 0;
    while let Some(url) = next.take() {
        let (status, page) = indexer.get(&url).await;
        assert_eq!(status, 200, "{page}");
        if let Some(undone) = page["undone_from"].as_u64() {
            rows.retain(|(block, ..)| *block < undone);
            again = Some(again.map_or(undone, |before| before.min(undone)));
        }
        for row in page["data"].as_array().unwrap() {
            assert!(rows.insert(id(row)) || again.is_some(), "a row came twice");
        }
        let from =
            if url.contains("from_block") { url.split("&from_block").nth(1).map(|f| f.split('&').next().unwrap()) } else { None };
        next = page["next_cursor"]
            .as_str()
            .map(|cursor| path(format!("&cursor={cursor}{}", from.map(|from| format!("&from_block{from}")).unwrap_or_default())));
        meanwhile(pages).await;
        pages += 1;
        if next.is_none() {
            next = again.take().map(|undone| {
                rows.retain(|(block, ..)| *block < undone);
                path(format!("&from_block={undone}"))
            });
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pages_through_reorganisations_ends_with_the_rows_of_the_final_chain() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    for i in 0..20 {
        chain.pay(i % 10, (i + 3) % 10, 10).await;
    }
    synced(&chain, &pool).await;
    for order in ["asc", "desc"] {
        let final_block = std::cell::Cell::new(0);
        let rows = read_all(&indexer, order, async |page| {
            match page {
                1 => reorg(&chain, 3, 100).await,
                3 => reorg(&chain, 18, 200).await,
                0 | 2 => drop(chain.pay(1, 2, 5).await),
                _ => return,
            }
            synced(&chain, &pool).await;
            final_block.set(chain.height().await);
        })
        .await;
        let (_, all) = indexer.get("/api/v1/chain/transfers?limit=500").await;
        let all: BTreeSet<_> = all["data"].as_array().unwrap().iter().map(id).collect();
        // Blocks newer than a descending list's first page are another request's business.
        let missing: Vec<_> = all.difference(&rows).filter(|row| order == "asc" || row.0 + 20 < final_block.get()).collect();
        assert!(missing.is_empty() && rows.is_subset(&all), "{order}: {missing:?}");
    }
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_its_block_and_is_not_sent_again_while_nothing_changed() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    chain.pay(1, 2, 5).await;
    synced(&chain, &pool).await;
    let url = format!("{}/api/v1/chain/accounts/{}", indexer.url, chain.accounts[2]);
    let client = reqwest::Client::new();
    let first = client.get(&url).send().await.unwrap();
    assert_eq!(first.headers()["access-control-allow-origin"], "*", "a page in a browser may read it");
    assert_eq!(first.headers()["x-florin-block"], chain.height().await.to_string());
    let tag = first.headers()["etag"].clone();
    let weak = format!("\"other\", W/{}", tag.to_str().unwrap());
    for known in [tag.to_str().unwrap(), &weak] {
        let again = client.get(&url).header("if-none-match", known).send().await.unwrap();
        assert_eq!((again.status().as_u16(), again.text().await.unwrap()), (304, String::new()), "{known}");
    }
    chain.pay(1, 2, 5).await;
    synced(&chain, &pool).await;
    let changed = client.get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((changed.status().as_u16(), changed.headers()["etag"] == tag), (200, false));

    let height = chain.height().await;
    let (_, before) = indexer.get(&format!("/api/v1/84532/accounts/{}?at_block={}", chain.accounts[2], height - 1)).await;
    let (_, now) = indexer.get(&format!("/api/v1/chain/accounts/{}", chain.accounts[2])).await;
    assert_eq!((before["transfers"].as_u64(), now["transfers"].as_u64()), (Some(2), Some(3)));
    for path in ["accounts/0x0000000000000000000000000000000000000001?at_block=99999", "agreements?at_block=99999"] {
        let (status, problem) = indexer.get(&format!("/api/v1/chain/{path}")).await;
        assert_eq!((status, problem["code"].as_str()), (404, Some("not_mirrored")), "{problem}");
    }
    let (status, problem) = indexer.get("/api/v1/base/status").await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("unknown_chain")), "{problem}");
    indexer.stop().await;
}
