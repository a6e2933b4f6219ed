//! Follows everything that was sent, for the whole chain at once: one question tells how far each signer is, one more fetches the receipts of
//! what was mined. What a reorganisation took away is sent again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{primitives::U64, providers::Provider, rpc::client::BatchRequest};
use futures::future::join_all;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    Error,
    engine::Engine,
    judge::{Due, MISSING_MAX, judge_all},
    lane::Lane,
    resend,
    settlement::State,
};

/// First wait for a block after something was sent; doubled until the longest, which is a setting.
const POLL_MIN: Duration = Duration::from_millis(1);
/// Wait between two looks when everything was mined and only has to become final.
const POLL_FINAL: Duration = Duration::from_secs(1);
/// Transactions looked at in one go.
const LOOK_MAX: usize = 200;

/// Follows for as long as it is polled.
pub(crate) async fn run(engine: &Arc<Engine>) {
    let mut pace = POLL_MIN;
    let mut head = 0;
    for looks in 0_usize.. {
        let wait = async {
            if engine.lanes.iter().any(|lane| lane.unmined() > 0) {
                tokio::time::sleep(pace).await;
            } else if engine.lanes.iter().any(|lane| !lane.open().is_empty()) {
                tokio::time::sleep(POLL_FINAL).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = engine.news.notified() => pace = POLL_MIN,
            () = wait => pace = (pace * 2).min(engine.limits.poll),
        }
        match look(engine, looks).await {
            Ok(now) => {
                if now != head {
                    head = now;
                    let engine = engine.clone();
                    engine.tasks.clone().spawn(async move { engine.fees.renew().await });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot follow the settlements; trying again");
                tokio::time::sleep(engine.limits.poll).await;
            }
        }
    }
}

/// Hears of new blocks where the node announces them, by WebSocket; elsewhere looking has to do.
pub(crate) async fn listen(engine: &Arc<Engine>) {
    while let Ok(mut heads) = engine.verifier.provider.subscribe_blocks().await {
        // A gap in what is heard is as good as a block.
        while !matches!(heads.recv().await, Err(RecvError::Closed)) {
            engine.news.notify_one();
        }
        tokio::time::sleep(POLL_FINAL).await;
    }
}

/// Looks once, after so many looks before; answers the newest block.
async fn look(engine: &Arc<Engine>, looks: usize) -> Result<u64, Error> {
    let lanes: Vec<&Lane> = engine.lanes.iter().filter(|lane| !lane.open().is_empty()).collect();
    let (counts, head) = heights(engine, &lanes).await?;
    let (mut due, mut undone) = (Vec::new(), Vec::new());
    for (lane, count) in lanes.iter().zip(&counts) {
        lane.saw(*count);
        for (nonce, sent) in lane.open().iter_mut() {
            let look = match sent.mined {
                // The block that held it is gone, or the node that answers does not have it yet.
                Some((number, _)) if nonce >= count => {
                    let (since, _) = sent.unclear.get_or_insert_with(|| (Instant::now(), head));
                    if head >= number || since.elapsed() > MISSING_MAX {
                        (sent.mined, sent.unclear, sent.last_sent, sent.first_sent) = (None, None, None, Instant::now());
                        sent.open.entries.iter_mut().for_each(|entry| (entry.state, entry.reason) = (State::Sent, None));
                        undone.extend(sent.open.entries.iter().cloned());
                    }
                    false
                }
                Some((number, _)) => {
                    sent.unclear = None;
                    head >= number + engine.limits.confirmations
                }
                None => {
                    sent.unclear = sent.unclear.filter(|_| nonce < count);
                    nonce < count
                }
            };
            if look && !sent.rests(head) {
                due.push((*lane, *nonce));
            }
        }
    }
    // Those that a look leaves out are the first of the next: what a node cannot tell of some keeps nobody from the others.
    let first = looks.wrapping_mul(LOOK_MAX).checked_rem(due.len()).unwrap_or_default();
    due.rotate_left(first);
    due.truncate(LOOK_MAX);
    if !undone.is_empty() {
        tracing::warn!(settlements = undone.len(), "a reorganisation undid settlements; sending them again");
        engine.journal.record(&undone).await?;
    }
    let due = due.into_iter().filter_map(|(lane, nonce)| {
        let sent = lane.open().get(&nonce)?.clone();
        Some(Due { lane, sent })
    });
    judge_all(engine, due.collect(), head).await?;
    for (lane, count) in lanes.iter().zip(&counts) {
        resend::send_again(engine, lane, *count).await?;
    }
    Ok(head)
}

/// How many nonces each signer has used up, and the newest block.
async fn heights(engine: &Engine, lanes: &[&Lane]) -> Result<(Vec<u64>, u64), Error> {
    let mut batch = BatchRequest::new(engine.verifier.provider.client());
    let mut counts = Vec::new();
    for lane in lanes {
        counts.push(batch.add_call::<_, U64>("eth_getTransactionCount", &(lane.address(), "latest"))?);
    }
    let head = batch.add_call::<_, U64>("eth_blockNumber", &())?;
    batch.send().await?;
    let counts = join_all(counts).await.into_iter().map(|count| count.map(|count| count.to())).collect::<Result<_, _>>()?;
    Ok((counts, head.await?.to()))
}
