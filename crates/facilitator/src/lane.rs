//! A signer and its nonces: one lane, in which transactions follow each other without waiting for the one before.
//!
//! A settlement that finds the lane idle leaves at once. What comes while a transaction is on its way waits a moment for company, since
//! payments are cheaper together, and no longer than until that one is mined.

use std::{
    collections::{BTreeMap, btree_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    eips::eip2718::Encodable2718,
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::Address,
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use tokio::sync::{Notify, mpsc};

use crate::{
    Error, batch,
    engine::Engine,
    fees::Fees,
    journal::{Attempt, Journal, Lease, Open, Transaction},
    metrics::Stage,
    rpc,
    settlement::{Call, Entry, Settlement, Slot, State},
};

/// Settlements that may wait for a lane; more are told to come again.
const QUEUE_MAX: usize = 4_096;
/// Settlements that leave with one turn.
const TURN_MAX: usize = 512;
/// How long a settlement waits for others while a transaction is on its way.
const COMPANY_WAIT: Duration = Duration::from_millis(20);
/// How often the lease on the signer is looked at, and how often it may be refused, when it was lost, before another instance has it.
const LEASE_LOOK: Duration = Duration::from_secs(2);
const LEASE_REFUSALS_MAX: u32 = 5;
/// When something could not be sent that the journal says is to go out again, how long until it is tried once more.
const AGAIN_WAIT: Duration = Duration::from_secs(1);
/// Transactions of one signer that are sent and not mined. Nodes keep few for one account; what has to wait goes out in bigger batches.
const PENDING_MAX: usize = 256;

/// When more than the receipts was asked about a transaction, how long until it is asked again without a new block.
const SEARCH_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Lane {
    wallet: EthereumWallet,
    address: Address,
    chain_id: u64,
    queue: mpsc::Sender<Waiting>,
    /// Settlements in the queue or under the pen.
    waiting: AtomicUsize,
    /// The least nonce that is not used up, as far as the watcher has seen.
    floor: AtomicU64,
    /// The nonce after the last that was sent; zero before the first.
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Sent>>,
    /// Told when transactions were mined, or their nonces used up.
    pub(crate) room: Notify,
    lease: tokio::sync::Mutex<Option<Lease>>,
}

/// What was sent and is not final.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) open: Open,
    /// The block in which it was found: number and hash.
    pub(crate) mined: Option<(u64, alloy::primitives::B256)>,
    pub(crate) first_sent: Instant,
    /// `None` when it must be sent again at once.
    pub(crate) last_sent: Option<Instant>,
    pub(crate) bumps: u32,
    /// Since when, and as of which block, the nonce is used up and what became of what it was for does not show.
    pub(crate) unclear: Option<(Instant, u64)>,
    /// When more than the receipts was asked about it, and the newest block then.
    pub(crate) searched: Option<(Instant, u64)>,
}

impl Sent {
    fn new(open: Open, last_sent: Option<Instant>) -> Self {
        Self { open, mined: None, first_sent: Instant::now(), last_sent, bumps: 0, unclear: None, searched: None }
    }

    /// Whether more than the receipts was asked a moment ago, and there is no new block.
    pub(crate) fn rests(&self, head: u64) -> bool {
        self.searched.is_some_and(|(at, block)| head <= block && at.elapsed() < SEARCH_AGAIN)
    }
}

/// Nonces beyond ours that a node is believed to have seen used, by somebody who has the key too. More would leave a gap that holds up all
/// behind it, by the word of one node.
const FOREIGN_MAX: u64 = 16;

/// A settlement, and since when it waits for its turn.
type Waiting = (Settlement, Instant);
/// Where a lane's settlements come out.
pub(crate) type Queue = mpsc::Receiver<Waiting>;

impl Lane {
    /// Takes the signer for this instance.
    pub(crate) async fn new(signer: PrivateKeySigner, chain_id: u64, journal: &Journal) -> Result<(Self, Queue), Error> {
        let address = signer.address();
        let lease = journal.lease(address).await?;
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let lane = Self {
            wallet: EthereumWallet::from(signer),
            address,
            chain_id,
            queue,
            waiting: AtomicUsize::new(0),
            floor: AtomicU64::new(0),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            room: Notify::new(),
            lease: tokio::sync::Mutex::new(lease),
        };
        Ok((lane, receiver))
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// Settlements that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Transactions that are sent and not known to be mined.
    pub(crate) fn unmined(&self) -> usize {
        self.open().values().filter(|sent| sent.mined.is_none()).count()
    }

    /// Those whose nonce is not used up either: they still take up room at the node.
    fn pending(&self) -> usize {
        let floor = self.floor.load(Ordering::Relaxed);
        self.open().range(floor..).filter(|(_, sent)| sent.mined.is_none()).count()
    }

    /// Whether the settlement was taken: not when too many wait.
    pub(crate) fn push(&self, settlement: Settlement) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let taken = self.queue.try_send((settlement, Instant::now())).is_ok();
        self.waiting.fetch_sub(usize::from(!taken), Ordering::Relaxed);
        taken
    }

    /// What was sent and is not final, by nonce. Never held across an await.
    pub(crate) fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Sent>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node says that the chain has used up all nonces below this one.
    pub(crate) fn saw(&self, count: u64) {
        let count = self.credible(count);
        if self.floor.fetch_max(count, Ordering::Relaxed) < count {
            self.room.notify_one();
        }
    }

    /// What a node says of our nonces, as far as it is believed: beyond what we sent, only so far.
    fn credible(&self, count: u64) -> u64 {
        match self.next.load(Ordering::Relaxed) {
            0 => count,
            next => count.min(next.saturating_add(FOREIGN_MAX)),
        }
    }

    /// Takes over what the journal has and this process does not know: from an earlier process, or of a commit whose end was not heard.
    pub(crate) async fn load(&self, journal: &Journal) -> Result<Vec<Entry>, Error> {
        let mut unended = Vec::new();
        for open in journal.open(self.chain_id, self.address).await? {
            if let btree_map::Entry::Vacant(place) = self.open().entry(open.slot.nonce) {
                let is_unended = |entry: &&Entry| matches!(entry.state, State::Sent | State::Again);
                unended.extend(open.entries.iter().filter(is_unended).cloned());
                // What only waits to go out again may have done so for long, and others were sent after it: it does not tell how far we are.
                let is_left = open.entries.iter().all(|entry| entry.state == State::Again) && !open.entries.is_empty();
                if !is_left {
                    self.next.fetch_max(open.slot.nonce + 1, Ordering::Relaxed);
                }
                place.insert(Sent::new(open, None));
            }
        }
        Ok(unended)
    }

    /// Keeps the signer for this instance for as long as it is polled; ends when another has it.
    pub(crate) async fn keep(&self, journal: &Journal) -> Error {
        let mut refused = 0;
        loop {
            tokio::time::sleep(LEASE_LOOK).await;
            let mut lease = self.lease.lock().await;
            let is_held = match &mut *lease {
                // The whole journal is ours.
                None if refused == 0 => std::future::pending().await,
                Some(held) => held.is_held().await,
                None => false,
            };
            if is_held {
                continue;
            }
            tracing::warn!(signer = %self.address, "the database has lost this signer's lease; taking it anew");
            *lease = None;
            match journal.lease(self.address).await {
                Ok(taken) => (*lease, refused) = (taken, 0),
                // Of a connection that broke the server may hold on to the lock for a while.
                Err(error @ Error::SignerInUse(_)) if refused >= LEASE_REFUSALS_MAX => return error,
                Err(error) => {
                    tracing::warn!(signer = %self.address, %error, "it could not be taken yet");
                    refused += 1;
                }
            }
        }
    }

    /// Signs a call.
    pub(crate) async fn sign(&self, nonce: u64, call: &Call, fees: Fees) -> Result<Attempt, Error> {
        let request = TransactionRequest::default()
            .with_chain_id(self.chain_id)
            .with_nonce(nonce)
            .with_to(call.to)
            .with_input(call.input.clone())
            .with_value(call.value)
            .with_gas_limit(call.gas)
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
        let envelope = request.build(&self.wallet).await.map_err(alloy::signers::Error::other)?;
        let slot = Slot { chain_id: self.chain_id, signer: self.address, nonce };
        Ok(Attempt { slot, hash: *envelope.tx_hash(), raw: envelope.encoded_2718().into() })
    }

    /// Sends what comes, turn by turn, for as long as it is polled.
    pub(crate) async fn run(&self, engine: &Arc<Engine>, mut queue: Queue) {
        // The nonce of the next transaction, unless it must be found.
        let mut next = None;
        let mut waiting = Vec::new();
        while queue.recv_many(&mut waiting, TURN_MAX).await > 0 {
            while self.pending() >= PENDING_MAX {
                self.room.notified().await;
            }
            if engine.router.is_some() {
                let _ = tokio::time::timeout(COMPANY_WAIT, self.company(&mut queue, &mut waiting)).await;
            }
            while waiting.len() < TURN_MAX
                && let Ok(settlement) = queue.try_recv()
            {
                waiting.push(settlement);
            }
            let count = waiting.len();
            let waited = |(settlement, since): (Settlement, Instant)| {
                engine.metrics.took(Stage::Lane, since.elapsed());
                settlement
            };
            let mut turn: Vec<Settlement> = waiting.drain(..).map(waited).collect();
            if let Err(error) = self.send(engine, &mut next, &mut turn).await {
                tracing::error!(signer = %self.address, %error, "settlements were not sent");
                // A commit that failed may have happened all the same: the journal tells, with the next turn.
                next = None;
                let (again, new): (Vec<_>, Vec<_>) = turn.into_iter().partition(|settlement| engine.is_begun(&settlement.key));
                new.iter().for_each(|settlement| engine.not_begun(&settlement.key));
                self.try_again(engine, again);
            }
            self.waiting.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Brings back what nobody else would: the journal has it, and its callers may have left.
    fn try_again(&self, engine: &Arc<Engine>, settlements: Vec<Settlement>) {
        if settlements.is_empty() {
            return;
        }
        let (engine, signer) = (engine.clone(), self.address);
        engine.tasks.clone().spawn(async move {
            let waited = engine.stop.run_until_cancelled(tokio::time::sleep(AGAIN_WAIT)).await;
            let Some(lane) = waited.and_then(|()| engine.lane(signer)) else { return };
            for settlement in settlements {
                let key = settlement.key;
                if !lane.push(settlement) {
                    engine.not_begun(&key);
                }
            }
        });
    }

    /// Takes what else comes until all that was sent is mined, or the turn is full.
    async fn company(&self, queue: &mut Queue, turn: &mut Vec<Waiting>) {
        while self.pending() > 0 {
            let full = async {
                while let room @ 1.. = TURN_MAX.saturating_sub(turn.len())
                    && queue.recv_many(turn, room).await > 0
                {}
            };
            tokio::select! {
                () = self.room.notified() => {}
                () = full => return,
            }
        }
    }

    /// Signs, journals, sends.
    async fn send(&self, engine: &Arc<Engine>, next: &mut Option<u64>, turn: &mut Vec<Settlement>) -> Result<(), Error> {
        let first = match *next {
            Some(next) => next.max(self.floor.load(Ordering::Relaxed)),
            None => self.find_next(engine).await?,
        };
        let fees = engine.fees.now().await?;
        let transactions = loop {
            let mut transactions = Vec::new();
            for (nonce, group) in (first..).zip(batch::group(turn.clone(), engine.router)) {
                let attempt = self.sign(nonce, &group.call, fees).await?;
                transactions.push(Transaction { attempt, settlements: group.settlements });
            }
            let begun_before = {
                let _timer = engine.metrics.time(Stage::Journal);
                engine.journal.begin(&transactions).await?
            };
            if begun_before.is_empty() {
                break transactions;
            }
            begun_before.iter().for_each(|key| engine.begun_elsewhere(key));
            turn.retain(|settlement| !begun_before.contains(&settlement.key));
        };
        // From here on the nonces are taken, whatever becomes of us: the journal knows the transactions, and they will be sent.
        let after = first + transactions.len() as u64;
        *next = Some(after);
        self.next.fetch_max(after, Ordering::Relaxed);
        for Transaction { attempt, settlements } in &transactions {
            for settlement in settlements {
                tracing::debug!(payment = %settlement.key.nonce, transaction = %attempt.hash, "sending a settlement");
            }
        }
        let raws = transactions.iter().map(|tx| (tx.attempt.raw.clone(),)).collect();
        let entries = self.insert(transactions);
        engine.begun(entries);
        let timer = engine.metrics.time(Stage::Broadcast);
        let sent = rpc::many::<_, alloy::primitives::B256>(&engine.verifier.provider, "eth_sendRawTransaction", raws).await;
        drop(timer);
        match sent {
            Ok(answers) => answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|error| {
                tracing::warn!(signer = %self.address, %error, "the node refused a transaction; it will be sent again");
            }),
            Err(error) => tracing::warn!(signer = %self.address, %error, "broadcast failed; it will be repeated"),
        }
        engine.news.notify_one();
        Ok(())
    }

    /// Keeps what is about to be sent.
    pub(crate) fn insert(&self, transactions: Vec<Transaction>) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut open = self.open();
        for Transaction { attempt, settlements } in transactions {
            let slot = attempt.slot;
            let entry = |settlement| Entry { settlement, slot, state: State::Sent, reason: None };
            let entries: Vec<Entry> = settlements.into_iter().map(entry).collect();
            all.extend(entries.iter().cloned());
            open.insert(slot.nonce, Sent::new(Open { slot, attempts: vec![attempt], entries }, Some(Instant::now())));
        }
        all
    }

    /// After everything the node knows and everything the journal has sent.
    async fn find_next(&self, engine: &Arc<Engine>) -> Result<u64, Error> {
        engine.take_up(self).await?;
        let journalled = self.open().last_key_value().map_or(0, |(nonce, _)| nonce + 1);
        let pending = engine.verifier.provider.get_transaction_count(self.address).pending().await?;
        Ok(self.credible(pending).max(journalled))
    }
}
