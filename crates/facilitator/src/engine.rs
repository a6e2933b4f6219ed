//! Settles once what many ask for: who comes first hands the settlement to a lane, the others wait for the same end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::{Address, B256, U256};
use dashmap::{DashMap, Entry as Place};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use x402::{PaymentRequest, Scheme, SettleResponse};

use crate::{
    Error, channels, escrow, exact,
    fees::FeeOracle,
    journal::Journal,
    judge,
    lane::{Lane, Queue},
    metrics::Metrics,
    settlement::{Entry, Key, Settlement, State},
    upto,
    verify::{Invalid, Verifier},
    watch as watcher,
};

/// First and longest wait between two looks at what another instance settles.
const ELSEWHERE_MIN: Duration = Duration::from_millis(20);
const ELSEWHERE_MAX: Duration = Duration::from_millis(500);

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a caller is let wait.
    pub(crate) confirm_timeout: Duration,
    /// Blocks on top of one before what it holds is final.
    pub(crate) confirmations: u64,
    /// How long a node may fail to show what became of a settlement before it counts as failed.
    pub(crate) give_up_after: Duration,
    /// How long a transaction may stay unmined before it is replaced by one with higher fees.
    pub(crate) replace_after: Duration,
    /// Longest wait between two looks for a block.
    pub(crate) poll: Duration,
}

/// Blocks after which a chain is not expected to be reorganised.
pub(crate) fn confirmations(chain_id: u64) -> u64 {
    match chain_id {
        // Ethereum
        1 => 32,
        // Polygon
        137 => 64,
        // Rollups with one sequencer, and test chains
        _ => 8,
    }
}

/// How far a settlement is that this process follows.
#[derive(Clone, Debug)]
enum Progress {
    /// Waits for a lane.
    Waiting,
    /// Is in the journal, and as far as this entry says.
    Begun(Box<Entry>),
    /// Another instance began it before.
    Elsewhere,
    /// The journal or the node failed; nothing was sent.
    NotBegun,
}

pub(crate) struct Engine {
    pub(crate) verifier: Verifier,
    pub(crate) journal: Journal,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) fees: FeeOracle,
    /// The PaymentRouter, through which payments that wait together go out together.
    pub(crate) router: Option<Address>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    /// Ends lanes and watcher; the next start takes up what they leave.
    pub(crate) stop: CancellationToken,
    /// Something was sent, or there is a new block.
    pub(crate) news: Notify,
    turn: AtomicUsize,
    under_way: DashMap<Key, UnderWay>,
    /// Why it had to stop by itself.
    failed: Mutex<Option<Error>>,
}

/// A settlement that this process follows.
struct UnderWay {
    progress: watch::Sender<Progress>,
    payee: Address,
    /// Of its payer's money.
    draws: U256,
}

