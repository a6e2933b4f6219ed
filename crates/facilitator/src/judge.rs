//! What became of what was sent. Most receipts tell, and who waits for those is answered first. Where they leave it open, the chain is asked what
//! else used the payments' nonces.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{primitives::B256, rpc::types::TransactionReceipt};
use futures::{
    future::join_all,
    stream::{self, StreamExt},
};
use x402::Reason;

use crate::{
    Error,
    elsewhere::{Found, Seen},
    engine::Engine,
    journal::Open,
    lane::{Lane, Sent},
    metrics::Stage,
    rpc,
    settlement::{Entry, Method, Settlement, Slot, State},
};

/// Nodes behind one address may know of a nonce before they know of the receipt.
pub(crate) const MISSING_MAX: Duration = Duration::from_secs(3);
/// Transactions about which more than a receipt is asked in one look, and settlements of each at once.
const SEARCHED_AT_ONCE: usize = 16;

/// A slot whose receipts are due.
pub(crate) struct Due<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) sent: Sent,
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

impl<'a> Judged<'a> {
    /// `now` has nothing for what the node does not tell yet.
    fn new(lane: &'a Lane, open: &Open, now: Vec<Option<Entry>>, receipt: Option<&TransactionReceipt>) -> Self {
        let is_whole = now.iter().all(Option::is_some);
        let entries: Vec<Entry> =
            now.into_iter().zip(&open.entries).map(|(now, before)| now.unwrap_or_else(|| before.clone())).collect();
        let is_changed = |(now, before): &(&Entry, &Entry)| now != before;
        let changed = entries.iter().zip(&open.entries).filter(is_changed).map(|(now, _)| now.clone()).collect();
        // What is not known of all of them is asked again.
        let block = receipt.and_then(block_of).filter(|_| is_whole);
        Self { lane, slot: open.slot, block, entries, changed, is_final: receipt.is_none() && is_whole }
    }
}

/// A slot whose receipts leave something open.
struct Doubt<'a> {
    lane: &'a Lane,
    open: Open,
    receipt: Option<TransactionReceipt>,
    seen: Seen,
    searched: Option<(Instant, u64)>,
}

/// Judges what is due: first what the receipts tell, then a few of the others, those first that were searched for longest ago.
pub(crate) async fn judge_all(engine: &Arc<Engine>, due: Vec<Due<'_>>, head: u64) -> Result<(), Error> {
    let receipts = receipts(engine, due.iter().map(|due| &due.sent.open)).await?;
    let (mut judged, mut doubts) = (Vec::new(), Vec::new());
    for (due, receipt) in due.into_iter().zip(receipts) {
        // What the node failed to tell is asked again by the next look; the others need not wait for it.
        let Some(receipt) = receipt else { continue };
        let (told, doubt) = by_receipts(due, receipt, head);
        judged.extend(told);
        doubts.extend(doubt);
    }
    write_down(engine, judged).await?;
    doubts.sort_by_key(|doubt| doubt.searched);
    doubts.truncate(SEARCHED_AT_ONCE);
    for Doubt { lane, open, .. } in &doubts {
        if let Some(sent) = lane.open().get_mut(&open.slot.nonce) {
            sent.searched = Some((Instant::now(), head));
        }
    }
    let searched = join_all(doubts.into_iter().map(|doubt| search(engine, doubt))).await;
    write_down(engine, searched).await
}

/// The journal first, then memory, then whoever waits: what fails half way is found out again by the next look.
async fn write_down(engine: &Arc<Engine>, judged: Vec<Judged<'_>>) -> Result<(), Error> {
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
            (sent.mined, sent.unclear, sent.open.entries) = (block, sent.unclear.filter(|_| block.is_none()), entries);
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

fn block_of(receipt: &TransactionReceipt) -> Option<(u64, B256)> {
    receipt.block_number.zip(receipt.block_hash)
}

/// What the receipts tell of a slot, and what they leave open.
fn by_receipts<'a>(
    Due { lane, sent }: Due<'a>,
    receipt: Option<TransactionReceipt>,
    head: u64,
) -> (Option<Judged<'a>>, Option<Doubt<'a>>) {
    let Sent { mut open, mined, searched, .. } = sent;
    let block = receipt.as_ref().and_then(block_of);
    if mined.is_some() && mined == block {
        let (slot, entries) = (open.slot, open.entries);
        return (Some(Judged { lane, slot, block, entries, changed: Vec::new(), is_final: true }), None);
    }
    let told: Vec<Option<Entry>> = open.entries.iter().map(|entry| told(entry, &open, receipt.as_ref())).collect();
    let is_whole = told.iter().all(Option::is_some);
    if is_whole && receipt.is_some() {
        return (Some(Judged::new(lane, &open, told, receipt.as_ref())), None);
    }
    let Some((since, block)) = unclear(lane, open.slot.nonce, head) else { return (None, None) };
    // That the nonce is used up without a receipt must be so for too long to be ours.
    if receipt.is_none() && since.elapsed() <= MISSING_MAX {
        return (None, None);
    }
    let judged = Judged::new(lane, &open, told, receipt.as_ref());
    open.entries.clone_from(&judged.entries);
    let seen = Seen { block: receipt.as_ref().and_then(|receipt| receipt.block_number).unwrap_or(block), since };
    let doubt = Doubt { lane, open, receipt, seen, searched };
    (Some(judged), (!is_whole).then_some(doubt))
}

