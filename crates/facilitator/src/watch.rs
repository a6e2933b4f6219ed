//! Follows everything that was sent, for the whole chain at once: one question tells how far each signer is, one more fetches the receipts of
//! what was mined. What is not mined is sent again, and replaced; what a reorganisation took away is sent again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{B256, Bytes, U64},
    providers::Provider,
    rpc::{client::BatchRequest, types::TransactionReceipt},
};
use futures::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use x402::Reason;

use crate::{
    Error,
    engine::Engine,
    fees,
    journal::{Attempt, Open, Transaction},
    lane::Lane,
    rpc,
    settlement::{Call, Entry, Settlement, State},
};

/// First wait for a block after something was sent; doubled until the longest, which is a setting.
const POLL_MIN: Duration = Duration::from_millis(1);
/// Wait between two looks when everything was mined and only has to become final.
const POLL_FINAL: Duration = Duration::from_secs(1);
/// A transaction that is not mined is sent again this often: the node may have lost it, or never got it.
const RESEND_EVERY: Duration = Duration::from_secs(2);
const BUMPS_MAX: u32 = 10;
/// Nodes behind one address may know of a nonce before they know of the receipt.
const MISSING_MAX: Duration = Duration::from_secs(3);
/// A nonce before ours that nobody uses: whatever had it was lost.
const GAP_MAX: Duration = Duration::from_secs(4);
/// Transactions looked at, or sent again, in one go.
const LOOK_MAX: usize = 200;

