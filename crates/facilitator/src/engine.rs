//! Settles payments: journal first, then broadcast, then watch until the chain has spoken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    consensus::Transaction as _,
    primitives::{Address, B256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolEvent,
};
use dashmap::DashMap;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use x402::{PaymentRequest, Reason, Scheme, SettleResponse};

use crate::{
    Error, exact,
    journal::{Ending, Journal, Transaction},
    lane::Lane,
    permit2,
    settlement::{Call, Entry, Key, Method, Settlement, Slot, State},
    token::{IToken, Transfer},
    upto,
    verify::{Verdict, Verifier},
};

/// First and longest wait between two looks for a receipt.
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_secs(1);
/// A transaction that is not mined is sent again this often: the node may have lost it, or never got it.
const RESEND_EVERY: Duration = Duration::from_secs(2);
/// And replaced by one with higher fees this often.
const BUMP_EVERY: Duration = Duration::from_secs(30);
const BUMPS_MAX: u32 = 5;
/// How far back a transfer that somebody else settled is looked for, in blocks.
const LOOK_BACK_BLOCKS: u64 = 1_000;
/// And how many transfers between the same two, newest first.
const LOOK_BACK_TRANSACTIONS: usize = 64;

/// A settlement and this try of it: a failed settlement that is tried again is another one to follow.
type Followed = (Key, Slot);

pub(crate) struct Engine {
    pub(crate) verifier: Verifier,
    pub(crate) journal: Journal,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) confirm_timeout: Duration,
    pub(crate) tasks: TaskTracker,
    /// Ends the following of settlements; the next start takes them up.
    pub(crate) stop: CancellationToken,
    turn: AtomicUsize,
    /// Settlements under way in this process, which [`Engine::follow`] follows.
    watched: DashMap<Followed, watch::Receiver<bool>>,
}

