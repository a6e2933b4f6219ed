//! Keeps moving what is not mined: sends it again, replaces it by what pays more, fills nonces that were lost.

use std::time::{Duration, Instant};

use alloy::primitives::{B256, Bytes};

use crate::{
    Error,
    engine::Engine,
    fees,
    journal::{Attempt, Transaction},
    lane::{Lane, Sent},
    rpc,
    settlement::Call,
};

/// A transaction that is not mined is sent again this often: the node may have lost it, or never got it.
const RESEND_EVERY: Duration = Duration::from_secs(2);
const BUMPS_MAX: u32 = 10;
/// A nonce before ours that nobody uses: whatever had it was lost.
const GAP_MAX: Duration = Duration::from_secs(4);
/// Transactions sent again in one go.
const RESEND_MAX: usize = 200;

/// Sends what is not mined once more when it is time, with higher fees when it waited for long, and fills nonces that were lost.
pub(crate) async fn send_again(engine: &Engine, lane: &Lane, count: u64) -> Result<(), Error> {
    let (mut raws, mut stuck): (Vec<Bytes>, Vec<Attempt>) = Default::default();
    let mut gap = Vec::new();
    {
        let mut open = lane.open();
        if let Some((first, sent)) = open.range(count..).find(|(_, sent)| sent.mined.is_none())
            && sent.first_sent.elapsed() > GAP_MAX
        {
            // What we have a receipt for is not lost: the node that counted is behind.
            gap = (count..*first).filter(|nonce| !open.contains_key(nonce)).take(RESEND_MAX).collect();
        }
        for (_, sent) in open.range_mut(count..).filter(|(_, sent)| sent.mined.is_none()).take(RESEND_MAX) {
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
    if !gap.is_empty() {
        raws.extend(fill(engine, lane, gap).await?);
    }
    if !raws.is_empty() {
        // "Already known" is the usual answer and as good as any.
        let raws = raws.into_iter().map(|raw| (raw,)).collect();
        rpc::many::<_, B256>(&engine.verifier.provider, "eth_sendRawTransaction", raws).await?;
    }
    Ok(())
}

fn is_stuck(engine: &Engine, sent: &Sent) -> bool {
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
async fn fill(engine: &Engine, lane: &Lane, gap: Vec<u64>) -> Result<Vec<Bytes>, Error> {
    tracing::warn!(signer = %lane.address(), ?gap, "nonces were lost; filling them");
    let fees = engine.fees.ask().await?;
    let nothing = Call::new(lane.address(), Bytes::new(), 21_000);
    let mut transactions = Vec::new();
    for nonce in gap {
        transactions.push(Transaction { attempt: lane.sign(nonce, &nothing, fees).await?, settlements: Vec::new() });
    }
    engine.journal.begin(&transactions).await?;
    let raws = transactions.iter().map(|transaction| transaction.attempt.raw.clone()).collect();
    lane.insert(transactions);
    Ok(raws)
}