/// Follows for as long as it is polled.
pub(crate) async fn run(engine: &Arc<Engine>) {
    let mut pace = POLL_MIN;
    let mut head = 0;
    loop {
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
        match look(engine).await {
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

/// Looks once; answers the newest block.
async fn look(engine: &Arc<Engine>) -> Result<u64, Error> {
    let lanes: Vec<&Lane> = engine.lanes.iter().filter(|lane| !lane.open().is_empty()).collect();
    let (counts, head) = heights(engine, &lanes).await?;
    let (mut due, mut undone) = (Vec::new(), Vec::new());
    for (lane, count) in lanes.iter().zip(&counts) {
        lane.saw(*count);
        for (nonce, sent) in lane.open().iter_mut() {
            let look = match sent.mined {
                // The block that held it is gone.
                Some(_) if nonce >= count => {
                    (sent.mined, sent.last_sent, sent.first_sent) = (None, None, Instant::now());
                    sent.open.entries.iter_mut().for_each(|entry| (entry.state, entry.reason) = (State::Sent, None));
                    undone.extend(sent.open.entries.iter().cloned());
                    false
                }
                Some((number, _)) => head >= number + engine.limits.confirmations,
                None => nonce < count,
            };
            if look && due.len() < LOOK_MAX {
                due.push(Due { lane, open: sent.open.clone(), mined: sent.mined });
            }
        }
    }
    if !undone.is_empty() {
        tracing::warn!(settlements = undone.len(), "a reorganisation undid settlements; sending them again");
        engine.journal.record(&undone).await?;
    }
    judge_all(engine, due).await?;
    for (lane, count) in lanes.iter().zip(&counts) {
        send_again(engine, lane, *count).await?;
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

async fn judge_all(engine: &Arc<Engine>, due: Vec<Due<'_>>) -> Result<(), Error> {
    if due.is_empty() {
        return Ok(());
    }
    let mut receipts = receipts(engine, due.iter().map(|due| &due.open)).await?.into_iter();
    let (mut changed, mut again, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for Due { lane, open, mined } in due {
        let slot = open.slot;
        let Some(receipt) = receipts.next().flatten() else {
            if is_taken(lane, slot.nonce) {
                tracing::warn!(signer = %slot.signer, nonce = slot.nonce, "the signer's nonce was used by a transaction that is not ours");
                lane.open().remove(&slot.nonce);
                lane.room.notify_one();
                closed.push(slot);
                let unended = open.entries.into_iter().filter(|entry| entry.state == State::Sent);
                for entry in judge_elsewhere(engine, unended, Reason::TransactionFailed).await? {
                    again.extend((entry.state == State::Failed).then(|| entry.settlement.clone()));
                    changed.push(entry);
                }
            }
            continue;
        };
        let block = receipt.block_number.zip(receipt.block_hash);
        if mined.is_some() && mined == block {
            lane.open().remove(&slot.nonce);
            closed.push(slot);
            continue;
        }
        let (entries, retried) = judge(engine, &open, &receipt).await?;
        if let Some(sent) = lane.open().get_mut(&slot.nonce) {
            (sent.mined, sent.missing) = (block, None);
            sent.open.entries.clone_from(&entries);
        }
        lane.room.notify_one();
        changed.extend(entries.into_iter().zip(&open.entries).filter(|(now, before)| now != *before).map(|(now, _)| now));
        again.extend(retried);
    }
    if !changed.is_empty() {
        engine.journal.record(&changed).await?;
    }
    for settlement in &again {
        tracing::warn!(payer = %settlement.key.payer, "a settlement goes out again, in a transaction of its own");
    }
    for entry in changed {
        let retried = again.iter().find(|settlement| settlement.key == entry.settlement.key).cloned();
        let retry = retried.map(|settlement| Settlement { batchable: false, ..settlement });
        if !retry.is_some_and(|settlement| engine.lane(entry.slot.signer).is_some_and(|lane| lane.push(settlement))) {
            engine.ended(entry);
        }
    }
    if !closed.is_empty() {
        engine.journal.close(&closed).await?;
    }
    Ok(())
}

/// For each slot the receipt of the attempt that was mined.
async fn receipts(engine: &Engine, open: impl Iterator<Item = &Open> + Clone) -> Result<Vec<Option<TransactionReceipt>>, Error> {
    let hashes: Vec<(B256,)> = open.clone().flat_map(|open| open.attempts.iter().map(|attempt| (attempt.hash,))).collect();
    let provider = &engine.verifier.provider;
    let mut answers =
        rpc::many::<_, Option<TransactionReceipt>>(provider, "eth_getTransactionReceipt", hashes).await?.into_iter();
    let mut found = Vec::new();
    for open in open {
        let mut receipt = None;
        for _ in &open.attempts {
            let answer = answers.next().transpose()?.flatten();
            receipt = receipt.or(answer);
        }
        found.push(receipt);
    }
    Ok(found)
}

/// Whether a nonce that is used up has been without a receipt for too long to be ours.
fn is_taken(lane: &Lane, nonce: u64) -> bool {
    let mut open = lane.open();
    let Some(sent) = open.get_mut(&nonce) else { return false };
    // One that had a receipt lost it: it must be found anew.
    sent.mined = None;
    sent.missing.get_or_insert_with(Instant::now).elapsed() > MISSING_MAX
}

/// What a receipt says of each settlement of its transaction, and which of them deserve another try.
async fn judge(engine: &Engine, open: &Open, receipt: &TransactionReceipt) -> Result<(Vec<Entry>, Vec<Settlement>), Error> {
    let together = open.entries.len() > 1;
    let logs = receipt.logs();
    let (mut entries, mut again) = (Vec::new(), Vec::new());
    for entry in &open.entries {
        let settlement = &entry.settlement;
        // Two payments of a batch may look the same but for their nonce.
        let is_shown = settlement.is_in(logs) && (!together || settlement.is_authorized_in(logs));
        if receipt.status() && is_shown {
            entries.push(Entry { state: State::Settled(receipt.transaction_hash), reason: None, ..entry.clone() });
            continue;
        }
        let reason = if receipt.status() && !together { Reason::TransferEventMismatch } else { Reason::TransactionFailed };
        let judged = judge_elsewhere(engine, [entry.clone()].into_iter(), reason).await?;
        if !receipt.status() && together {
            again.extend(judged.iter().filter(|entry| entry.state == State::Failed).map(|entry| entry.settlement.clone()));
        }
        entries.extend(judged);
    }
    Ok((entries, again))
}

/// Settlements that our transaction did not do: by somebody else, or not at all.
async fn judge_elsewhere(engine: &Engine, entries: impl Iterator<Item = Entry>, reason: Reason) -> Result<Vec<Entry>, Error> {
    let mut judged = Vec::new();
    for entry in entries {
        let settlement = &entry.settlement;
        let (state, reason) = match engine.settled_elsewhere(settlement.key, &settlement.transfer()).await? {
            Some(hash) => (State::Settled(hash), None),
            None => (State::Failed, Some(String::from(reason.clone()))),
        };
        judged.push(Entry { state, reason, ..entry });
    }
    Ok(judged)
}

/// Looks for the end of what a signer of another instance sent: that instance may be gone.
pub(crate) async fn look_elsewhere(engine: &Engine, entry: &Entry) -> Result<(), Error> {
    let open = engine.journal.open(entry.slot.chain_id, entry.slot.signer).await?;
    let Some(open) = open.into_iter().find(|open| open.slot == entry.slot) else { return Ok(()) };
    if let Some(receipt) = receipts(engine, [&open].into_iter()).await?.pop().flatten() {
        engine.journal.record(&judge(engine, &open, &receipt).await?.0).await?;
    }
    Ok(())
}

/// Sends what is not mined once more when it is time, with higher fees when it waited for long, and fills nonces that were lost.
async fn send_again(engine: &Engine, lane: &Lane, count: u64) -> Result<(), Error> {
    let (mut raws, mut stuck): (Vec<Bytes>, Vec<Attempt>) = Default::default();
    let mut gap = None;
    {
        let mut open = lane.open();
        let mut unmined = open.range_mut(count..).filter(|(_, sent)| sent.mined.is_none()).take(LOOK_MAX).peekable();
        if let Some((nonce, first)) = unmined.peek()
            && **nonce > count
            && first.first_sent.elapsed() > GAP_MAX
        {
            gap = Some(count..**nonce);
        }
        for (_, sent) in unmined {
            if sent.last_sent.is_some_and(|last| last.elapsed() < RESEND_EVERY) && !is_stuck(engine, sent) {
                continue;
            }
            let Some(newest) = sent.open.attempts.last() else { continue };
            if is_stuck(engine, sent) {
                sent.bumps += 1;
                stuck.push(newest.clone());
            } else {
                raws.push(newest.raw.clone());
            }
            sent.last_sent = Some(Instant::now());
        }
    }
    raws.extend(replace(engine, lane, stuck).await?);
    if let Some(gap) = gap {
        raws.extend(fill(engine, lane, gap).await?);
    }
    if !raws.is_empty() {
        // "Already known" is the usual answer and as good as any.
        let raws = raws.into_iter().map(|raw| (raw,)).collect();
        rpc::many::<_, B256>(&engine.verifier.provider, "eth_sendRawTransaction", raws).await?;
    }
    Ok(())
}

fn is_stuck(engine: &Engine, sent: &crate::lane::Sent) -> bool {
    sent.bumps < BUMPS_MAX && sent.first_sent.elapsed() > engine.limits.replace_after * (sent.bumps + 1)
}

/// The same calls with the same nonces and higher fees. What the cap on fees does not let be replaced is sent as it was.
async fn replace(engine: &Engine, lane: &Lane, stuck: Vec<Attempt>) -> Result<Vec<Bytes>, Error> {
    if stuck.is_empty() {
        return Ok(Vec::new());
    }
    let now = engine.fees.ask().await?;
    let (mut raws, mut replacements) = (Vec::new(), Vec::new());
    for attempt in stuck {
        let replacement = fees::read(&attempt.raw).and_then(|(call, sent)| Some((call, engine.fees.replacement(sent, now)?)));
        let Some((call, fees)) = replacement else {
            raws.push(attempt.raw);
            continue;
        };
        tracing::warn!(signer = %lane.address(), nonce = attempt.slot.nonce, "a transaction is not mined; replacing it");
        replacements.push(lane.sign(attempt.slot.nonce, &call, fees).await?);
    }
    engine.journal.add_attempts(&replacements).await?;
    for attempt in replacements {
        raws.push(attempt.raw.clone());
        if let Some(sent) = lane.open().get_mut(&attempt.slot.nonce) {
            sent.open.attempts.push(attempt);
        }
    }
    Ok(raws)
}

/// Transactions that do nothing, for nonces that nobody uses and that hold up all behind them.
async fn fill(engine: &Engine, lane: &Lane, gap: std::ops::Range<u64>) -> Result<Vec<Bytes>, Error> {
    tracing::warn!(signer = %lane.address(), ?gap, "nonces were lost; filling them");
    let fees = engine.fees.ask().await?;
    let nothing = Call { to: lane.address(), input: Bytes::new(), gas: 21_000 };
    let mut transactions = Vec::new();
    for nonce in gap.take(LOOK_MAX) {
        transactions.push(Transaction { attempt: lane.sign(nonce, &nothing, fees).await?, settlements: Vec::new() });
    }
    engine.journal.begin(&transactions).await?;
    let raws = transactions.iter().map(|transaction| transaction.attempt.raw.clone()).collect();
    lane.insert(transactions);
    Ok(raws)
}
