//! Follows everything that was sent, for the whole chain at once: one question tells how far each signer is, one more fetches the receipts of
//! what was mined. What a reorganisation took away is sent again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, U64},
    providers::Provider,
    rpc::{client::BatchRequest, types::TransactionReceipt},
};
use futures::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use x402::Reason;

use crate::{
    Error,
    engine::Engine,
    journal::Open,
    lane::{Lane, Sent},
    metrics::Stage,
    resend, rpc,
    settlement::{Entry, Method, Settlement, Slot, State},
};

/// First wait for a block after something was sent; doubled until the longest, which is a setting.
const POLL_MIN: Duration = Duration::from_millis(1);
/// Wait between two looks when everything was mined and only has to become final.
const POLL_FINAL: Duration = Duration::from_secs(1);
/// Nodes behind one address may know of a nonce before they know of the receipt.
const MISSING_MAX: Duration = Duration::from_secs(3);
/// Transactions looked at in one go, and of them those about which more than a receipt is asked at once.
const LOOK_MAX: usize = 200;
const JUDGED_AT_ONCE: usize = 16;

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

/// A slot whose receipts are due.
struct Due<'a> {
    lane: &'a Lane,
    open: Open,
    mined: Option<(u64, B256)>,
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
                    let (since, _) = sent.missing.get_or_insert_with(|| (Instant::now(), head));
                    if head >= number || since.elapsed() > MISSING_MAX {
                        (sent.mined, sent.missing, sent.last_sent, sent.first_sent) = (None, None, None, Instant::now());
                        sent.open.entries.iter_mut().for_each(|entry| (entry.state, entry.reason) = (State::Sent, None));
                        undone.extend(sent.open.entries.iter().cloned());
                    }
                    false
                }
                Some((number, _)) => {
                    sent.missing = None;
                    head >= number + engine.limits.confirmations
                }
                None => {
                    sent.missing = sent.missing.filter(|_| nonce < count);
                    nonce < count
                }
            };
            if look {
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
        let Sent { open, mined, .. } = lane.open().get(&nonce)?.clone();
        Some(Due { lane, open, mined })
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

/// What was found out about a slot.
struct Judged<'a> {
    lane: &'a Lane,
    slot: Slot,
    /// The block that holds it; nothing when somebody else used the nonce, or when it must be looked at again.
    block: Option<(u64, B256)>,
    /// As they are now.
    entries: Vec<Entry>,
    /// Those that are not what they were.
    changed: Vec<Entry>,
    /// It is looked at no more.
    is_final: bool,
}

/// The journal first, then memory, then whoever waits: what fails half way is found out again by the next look.
async fn judge_all(engine: &Arc<Engine>, due: Vec<Due<'_>>, head: u64) -> Result<(), Error> {
    let receipts = receipts(engine, due.iter().map(|due| &due.open)).await?;
    let (mut due, mut judged) = (due.into_iter().zip(receipts), Vec::new());
    while due.len() > 0 {
        let together = due.by_ref().take(JUDGED_AT_ONCE).map(|(due, receipt)| judge_one(engine, due, receipt, head));
        judged.extend(join_all(together).await.into_iter().flatten());
    }
    let changed: Vec<Entry> = judged.iter().flat_map(|judged| judged.changed.iter().cloned()).collect();
    if !changed.is_empty() {
        engine.journal.record(&changed).await?;
    }
    let mut closed = Vec::new();
    for Judged { lane, slot, block, entries, changed, is_final } in judged {
        if let Some(sent) = lane.open().get_mut(&slot.nonce) {
            if sent.mined.is_none() && block.is_some() {
                engine.metrics.took(Stage::Inclusion, sent.first_sent.elapsed());
            }
            (sent.mined, sent.missing, sent.open.entries) = (block, sent.missing.filter(|_| block.is_none()), entries);
        }
        lane.room.notify_one();
        if is_final {
            closed.push((lane, slot));
        }
        for entry in changed {
            if entry.state != State::Again {
                engine.ended(entry);
                continue;
            }
            tracing::warn!(payer = %entry.settlement.key.payer, "a settlement goes out again, in a transaction of its own");
            let key = entry.settlement.key;
            if !lane.push(Settlement { batchable: false, ..entry.settlement }) {
                // The journal knows, and so does the next who asks.
                engine.not_begun(&key);
            }
        }
    }
    if !closed.is_empty() {
        engine.journal.close(&closed.iter().map(|(_, slot)| *slot).collect::<Vec<_>>()).await?;
    }
    for (lane, slot) in closed {
        lane.open().remove(&slot.nonce);
    }
    Ok(())
}

/// What a slot's receipt says of it; nothing when it must be asked for again.
async fn judge_one<'a>(
    engine: &Engine,
    Due { lane, open, mined }: Due<'a>,
    receipt: Option<Option<TransactionReceipt>>,
    head: u64,
) -> Option<Judged<'a>> {
    // What the node failed to tell is asked again by the next look; the others need not wait for it.
    let (slot, receipt) = (open.slot, receipt?);
    let block = receipt.as_ref().and_then(|receipt| receipt.block_number.zip(receipt.block_hash));
    if mined.is_some() && mined == block {
        return Some(Judged { lane, slot, block, entries: open.entries, changed: Vec::new(), is_final: true });
    }
    let entries = match &receipt {
        Some(receipt) => judge(engine, &open, receipt).await,
        None => judge_taken(engine, &open, taken_since(lane, slot.nonce, head)?, head).await,
    };
    let is_whole = entries.iter().all(|entry| entry.state != State::Sent);
    let is_final = receipt.is_none() && is_whole;
    if is_final {
        tracing::warn!(signer = %slot.signer, nonce = slot.nonce, "the signer's nonce was used by a transaction that is not ours");
    }
    // What is not known of all of them is asked again.
    let block = block.filter(|_| is_whole);
    let is_changed = |(now, before): &(&Entry, &Entry)| now != before;
    let changed = entries.iter().zip(&open.entries).filter(is_changed).map(|(now, _)| now.clone()).collect();
    Some(Judged { lane, slot, block, entries, changed, is_final })
}

