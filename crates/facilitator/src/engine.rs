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
use x402::{Eip2612Permit, Network, PaymentRequest, Reason, SettleResponse, TokenAmount, TransferMethod};

use crate::{
    Error,
    journal::{Entry, Intent, Journal, Key, State},
    lane::Lane,
    permit2,
    token::{IToken, Transfer, calls_of},
    verify::{Invalid, Names, Valid, Verifier},
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

/// A settlement's id, and the signer and nonce of this try: a failed settlement that is tried again is another one to follow.
type Followed = (i64, Address, u64);

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
                tracing::info!(id = entry.id, payer = %entry.key.payer, "taking up a settlement");
                self.watch(&entry);
            }
        }
        Ok(())
    }

    /// Settles a payment, or joins whoever is settling it.
    pub(crate) async fn settle(self: &Arc<Self>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
        let network = request.payment_requirements.network.clone();
        // By the token the server asked for: what the client echoed is not to be trusted.
        let (Ok(payload), Some(token)) = (request.payment_payload.exact(), request.payment_requirements.asset_address()) else {
            return Ok(SettleResponse::failed(network, None, Reason::InvalidPayload));
        };
        if network.chain_id() != Some(self.verifier.chain_id) {
            return Ok(SettleResponse::failed(network, Some(payload.payer()), Reason::InvalidNetwork));
        }
        let (chain_id, method) = (self.verifier.chain_id, payload.method());
        let key = Key { chain_id, method, token, payer: payload.payer(), nonce: payload.nonce() };
        if let Some(entry) = self.journal.find(&key).await?.filter(|entry| entry.state != State::Failed) {
            return self.join(entry, request, network).await;
        }
        let valid = match self.verifier.verify(request).await? {
            Ok(valid) => valid,
            Err(invalid) => return self.explain(invalid, key, request, network).await,
        };
        let entry = match self.send(key, &valid).await? {
            Some(entry) => entry,
            None => match self.journal.find(&key).await? {
                Some(entry) => entry,
                None => return Ok(SettleResponse::failed(network, Some(key.payer), Reason::UnexpectedSettleError)),
            },
        };
        self.join(entry, request, network).await
    }

    /// A nonce that is used up may have been used for this very payment, by another request a moment ago or by somebody else.
    async fn explain(
        self: &Arc<Self>,
        invalid: Invalid,
        key: Key,
        request: &PaymentRequest,
        network: Network,
    ) -> Result<SettleResponse, Error> {
        if matches!(invalid.reason, Reason::NonceAlreadyUsed | Reason::Permit2InvalidNonce) {
            if let Some(entry) = self.journal.find(&key).await?.filter(|entry| entry.state != State::Failed) {
                return self.join(entry, request, network).await;
            }
            if let Ok(payload) = request.payment_payload.exact()
                && self.verifier.is_vouched_for(request).await?
                && let Some(hash) = self.settled_elsewhere(key, &Transfer::of(&payload, key.token)).await?
            {
                return Ok(SettleResponse::settled(network, key.payer, hash));
            }
        }
        let failed = SettleResponse::failed(network, Some(key.payer), invalid.reason);
        Ok(SettleResponse { error_message: invalid.message, ..failed })
    }

    /// Journals and broadcasts. `None` when another request journalled the same payment first.
    async fn send(self: &Arc<Self>, key: Key, valid: &Valid) -> Result<Option<Entry>, Error> {
        let lane = &self.lanes[self.turn.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let mut turn = lane.turn(&self.journal).await?;
        let nonce = turn.nonce;
        let signed = lane.sign(nonce, valid.to, valid.call.clone(), valid.gas, 0).await?;
        let intent = Intent {
            key,
            payee: valid.transfer.to,
            amount: valid.transfer.amount,
            signer: lane.address(),
            tx_nonce: nonce,
            tx_hash: signed.hash,
            raw: signed.raw.clone(),
        };
        // A commit that failed may have happened all the same; until the journal has been read again nobody knows whose the nonce is.
        turn.forget();
        let begun = self.journal.begin(&intent).await?;
        turn.set(nonce + u64::from(begun.is_some()));
        // From here on the nonce is taken, whatever becomes of us: the journal knows the transaction and it will be sent.
        let Some(entry) = begun else { return Ok(None) };
        if let Err(error) = self.verifier.provider.send_raw_transaction(&signed.raw).await {
            tracing::warn!(id = entry.id, %error, "broadcast failed; it will be repeated");
        }
        drop(turn);
        Ok(Some(entry))
    }

    /// Waits for the end of a settlement, however many do.
    async fn join(self: &Arc<Self>, entry: Entry, request: &PaymentRequest, network: Network) -> Result<SettleResponse, Error> {
        // The payer's nonce is the key; whoever sends it with other terms is not asking for this settlement.
        let (requirements, names) = (&request.payment_requirements, Names::of(entry.key.method));
        if requirements.pay_to_address() != Some(entry.payee) {
            return Ok(SettleResponse::failed(network, Some(entry.key.payer), names.recipient));
        }
        if requirements.amount != TokenAmount(entry.amount) {
            return Ok(SettleResponse::failed(network, Some(entry.key.payer), names.amount));
        }
        // And whoever has only seen it on chain is not who paid.
        if !self.is_same(&entry, request).await? && !self.verifier.is_vouched_for(request).await? {
            return Ok(SettleResponse::failed(network, Some(entry.key.payer), names.signature));
        }
        let mut current = entry;
        if current.state == State::Sent {
            let mut ended = self.watch(&current);
            let _ = tokio::time::timeout(self.confirm_timeout, ended.wait_for(|ended| *ended)).await;
            current = self.journal.by_id(current.id).await?;
        }
        let payer = current.key.payer;
        Ok(match current.state {
            State::Settled(hash) => SettleResponse::settled(network, payer, hash),
            State::Failed => {
                let reason = current.reason.as_deref().map_or(Reason::TransactionFailed, Reason::from);
                SettleResponse::failed(network, Some(payer), reason)
            }
            State::Sent => match self.journal.attempts(current.id).await?.last() {
                Some((hash, _)) => SettleResponse::pending(network, payer, *hash),
                None => SettleResponse::failed(network, Some(payer), Reason::UnexpectedSettleError),
            },
        })
    }

    /// Whether the settlement is by this very payload, to the byte. A wallet need not accept today what it accepted then.
    async fn is_same(&self, entry: &Entry, request: &PaymentRequest) -> Result<bool, Error> {
        let Ok(payload) = request.payment_payload.exact() else { return Ok(false) };
        let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).ok().flatten();
        let calls = calls_of(&payload, entry.key.token, permit.as_ref());
        let attempts = self.journal.attempts(entry.id).await?;
        Ok(attempts.iter().filter_map(|(_, raw)| parts(raw)).any(|(_, input, _)| calls.contains(&input)))
    }

    /// One task per settlement follows it to its end. The receiver turns true when the journal has it.
    fn watch(self: &Arc<Self>, entry: &Entry) -> watch::Receiver<bool> {
        let followed = (entry.id, entry.signer, entry.tx_nonce);
        let slot = self.watched.entry(followed);
        let receiver = slot.or_insert_with(|| {
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
                Err(error) => tracing::warn!(id = entry.id, %error, "cannot follow a settlement; trying again"),
            }
            if sent.elapsed() > RESEND_EVERY {
                sent = Instant::now();
                let due = begun.elapsed() > BUMP_EVERY * (bumps + 1) && bumps < BUMPS_MAX;
                bumps += u32::from(due);
                if let Err(error) = self.resend(entry, due.then_some(bumps)).await {
                    tracing::warn!(id = entry.id, %error, "cannot send a settlement again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(POLL_MAX);
        }
    }

    /// Looks whether an attempt was mined, or none ever will be, and writes the end down.
    async fn look(&self, entry: &Entry) -> Result<bool, Error> {
        // The count first: when it has passed our nonce and no attempt has a receipt afterwards, another transaction took the nonce.
        let mined = self.verifier.provider.get_transaction_count(entry.signer).await?;
        for (hash, _) in self.journal.attempts(entry.id).await? {
            let Some(receipt) = self.verifier.provider.get_transaction_receipt(hash).await? else { continue };
            if receipt.status() && entry.transfer().is_in(receipt.logs()) {
                self.journal.end(entry.id, Some(hash), None).await?;
                return Ok(true);
            }
            let reason = if receipt.status() { Reason::TransferEventMismatch } else { Reason::TransactionFailed };
            let elsewhere = self.settled_elsewhere(entry.key, &entry.transfer()).await?;
            self.journal.end(entry.id, elsewhere, Some(reason.as_str())).await?;
            return Ok(true);
        }
        if mined <= entry.tx_nonce {
            return Ok(false);
        }
        if let Some(lane) = self.lanes.iter().find(|lane| lane.address() == entry.signer) {
            lane.resync().await?;
        }
        let elsewhere = self.settled_elsewhere(entry.key, &entry.transfer()).await?;
        tracing::warn!(id = entry.id, signer = %entry.signer, "the signer's nonce was used by a transaction that is not ours");
        self.journal.end(entry.id, elsewhere, Some(Reason::TransactionFailed.as_str())).await?;
        Ok(true)
    }

    /// Broadcasts the newest attempt again, or a replacement with higher fees.
    async fn resend(&self, entry: &Entry, bump: Option<u32>) -> Result<(), Error> {
        let attempts = self.journal.attempts(entry.id).await?;
        let Some((_, newest)) = attempts.last() else { return Ok(()) };
        let lane = self.lanes.iter().find(|lane| lane.address() == entry.signer);
        let raw = match (bump, lane) {
            (Some(bump), Some(lane)) => {
                let (to, input, gas) =
                    parts(newest).ok_or_else(|| Error::Sign(alloy::signers::Error::message("unreadable journal")))?;
                let signed = lane.sign(entry.tx_nonce, to, input, gas, bump).await?;
                self.journal.add_attempt(entry.id, signed.hash, &signed.raw).await?;
                signed.raw
            }
            _ => newest.clone(),
        };
        // "Already known" is the usual answer and as good as any.
        let _ = self.verifier.provider.send_raw_transaction(&raw).await;
        Ok(())
    }

    /// The transaction in which somebody else settled this payment, if it did what ours would have done.
    async fn settled_elsewhere(&self, key: Key, transfer: &Transfer) -> Result<Option<B256>, Error> {
        if !self.verifier.is_used(&key).await? {
            return Ok(None);
        }
        let provider = &self.verifier.provider;
        let head = provider.get_block_number().await?;
        let recent = Filter::new().address(key.token).from_block(head.saturating_sub(LOOK_BACK_BLOCKS));
        let filter = match key.method {
            TransferMethod::Eip3009 => {
                recent.event_signature(IToken::AuthorizationUsed::SIGNATURE_HASH).topic1(key.payer.into_word()).topic2(key.nonce)
            }
            TransferMethod::Permit2 => recent
                .event_signature(IToken::Transfer::SIGNATURE_HASH)
                .topic1(key.payer.into_word())
                .topic2(transfer.to.into_word()),
        };
        let logs = provider.get_logs(&filter).await?;
        for hash in logs.iter().rev().filter_map(|log| log.transaction_hash).take(LOOK_BACK_TRANSACTIONS) {
            if key.method == TransferMethod::Permit2 {
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

/// What a raw transaction calls: target, input, gas.
fn parts(raw: &[u8]) -> Option<(Address, alloy::primitives::Bytes, u64)> {
    use alloy::{consensus::TxEnvelope, eips::eip2718::Decodable2718};
    let envelope = TxEnvelope::decode_2718(&mut &*raw).ok()?;
    Some((envelope.to()?, envelope.input().clone(), envelope.gas_limit()))
}