impl Engine {
    pub(crate) fn new(verifier: Verifier, journal: Journal, lanes: Vec<Lane>, confirm_timeout: Duration) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { verifier, journal, lanes, confirm_timeout, tasks, stop, turn: AtomicUsize::new(0), watched: DashMap::new() }
    }

    /// Takes up what an earlier process left unended.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), Error> {
        for lane in &self.lanes {
            for entry in self.journal.unended(self.verifier.chain_id, lane.address()).await? {
                tracing::info!(payer = %entry.settlement.key.payer, "taking up a settlement");
                self.watch(&entry);
            }
        }
        Ok(())
    }

    /// Settles a payment by the rules of its scheme, or joins whoever is settling it.
    pub(crate) async fn settle(self: &Arc<Self>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
        match Scheme::of(&request.payment_requirements) {
            Some(Scheme::Upto) => upto::settle(self, request).await,
            _ => exact::settle(self, request).await,
        }
    }

    /// Would this payment settle now, by the rules of its scheme?
    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Verdict {
        match Scheme::of(&request.payment_requirements) {
            Some(Scheme::Upto) => upto::verify(self, request).await,
            _ => self.verifier.verify(request).await,
        }
    }

    /// Whether this account is one of ours.
    pub(crate) fn is_signer(&self, account: Address) -> bool {
        self.lane(account).is_some()
    }

    /// The signers in turn, for payers that must name one.
    pub(crate) fn next_signer(&self) -> Address {
        self.lanes[self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len()].address()
    }

    /// The settlement with this key that was sent, unless it failed: then it may be tried again.
    pub(crate) async fn find(&self, key: &Key) -> Result<Option<Entry>, Error> {
        Ok(self.journal.find(key).await?.filter(|entry| entry.state != State::Failed))
    }

    /// Journals and broadcasts a settlement that was verified. The entry may be that of another request which was first: compare its terms
    /// before its [`Engine::outcome`] is told to anybody. `None` when that one has just failed.
    pub(crate) async fn submit(self: &Arc<Self>, settlement: Settlement) -> Result<Option<Entry>, Error> {
        let lane = match settlement.signer {
            None => &self.lanes[self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len()],
            Some(signer) => self.lane(signer).ok_or(Error::SignerUnknown(signer))?,
        };
        let mut turn = lane.turn(&self.journal).await?;
        let nonce = turn.nonce;
        let signed = lane.sign(nonce, &settlement.call, 0).await?;
        let slot = Slot { chain_id: self.verifier.chain_id, signer: lane.address(), nonce };
        let raw = signed.raw.clone();
        let transaction = Transaction { slot, hash: signed.hash, raw, settlements: vec![settlement.clone()] };
        // A commit that failed may have happened all the same; until the journal has been read again nobody knows whose the nonce is.
        turn.forget();
        let begun = self.journal.begin(&[transaction]).await?.is_empty();
        turn.set(nonce + u64::from(begun));
        // From here on the nonce is taken, whatever becomes of us: the journal knows the transaction and it will be sent.
        if !begun {
            return self.find(&settlement.key).await;
        }
        if let Err(error) = self.verifier.provider.send_raw_transaction(&signed.raw).await {
            tracing::warn!(payer = %settlement.key.payer, %error, "broadcast failed; it will be repeated");
        }
        drop(turn);
        Ok(Some(Entry { settlement, slot, state: State::Sent, reason: None }))
    }

    /// Waits for the end of a settlement, for as long as a caller is let wait. Still [`State::Sent`] when that is not known yet.
    pub(crate) async fn outcome(self: &Arc<Self>, entry: Entry) -> Result<Entry, Error> {
        if entry.state != State::Sent {
            return Ok(entry);
        }
        let mut ended = self.watch(&entry);
        let _ = tokio::time::timeout(self.confirm_timeout, ended.wait_for(|ended| *ended)).await;
        Ok(self.journal.find(&entry.settlement.key).await?.unwrap_or(entry))
    }

    /// The transaction by which a settlement that was sent will most likely be mined.
    pub(crate) async fn newest_attempt(&self, entry: &Entry) -> Result<Option<B256>, Error> {
        Ok(self.journal.attempts(entry.slot).await?.last().map(|(hash, _)| *hash))
    }

    fn lane(&self, signer: Address) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.address() == signer)
    }

    /// One task per settlement follows it to its end. The receiver turns true when the journal has it.
    fn watch(self: &Arc<Self>, entry: &Entry) -> watch::Receiver<bool> {
        let followed = (entry.settlement.key, entry.slot);
        let place = self.watched.entry(followed);
        let receiver = place.or_insert_with(|| {
            let (sender, receiver) = watch::channel(false);
            let (engine, entry) = (self.clone(), entry.clone());
            self.tasks.spawn(async move {
                let stopped = engine.stop.run_until_cancelled(engine.follow(&entry)).await.is_none();
                engine.watched.remove(&followed);
                let _ = sender.send(!stopped);
            });
            receiver
        });
        receiver.clone()
    }

    async fn follow(&self, entry: &Entry) {
        let mut wait = POLL_MIN;
        let (begun, mut sent, mut bumps) = (Instant::now(), Instant::now(), 0);
        loop {
            match self.look(entry).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(payer = %entry.settlement.key.payer, %error, "cannot follow a settlement; trying again")
                }
            }
            if sent.elapsed() > RESEND_EVERY {
                sent = Instant::now();
                let due = begun.elapsed() > BUMP_EVERY * (bumps + 1) && bumps < BUMPS_MAX;
                bumps += u32::from(due);
                if let Err(error) = self.resend(entry, due.then_some(bumps)).await {
                    tracing::warn!(payer = %entry.settlement.key.payer, %error, "cannot send a settlement again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(POLL_MAX);
        }
    }

    /// Looks whether an attempt was mined, or none ever will be, and writes the end down.
    async fn look(&self, entry: &Entry) -> Result<bool, Error> {
        let Entry { settlement, slot, .. } = entry;
        // The count first: when it has passed our nonce and no attempt has a receipt afterwards, another transaction took the nonce.
        let mined = self.verifier.provider.get_transaction_count(slot.signer).await?;
        for (hash, _) in self.journal.attempts(*slot).await? {
            let Some(receipt) = self.verifier.provider.get_transaction_receipt(hash).await? else { continue };
            if receipt.status() && settlement.is_in(receipt.logs()) {
                self.end(entry, Some(hash), None).await?;
                return Ok(true);
            }
            let reason = if receipt.status() { Reason::TransferEventMismatch } else { Reason::TransactionFailed };
            let elsewhere = self.settled_elsewhere(settlement.key, &settlement.transfer()).await?;
            self.end(entry, elsewhere, Some(reason)).await?;
            return Ok(true);
        }
        if mined <= slot.nonce {
            return Ok(false);
        }
        if let Some(lane) = self.lane(slot.signer) {
            lane.resync().await?;
        }
        let elsewhere = self.settled_elsewhere(settlement.key, &settlement.transfer()).await?;
        tracing::warn!(signer = %slot.signer, nonce = slot.nonce, "the signer's nonce was used by a transaction that is not ours");
        self.end(entry, elsewhere, Some(Reason::TransactionFailed)).await?;
        Ok(true)
    }

    async fn end(&self, entry: &Entry, settled_by: Option<B256>, reason: Option<Reason>) -> Result<(), Error> {
        let reason = reason.map(String::from);
        Ok(self.journal.end(&Ending { key: entry.settlement.key, slot: entry.slot, settled_by, reason }).await?)
    }

    /// Broadcasts the newest attempt again, or a replacement with higher fees.
    async fn resend(&self, entry: &Entry, bump: Option<u32>) -> Result<(), Error> {
        let attempts = self.journal.attempts(entry.slot).await?;
        let Some((_, newest)) = attempts.last() else { return Ok(()) };
        let raw = match (bump, self.lane(entry.slot.signer)) {
            (Some(bump), Some(lane)) => {
                let call = call_of(newest).ok_or_else(|| Error::Sign(alloy::signers::Error::message("unreadable journal")))?;
                let signed = lane.sign(entry.slot.nonce, &call, bump).await?;
                self.journal.add_attempt(entry.slot, signed.hash, &signed.raw).await?;
                signed.raw
            }
            _ => newest.clone(),
        };
        // "Already known" is the usual answer and as good as any.
        let _ = self.verifier.provider.send_raw_transaction(&raw).await;
        Ok(())
    }

    /// The transaction in which somebody else settled this payment, if it did what ours would have done.
    pub(crate) async fn settled_elsewhere(&self, key: Key, transfer: &Transfer) -> Result<Option<B256>, Error> {
        if !self.verifier.is_used(&key).await? {
            return Ok(None);
        }
        let provider = &self.verifier.provider;
        let head = provider.get_block_number().await?;
        let recent = Filter::new().address(key.token).from_block(head.saturating_sub(LOOK_BACK_BLOCKS));
        let filter = match key.method {
            Method::Eip3009 => {
                recent.event_signature(IToken::AuthorizationUsed::SIGNATURE_HASH).topic1(key.payer.into_word()).topic2(key.nonce)
            }
            Method::Permit2 => recent
                .event_signature(IToken::Transfer::SIGNATURE_HASH)
                .topic1(key.payer.into_word())
                .topic2(transfer.to.into_word()),
        };
        let logs = provider.get_logs(&filter).await?;
        for hash in logs.iter().rev().filter_map(|log| log.transaction_hash).take(LOOK_BACK_TRANSACTIONS) {
            if key.method == Method::Permit2 {
                let Some(transaction) = provider.get_transaction_by_hash(hash).await? else { continue };
                if !permit2::settles(transaction.to(), transaction.input(), transfer, key.nonce.into()) {
                    continue;
                }
            }
            let receipt = provider.get_transaction_receipt(hash).await?;
            if receipt.is_some_and(|receipt| receipt.status() && transfer.is_in(receipt.logs())) {
                return Ok(Some(hash));
            }
        }
        Ok(None)
    }
}

/// What a raw transaction calls.
fn call_of(raw: &[u8]) -> Option<Call> {
    use alloy::{consensus::TxEnvelope, eips::eip2718::Decodable2718};
    let envelope = TxEnvelope::decode_2718(&mut &*raw).ok()?;
    Some(Call { to: envelope.to()?, input: envelope.input().clone(), gas: envelope.gas_limit() })
}