/// For each slot the receipt of the attempt that was mined, if there is one; nothing where the node failed to tell.
async fn receipts(
    engine: &Engine,
    open: impl Iterator<Item = &Open> + Clone,
) -> Result<Vec<Option<Option<TransactionReceipt>>>, Error> {
    let hashes: Vec<(B256,)> = open.clone().flat_map(|open| open.attempts.iter().map(|attempt| (attempt.hash,))).collect();
    let provider = &engine.verifier.provider;
    let mut answers =
        rpc::many::<_, Option<TransactionReceipt>>(provider, "eth_getTransactionReceipt", hashes).await?.into_iter();
    let mut found = Vec::new();
    for open in open {
        let (mut receipt, mut is_told) = (None, true);
        for answer in answers.by_ref().take(open.attempts.len()) {
            match answer {
                Ok(answer) => receipt = receipt.or(answer),
                Err(error) => {
                    tracing::warn!(signer = %open.slot.signer, %error, "a receipt could not be asked for; trying again");
                    is_told = false;
                }
            }
        }
        found.push((is_told || receipt.is_some()).then_some(receipt));
    }
    Ok(found)
}

/// As of which block a nonce is used up without a receipt, when that is so for too long to be ours.
fn taken_since(lane: &Lane, nonce: u64, head: u64) -> Option<u64> {
    let mut open = lane.open();
    let sent = open.get_mut(&nonce)?;
    // One that had a receipt lost it: it must be found anew.
    sent.mined = None;
    let (since, block) = *sent.missing.get_or_insert_with(|| (Instant::now(), head));
    (since.elapsed() > MISSING_MAX).then_some(block)
}

/// What a receipt says of each settlement of its transaction. Those that failed by the fault of another go out again.
async fn judge(engine: &Engine, open: &Open, receipt: &TransactionReceipt) -> Vec<Entry> {
    let (together, logs) = (open.entries.len() > 1, receipt.logs());
    let mut entries = Vec::new();
    for entry in &open.entries {
        let settlement = &entry.settlement;
        // Two payments of a batch may look the same but for their nonce.
        let is_shown = match together {
            // Our own call used the nonce, in whatever order the token tells it.
            true => settlement.is_in(logs) && settlement.is_used_in(logs),
            false => settlement.is_in(logs),
        };
        if receipt.status() && is_shown {
            entries.push(Entry { state: State::Settled(receipt.transaction_hash), reason: None, ..entry.clone() });
            continue;
        }
        let reason = if receipt.status() && !together { Reason::TransferEventMismatch } else { Reason::TransactionFailed };
        let judged = judge_elsewhere(engine, entry, reason, receipt.block_number).await;
        let by_another = !receipt.status() && together;
        entries.push(if by_another { or_again(judged) } else { judged });
    }
    entries
}

/// The same for a transaction that never will be mined, as it seems since a block.
async fn judge_taken(engine: &Engine, open: &Open, since: u64, head: u64) -> Vec<Entry> {
    let is_deep = head >= since + engine.limits.confirmations;
    join_all(open.entries.iter().map(|entry| judge_taken_one(engine, entry, since, is_deep))).await
}

async fn judge_taken_one(engine: &Engine, entry: &Entry, since: u64, is_deep: bool) -> Entry {
    match entry.settlement.key.method {
        // The chain takes these once.
        Method::Eip3009 | Method::Permit2 => {
            or_again(judge_elsewhere(engine, entry, Reason::TransactionFailed, Some(since)).await)
        }
        // These it may take twice, if it was ours and the node only hides that. So they wait for longer, and none goes out again by itself:
        // who asks for it again has the state looked at first.
        Method::Channel | Method::Gas if is_deep && entry.state == State::Sent => {
            Entry { state: State::Failed, reason: Some(Reason::TransactionFailed.into()), ..entry.clone() }
        }
        Method::Channel | Method::Gas => entry.clone(),
    }
}

/// What did not happen otherwise is tried once more.
fn or_again(judged: Entry) -> Entry {
    let state = if judged.state == State::Failed { State::Again } else { judged.state };
    Entry { state, ..judged }
}

/// A settlement that our transaction did not do: done by somebody else, or not at all; as it was when the node does not tell.
async fn judge_elsewhere(engine: &Engine, entry: &Entry, reason: Reason, seen: Option<u64>) -> Entry {
    let settlement = &entry.settlement;
    let (state, reason) = match engine.settled_elsewhere(settlement.key, &settlement.transfer(), seen).await {
        Ok(Some(hash)) => (State::Settled(hash), None),
        Ok(None) => (State::Failed, Some(String::from(reason))),
        Err(error) => {
            tracing::warn!(payer = %settlement.key.payer, %error, "cannot tell whether somebody else settled it; asking again");
            return entry.clone();
        }
    };
    Entry { state, reason, ..entry.clone() }
}

/// Looks for the end of what a signer of another instance sent: that instance may be gone.
pub(crate) async fn look_elsewhere(engine: &Engine, entry: &Entry) -> Result<(), Error> {
    let open = engine.journal.open(entry.slot.chain_id, entry.slot.signer).await?;
    let Some(open) = open.into_iter().find(|open| open.slot == entry.slot) else { return Ok(()) };
    if let Some(receipt) = receipts(engine, [&open].into_iter()).await?.pop().flatten().flatten() {
        engine.journal.record(&judge(engine, &open, &receipt).await).await?;
    }
    Ok(())
}