/// Since when, and as of which block, a slot is unclear.
fn unclear(lane: &Lane, nonce: u64, head: u64) -> Option<(Instant, u64)> {
    let mut open = lane.open();
    let sent = open.get_mut(&nonce)?;
    // One that had a receipt lost it: it must be found anew.
    sent.mined = None;
    Some(*sent.unclear.get_or_insert_with(|| (Instant::now(), head)))
}

/// What the receipt of its transaction alone tells of a settlement: nothing when somebody else may have made it.
fn told(entry: &Entry, open: &Open, receipt: Option<&TransactionReceipt>) -> Option<Entry> {
    let (settlement, together) = (&entry.settlement, open.entries.len() > 1);
    let (state, reason) = match receipt {
        // Two payments of a batch may look the same but for their nonce: our own call used it, in whatever order the token tells it.
        Some(receipt)
            if receipt.status() && settlement.is_in(receipt.logs()) && (!together || settlement.is_used_in(receipt.logs())) =>
        {
            (State::Settled(receipt.transaction_hash), None)
        }
        // Alone, it was our own call that used the nonce.
        Some(receipt) if receipt.status() && !together => (State::Failed, Some(Reason::TransferEventMismatch)),
        // Nobody else makes these.
        Some(_) if matches!(settlement.key.method, Method::Channel | Method::Gas) => {
            (State::Failed, Some(Reason::TransactionFailed))
        }
        // It has ended, or is on its way in another transaction.
        _ if matches!(entry.state, State::Failed | State::Again) => return Some(entry.clone()),
        _ => return None,
    };
    Some(Entry { state, reason: reason.map(String::from), ..entry.clone() })
}

/// Asks the chain for what the receipts of a slot leave open.
async fn search<'a>(engine: &Engine, Doubt { lane, open, receipt, seen, .. }: Doubt<'a>) -> Judged<'a> {
    let judged = Judged::new(lane, &open, found(engine, &open, receipt.as_ref(), seen).await, receipt.as_ref());
    if judged.is_final {
        tracing::warn!(signer = %open.slot.signer, nonce = open.slot.nonce, "the signer's nonce is used and no transaction of ours shows");
    }
    judged
}

/// What became of each settlement of a slot; nothing of what the node does not tell yet.
async fn found(engine: &Engine, open: &Open, receipt: Option<&TransactionReceipt>, seen: Seen) -> Vec<Option<Entry>> {
    // What failed by the fault of another, or never will be mined, as it seems, is tried once more.
    let goes_again = receipt.is_none_or(|receipt| !receipt.status() && open.entries.len() > 1);
    let unused = if goes_again { State::Again } else { State::Failed };
    let one = |entry| async move {
        match told(entry, open, receipt) {
            Some(told) => Some(told),
            None => elsewhere(engine, entry, unused, seen).await,
        }
    };
    let searches: Vec<_> = open.entries.iter().map(one).collect();
    stream::iter(searches).buffered(SEARCHED_AT_ONCE).collect().await
}

/// Whether somebody else made a settlement that our transaction did not make, as far as the node tells. `unused` is what it is when nobody did.
/// Of captures, claims and gifts, which the chain may take twice, nothing tells but a receipt: none of them goes out again by itself, and who asks
/// again has the state looked at first.
async fn elsewhere(engine: &Engine, entry: &Entry, unused: State, seen: Seen) -> Option<Entry> {
    let settlement = &entry.settlement;
    let (state, reason) = match engine.settled_elsewhere(settlement.key, &settlement.transfer(), Some(seen)).await {
        Ok(Found::Settled(hash)) => (State::Settled(hash), None),
        Ok(Found::Unused) => (unused, Some(Reason::TransactionFailed)),
        Ok(Found::Otherwise) => (State::Failed, Some(Reason::TransactionFailed)),
        // Its receipt was seen.
        Ok(Found::Hidden) if matches!(entry.state, State::Settled(_)) => return Some(entry.clone()),
        // It may have happened: nobody is to pay again for it.
        Ok(Found::Hidden) => (State::Failed, Some(Reason::UnexpectedSettleError)),
        Err(error) => {
            tracing::warn!(payer = %settlement.key.payer, %error, "cannot tell what became of a settlement; asking again");
            return None;
        }
    };
    Some(Entry { state, reason: reason.map(String::from), ..entry.clone() })
}

/// Looks for the end of what a signer of another instance sent: that instance may be gone.
pub(crate) async fn look_elsewhere(engine: &Engine, entry: &Entry) -> Result<(), Error> {
    let open = engine.journal.open(entry.slot.chain_id, entry.slot.signer).await?;
    let Some(open) = open.into_iter().find(|open| open.slot == entry.slot) else { return Ok(()) };
    if let Some(receipt) = receipts(engine, [&open].into_iter()).await?.pop().flatten().flatten() {
        // Only the instance whose signer it is gives up.
        let seen = Seen { block: receipt.block_number.unwrap_or_default(), since: Instant::now() };
        let entries: Vec<Entry> = found(engine, &open, Some(&receipt), seen).await.into_iter().flatten().collect();
        engine.journal.record(&entries).await?;
    }
    Ok(())
}