impl Engine {
    pub(crate) fn new(
        verifier: Verifier,
        journal: Journal,
        lanes: Vec<Lane>,
        fees: FeeOracle,
        router: Option<Address>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            verifier,
            journal,
            lanes,
            fees,
            router,
            limits,
            metrics,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            news: Notify::new(),
            turn: AtomicUsize::new(0),
            under_way: DashMap::new(),
            failed: Mutex::default(),
        }
    }

    /// Takes up what an earlier process left, and begins to work. `queues` are those of the lanes.
    pub(crate) async fn start(self: &Arc<Self>, queues: Vec<Queue>) -> Result<(), Error> {
        for lane in &self.lanes {
            self.take_up(lane).await?;
        }
        for (index, queue) in queues.into_iter().enumerate() {
            let engine = self.clone();
            self.tasks.spawn(async move {
                let _ = engine.stop.run_until_cancelled(engine.lanes[index].run(&engine, queue)).await;
            });
        }
        for index in 0..self.lanes.len() {
            let engine = self.clone();
            self.tasks.spawn(async move {
                let lane = &engine.lanes[index];
                if let Some(error) = engine.stop.run_until_cancelled(lane.keep(&engine.journal)).await {
                    engine.fail(error);
                }
            });
        }
        let engine = self.clone();
        self.tasks.spawn(async move {
            let follow = async { tokio::join!(watcher::run(&engine), watcher::listen(&engine)) };
            let _ = engine.stop.run_until_cancelled(follow).await;
        });
        Ok(())
    }

    /// Settles a payment by the rules of its scheme, or joins whoever is settling it. What its payer's money does not cover beside other payments
    /// waits for those, if not too many do, and is judged anew.
    pub(crate) async fn settle(self: &Arc<Self>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
        let deadline = Instant::now() + self.limits.confirm_timeout;
        let mut place = None;
        loop {
            let answer = match Scheme::of(&request.payment_requirements) {
                Some(Scheme::Upto) => upto::settle(self, request).await,
                Some(Scheme::BatchSettlement) => channels::settle(self, request).await,
                Some(Scheme::AuthCapture) => escrow::settle(self, request).await,
                // Waits by itself, from where it is verified on.
                _ => return exact::settle(self, request).await,
            };
            if !matches!(answer, Err(Error::Owes)) || Instant::now() >= deadline {
                return answer;
            }
            // The token that it is settled in: what else the payload says of it may be anything.
            let token = request.payment_requirements.asset_address();
            let (Ok(key), Some(token)) = (request.payment_payload.key(), token) else { return answer };
            place = place.or_else(|| self.verifier.owed.wait(token, key.payer));
            place.as_ref().ok_or(Error::Owes)?.change().await;
        }
    }

    /// Would this payment settle now, by the rules of its scheme? Then by whom it is paid.
    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Result<Result<Address, Invalid>, Error> {
        match Scheme::of(&request.payment_requirements) {
            Some(Scheme::Upto) => Ok(upto::verify(self, request).await?.map(|valid| valid.transfer.from)),
            _ => exact::verify(self, request).await,
        }
    }

    /// What the settlement with this key takes from its payer, if it is under way.
    pub(crate) fn draws(&self, key: &Key) -> U256 {
        self.under_way.get(key).map_or(U256::ZERO, |under_way| under_way.draws)
    }

    /// Whether what is under way with this key is another payment than one to this payee, of an amount that is right: its nonce settles once.
    pub(crate) fn is_taken(&self, key: &Key, payee: Address, is_amount: impl Fn(U256) -> bool) -> bool {
        self.under_way.get(key).is_some_and(|under_way| under_way.payee != payee || !is_amount(under_way.draws))
    }

    /// Whether the payer's money covers a payment beside what else of his is under way.
    pub(crate) async fn covers(&self, key: &Key, amount: U256) -> Result<bool, Error> {
        let own = self.draws(key);
        let owed = self.verifier.owed.by(key.token, key.payer).saturating_sub(own);
        if owed.is_zero() {
            return Ok(true);
        }
        let funds = self.verifier.funds(key.token, key.payer).await?;
        Ok(funds.is_none_or(|funds| owed.saturating_add(amount) <= funds))
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
        if let Some(entry) = self.joined(key).await? {
            return Ok(Some(entry));
        }
        Ok(self.journal.find(key).await?.filter(|entry| !matches!(entry.state, State::Failed | State::Again)))
    }

    /// The same, if this process is about it: asks neither journal nor node.
    pub(crate) async fn joined(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let Some(progress) = self.under_way.get(key).map(|under_way| under_way.progress.subscribe()) else { return Ok(None) };
        begun(progress).await
    }

    /// Journals and broadcasts a settlement that was verified. The entry may be that of another request which was first: compare its terms
    /// before its [`Engine::outcome`] is told to anybody. `None` when that one has just failed.
    ///
    /// # Errors
    /// [`Error::Owes`] when the payer's money does not cover it beside what else is under way: it would fail, and we would pay for that.
    pub(crate) async fn submit(self: &Arc<Self>, mut settlement: Settlement) -> Result<Option<Entry>, Error> {
        let (key, payee, draws, owed) = (settlement.key, settlement.payee, settlement.draws(), &self.verifier.owed);
        if settlement.funds.is_none() && !draws.is_zero() && !owed.by(key.token, key.payer).is_zero() {
            settlement.funds = self.verifier.funds(key.token, key.payer).await?;
        }
        let progress = match self.under_way.entry(key) {
            Place::Occupied(place) => place.get().progress.subscribe(),
            Place::Vacant(place) => {
                self.affordable()?;
                let lane = self.lane_for(&settlement)?;
                if !owed.add(&key, draws, settlement.funds) {
                    return Err(Error::Owes);
                }
                let (progress, receiver) = watch::channel(Progress::Waiting);
                place.insert(UnderWay { progress, payee, draws });
                if !lane.push(settlement) {
                    self.not_begun(&key);
                    return Err(Error::Busy);
                }
                receiver
            }
        };
        match begun(progress).await? {
            Some(entry) => Ok(Some(entry)),
            None => self.find(&key).await,
        }
    }

    /// Whether gas costs no more than the operator pays. Nothing is asked that anybody would wait for.
    ///
    /// # Errors
    /// [`Error::GasPrice`]
    pub(crate) fn affordable(self: &Arc<Self>) -> Result<(), Error> {
        let affordable = self.fees.affordable();
        if affordable.is_err() {
            let engine = self.clone();
            self.tasks.spawn(async move { engine.fees.renew().await });
        }
        affordable
    }

    /// The pinned one, or whoever has least to do, in turn.
    fn lane_for(&self, settlement: &Settlement) -> Result<&Lane, Error> {
        if let Some(signer) = settlement.signer {
            return self.lane(signer).ok_or(Error::SignerUnknown(signer));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let (before, after) = self.lanes.split_at(turn);
        Ok(after.iter().chain(before).min_by_key(|lane| lane.waiting()).expect("there is a signer, or nothing starts"))
    }

    /// Waits for the end of a settlement, for as long as a caller is let wait. Still [`State::Sent`] when that is not known yet.
    pub(crate) async fn outcome(self: &Arc<Self>, entry: Entry) -> Result<Entry, Error> {
        if entry.state != State::Sent {
            return Ok(entry);
        }
        let key = entry.settlement.key;
        let deadline = Instant::now() + self.limits.confirm_timeout;
        if let Some(mut progress) = self.under_way.get(&key).map(|under_way| under_way.progress.subscribe()) {
            let ended = progress.wait_for(|progress| match progress {
                Progress::Waiting => false,
                Progress::Begun(entry) => entry.state != State::Sent,
                Progress::Elsewhere | Progress::NotBegun => true,
            });
            let _ = tokio::time::timeout_at(deadline.into(), ended).await;
            if let Progress::Begun(entry) = &*progress.borrow() {
                return Ok(Entry::clone(entry));
            }
        }
        // Another instance has it, or it has just ended.
        let mut wait = ELSEWHERE_MIN;
        loop {
            let entry = self.journal.find(&key).await?.unwrap_or_else(|| entry.clone());
            if entry.state != State::Sent || Instant::now() > deadline {
                return Ok(entry);
            }
            if self.lane(entry.slot.signer).is_none() {
                judge::look_elsewhere(self, &entry).await?;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(ELSEWHERE_MAX);
        }
    }

    /// Whether a settlement counts as failed only because no node showed what became of it.
    pub(crate) async fn is_given_up(&self, key: &Key) -> Result<bool, Error> {
        let entry = self.journal.find(key).await?;
        Ok(entry.is_some_and(|entry| entry.state == State::Failed && entry.is_given_up()))
    }

    /// The transaction by which a settlement that was sent will most likely be mined.
    pub(crate) async fn newest_attempt(&self, entry: &Entry) -> Result<Option<B256>, Error> {
        let slot = entry.slot;
        if let Some(sent) = self.lane(slot.signer).and_then(|lane| lane.open().get(&slot.nonce).cloned()) {
            return Ok(sent.open.attempts.last().map(|attempt| attempt.hash));
        }
        let open = self.journal.open(slot.chain_id, slot.signer).await?;
        let open = open.into_iter().find(|open| open.slot == slot);
        Ok(open.and_then(|open| open.attempts.last().map(|attempt| attempt.hash)))
    }

    pub(crate) fn lane(&self, signer: Address) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.address() == signer)
    }

    /// Follows what the journal has of a lane and this process does not know yet.
    pub(crate) async fn take_up(&self, lane: &Lane) -> Result<(), Error> {
        for entry in lane.load(&self.journal).await? {
            let (key, payee, draws) = (entry.settlement.key, entry.settlement.payee, entry.settlement.draws());
            tracing::info!(payment = %key.nonce, payer = %key.payer, state = ?entry.state, "taking up a settlement");
            let again = (entry.state == State::Again).then(|| entry.settlement.clone());
            let Place::Vacant(place) = self.under_way.entry(key) else { continue };
            // To whoever asks, what goes out again has been sent.
            let progress = Progress::Begun(Entry { state: State::Sent, ..entry }.into());
            place.insert(UnderWay { progress: watch::Sender::new(progress), payee, draws });
            self.verifier.owed.add(&key, draws, None);
            if again.is_some_and(|settlement| !lane.push(settlement)) {
                self.not_begun(&key);
            }
        }
        self.news.notify_one();
        Ok(())
    }

    /// Whether the journal has it and this process follows it, so that it goes out again.
    pub(crate) fn is_begun(&self, key: &Key) -> bool {
        self.under_way.get(key).is_some_and(|under_way| matches!(*under_way.progress.borrow(), Progress::Begun(_)))
    }

    /// They are in the journal.
    pub(crate) fn begun(&self, entries: Vec<Entry>) {
        for entry in entries {
            if let Some(under_way) = self.under_way.get(&entry.settlement.key) {
                under_way.progress.send_replace(Progress::Begun(entry.into()));
            }
        }
    }

    /// They have ended.
    pub(crate) fn ended(&self, entry: Entry) {
        tracing::debug!(payment = %entry.settlement.key.nonce, state = ?entry.state, "a settlement has ended");
        self.forget(&entry.settlement.key.clone(), Progress::Begun(entry.into()));
    }

    pub(crate) fn begun_elsewhere(&self, key: &Key) {
        self.forget(key, Progress::Elsewhere);
    }

    pub(crate) fn not_begun(&self, key: &Key) {
        self.forget(key, Progress::NotBegun);
    }

    fn forget(&self, key: &Key, last: Progress) {
        if let Some((_, UnderWay { progress, draws, .. })) = self.under_way.remove(key) {
            self.verifier.owed.less(key, draws);
            progress.send_replace(last);
        }
    }

    /// Stops the whole instance.
    pub(crate) fn fail(&self, error: Error) {
        tracing::error!(%error, "the facilitator cannot go on");
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.stop.cancel();
    }

    /// Why it stopped by itself, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits until a settlement is in the journal. `None` when another instance has it.
async fn begun(mut progress: watch::Receiver<Progress>) -> Result<Option<Entry>, Error> {
    // Nobody is left to begin it only when this process is ending.
    let progress = progress.wait_for(|progress| !matches!(progress, Progress::Waiting)).await.map_err(|_| Error::Busy)?;
    match &*progress {
        Progress::Begun(entry) => Ok(Some(Entry::clone(entry))),
        Progress::Elsewhere => Ok(None),
        Progress::Waiting | Progress::NotBegun => Err(Error::Busy),
    }
}
