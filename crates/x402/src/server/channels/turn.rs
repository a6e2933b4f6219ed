use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::{B256, U256};
use futures::future::{BoxFuture, FutureExt, ready};
use serde_json::{Value, json};

use super::{Channel, Channels, Pending, last::State, now_ms};
use crate::{
    FacilitatorError, JsonMap, PayloadError, PaymentPayload, PaymentRequest, PaymentRequirements, Reason, SettleResponse,
    TokenAmount, VerifyResponse,
    batch::{BatchPayload, Chain, ChannelConfig, ChannelState, Claim, ClaimVoucher, RefundPayload, Voucher},
    server::{Claim as Reserved, Kept, Lease, ReservationError, Reservations, Served},
};

/// How often a change is tried again when somebody else changed the channel in between.
const TRIES: usize = 4;
/// Least and most that a request may hold its channel, in seconds.
const HOLD_MIN_SECS: u64 = 5;
const HOLD_MAX_SECS: u64 = 600;

/// One request's turn on its channel: judges its voucher, keeps other requests off the channel, and charges it.
pub(in crate::server) struct Turn {
    channels: Channels,
    payload: BatchPayload,
    config: ChannelConfig,
    voucher: Voucher,
    chain: Chain,
    /// The channel as it was judged, for [`Reservations::reserve`].
    judged: Mutex<Option<(Channel, PaymentRequirements)>>,
}

impl Turn {
    pub(super) fn new(channels: Channels, payload: BatchPayload, payment: &PaymentPayload) -> Result<Self, PayloadError> {
        let (Some(config), Some(voucher)) = (payload.channel_config().copied(), payload.voucher().cloned()) else {
            return Err(PayloadError::UnknownType);
        };
        let chain = Chain::of(&payment.accepted).ok_or(PayloadError::UnknownType)?;
        Ok(Self { channels, payload, config, voucher, chain, judged: Mutex::default() })
    }

    /// Gives money back instead of buying something.
    fn is_refund(&self) -> bool {
        matches!(self.payload, BatchPayload::Refund(_))
    }

    /// What answers a refund; `None` for what is no refund.
    pub(in crate::server) fn acknowledgement(&self) -> Option<Value> {
        self.is_refund().then(|| json!({ "message": "Refund acknowledged", "channelId": self.voucher.channel_id }))
    }

    fn set(&self, lease: Lease, change: impl FnOnce(Kept) -> Option<State>) -> BoxFuture<'_, Result<(), ReservationError>> {
        ready(self.channels.0.last.set(self.voucher.channel_id, lease, change)).boxed()
    }

    /// Names this voucher among those of its channel.
    fn pending_id(&self) -> u64 {
        let hash = self.chain.voucher_hash(self.voucher.channel_id, self.voucher.max_claimable_amount);
        hash.as_slice().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// What the payer must believe to have been charged so far, to sign this ceiling for this price. `None` when no such amount exists.
    fn base(&self, price: u128) -> Option<u128> {
        if self.is_refund() {
            Some(self.voucher.max_claimable_amount)
        } else {
            self.voucher.max_claimable_amount.checked_sub(price)
        }
    }

    /// Whether the voucher is good: without a look at the chain when that was done lately.
    pub(in crate::server) async fn verify(&self, request: &PaymentRequest) -> Result<VerifyResponse, FacilitatorError> {
        let requirements = &request.payment_requirements;
        let invalid = |reason| Ok(VerifyResponse::invalid(reason, Some(self.config.payer)));
        if self.chain.channel_id(&self.config) != self.voucher.channel_id {
            return invalid(Reason::BatchChannelIdMismatch);
        }
        if let (BatchPayload::Deposit(p), Some(_)) = (&self.payload, self.channels.0.min_deposit)
            && TokenAmount(U256::from(p.deposit.amount)) < self.channels.least_deposit(requirements)
        {
            return invalid(Reason::BatchDepositBelowMin);
        }
        let Ok(price) = u128::try_from(requirements.amount.0) else { return invalid(Reason::InvalidPaymentRequirements) };
        let base = self.base(price);
        // The same voucher in service elsewhere is refused when the channel is taken: it may come again.
        let is_taken = |channel: &Channel| {
            channel.is_busy(now_ms()) && channel.pending.is_some_and(|pending| pending.id != self.pending_id())
        };
        let fits = |channel: &Channel| base == Some(channel.charged) && !is_taken(channel);
        let known = match self.channels.0.store.recall(self.voucher.channel_id).filter(fits) {
            Some(channel) => Some(channel),
            // What this process remembers may be old.
            None => match self.channels.0.store.load(self.voucher.channel_id).await {
                Ok(known) => known,
                Err(error) => {
                    tracing::warn!(%error, "a channel could not be read");
                    return invalid(Reason::BatchStateUnavailable);
                }
            },
        };
        let channel = match (known, base) {
            (Some(channel), base) if base != Some(channel.charged) => return Ok(self.corrective(&channel)),
            (Some(channel), _) if is_taken(&channel) => return invalid(Reason::BatchChannelBusy),
            (Some(channel), _) => channel,
            (None, None) => return invalid(Reason::BatchCumulativeMismatch),
            // Never seen, or forgotten after a refund: the chain will say whether the payer can have been charged so much.
            (None, Some(base)) => Channel::new(self.voucher.channel_id, self.chain.id, self.config, base),
        };
        let verdict = match self.verify_locally(&channel, requirements) {
            Some(verdict) => verdict,
            None => self.channels.0.facilitator.verify(request).await?,
        };
        if !verdict.is_valid {
            return Ok(verdict);
        }
        let mut channel = channel;
        if let Some(extra) = &verdict.extra {
            let Some(state) = ChannelState::from_extra(Some(extra)) else { return invalid(Reason::BatchStateUnavailable) };
            channel.sync(&state, now_ms());
        }
        if self.withdraws_soon(&channel) {
            return invalid(Reason::BatchCumulativeExceedsBalance);
        }
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some((channel, requirements.clone()));
        Ok(verdict)
    }

    /// As the facilitator would, from what the chain said lately; `None` when it must be asked.
    fn verify_locally(&self, channel: &Channel, requirements: &PaymentRequirements) -> Option<VerifyResponse> {
        let is_fresh = now_ms().saturating_sub(channel.synced_at_ms) <= self.channels.snapshot_ttl_ms();
        let is_voucher = matches!(self.payload, BatchPayload::Voucher(_));
        if !is_voucher || !is_fresh || self.config.payer_authorizer.is_zero() {
            return None;
        }
        // A deposit that somebody else brought in may have raised it.
        if self.voucher.max_claimable_amount > channel.balance {
            return None;
        }
        let verdict = self.config.check(&self.chain, self.voucher.channel_id, requirements).and_then(|()| {
            if self.voucher.signer(&self.chain) != Some(self.config.payer_authorizer) {
                return Err(Reason::BatchVoucherSignature);
            }
            if self.voucher.max_claimable_amount <= channel.total_claimed {
                return Err(Reason::BatchCumulativeBelowClaimed);
            }
            Ok(())
        });
        Some(match verdict {
            Ok(()) => VerifyResponse::valid(self.config.payer),
            Err(reason) => VerifyResponse::invalid(reason, Some(self.config.payer)),
        })
    }

    /// An announced withdrawal is so near that what is charged now might not be claimed in time.
    fn withdraws_soon(&self, channel: &Channel) -> bool {
        let (announced, delay) = (channel.withdraw_requested_at, self.config.withdraw_delay);
        announced != 0 && now_ms() / 1000 + delay / 3 >= announced.saturating_add(delay)
    }

    /// Tells the payer from where to go on, with its own signature as proof.
    fn corrective(&self, channel: &Channel) -> VerifyResponse {
        let mut extra = JsonMap::new();
        extra.insert("channelState".into(), json!(channel.state()));
        if let Some(voucher) = channel.voucher_state() {
            extra.insert("voucherState".into(), json!(voucher));
        }
        let refused = VerifyResponse::invalid(Reason::BatchCumulativeMismatch, Some(self.config.payer));
        VerifyResponse { extra: Some(extra), ..refused }
    }

    /// Charges what the request cost.
    pub(in crate::server) async fn settle(&self, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        match &self.payload {
            BatchPayload::Deposit(p) => {
                let settled = self.channels.0.facilitator.settle(request).await?;
                if !settled.success {
                    return Ok(settled);
                }
                let state = ChannelState::from_extra(settled.extra.as_ref());
                let deposited = p.deposit.amount;
                self.charge(&request.payment_requirements, settled, |channel| match &state {
                    Some(state) => channel.sync(state, now_ms()),
                    None => channel.balance = channel.balance.saturating_add(deposited),
                })
                .await
            }
            BatchPayload::Refund(p) => self.refund(p, request).await,
            _ => {
                let requirements = &request.payment_requirements;
                let receipt = SettleResponse::settled(requirements.network.clone(), self.config.payer, B256::ZERO);
                let receipt = SettleResponse { transaction: String::new(), ..receipt };
                self.charge(requirements, receipt, |_| {}).await
            }
        }
    }

    /// Writes the charge and its voucher down; only then is there a receipt.
    async fn charge(
        &self,
        requirements: &PaymentRequirements,
        receipt: SettleResponse,
        change: impl Fn(&mut Channel),
    ) -> Result<SettleResponse, FacilitatorError> {
        let failed = |reason| Ok(SettleResponse::failed(receipt.network.clone(), Some(self.config.payer), reason));
        let Ok(cost) = u128::try_from(requirements.amount.0) else { return failed(Reason::BatchChargeExceedsCeiling) };
        for attempt in 0..TRIES {
            let channel = match self.held(attempt > 0).await {
                Ok(Held::Ours(channel)) => channel,
                Ok(Held::Missing) => return failed(Reason::BatchMissingChannel),
                Ok(Held::Lost) if attempt == 0 => continue,
                Ok(Held::Lost) => return failed(Reason::BatchChannelBusy),
                Err(error) => return failed(unavailable(&error)),
            };
            let charged = channel.charged.checked_add(cost).filter(|charged| *charged <= self.voucher.max_claimable_amount);
            let Some(charged) = charged else { return failed(Reason::BatchChargeExceedsCeiling) };
            let mut next = Channel { charged, pending: None, version: channel.version + 1, used_at: now_ms() / 1000, ..channel };
            change(&mut next);
            if cost > 0 {
                (next.ceiling, next.signature) = (self.voucher.max_claimable_amount, self.voucher.signature.clone());
                if next.unclaimed_since == 0 {
                    next.unclaimed_since = next.used_at;
                }
            }
            let state = next.state();
            match self.channels.0.store.swap(next).await {
                Ok(true) => {
                    let mut extra = receipt.extra.clone().unwrap_or_default();
                    extra.insert("channelState".into(), json!(state));
                    extra.insert("chargedAmount".into(), cost.to_string().into());
                    return Ok(SettleResponse { extra: Some(extra), ..receipt });
                }
                Ok(false) => {}
                Err(error) => return failed(unavailable(&error)),
            }
        }
        failed(Reason::UnexpectedSettleError)
    }

    /// Claims what was charged and gives the rest back, in one transaction.
    async fn refund(&self, asked: &RefundPayload, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        let network = request.payment_requirements.network.clone();
        let failed = |reason| Ok(SettleResponse::failed(network.clone(), Some(self.config.payer), reason));
        let channel = match self.held(true).await {
            Ok(Held::Ours(channel)) => channel,
            Ok(Held::Missing) => return failed(Reason::BatchMissingChannel),
            Ok(Held::Lost) => return failed(Reason::BatchChannelBusy),
            Err(error) => return failed(unavailable(&error)),
        };
        if self.voucher.max_claimable_amount != channel.charged {
            return failed(Reason::BatchCumulativeMismatch);
        }
        let amount = match (asked.amount, channel.balance.saturating_sub(channel.charged)) {
            (_, 0) => return failed(Reason::BatchRefundNoBalance),
            (Some(0), _) => return failed(Reason::BatchRefundAmountInvalid),
            (Some(amount), _) => amount,
            (None, left) => left,
        };
        let voucher = ClaimVoucher { channel: self.config, max_claimable_amount: channel.charged };
        let claim = Claim { voucher, signature: self.voucher.signature.clone(), total_claimed: channel.charged };
        let claims = if channel.unclaimed() > 0 { vec![claim] } else { Vec::new() };
        let signed = refund_payload(&self.channels, &self.chain, &channel, &self.voucher, amount, claims).await;
        let payload = match signed {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "a refund could not be signed");
                return failed(Reason::UnexpectedSettleError);
            }
        };
        let mut request = request.clone();
        request.payment_payload.payload = payload.to_json();
        let settled = self.channels.0.facilitator.settle(&request).await?;
        if !settled.success {
            return Ok(settled);
        }
        let state = ChannelState::from_extra(settled.extra.as_ref());
        if let Err(error) = self.channels.refunded(channel.id, state.as_ref()).await {
            // The chain is right and will be asked: the snapshot of this channel is dropped by its next voucher's mismatch.
            tracing::error!(%error, "a refund could not be written down");
        }
        let mut extra = settled.extra.clone().unwrap_or_default();
        if let Some(Value::Object(state)) = extra.get_mut("channelState") {
            state.insert("chargedCumulativeAmount".into(), channel.charged.to_string().into());
        }
        Ok(SettleResponse { extra: Some(extra), ..settled })
    }

    async fn held(&self, fresh: bool) -> Result<Held, ReservationError> {
        let store = &self.channels.0.store;
        let recalled = if fresh { None } else { store.recall(self.voucher.channel_id) };
        let channel = match recalled {
            Some(channel) => Some(channel),
            None => store.load(self.voucher.channel_id).await?,
        };
        let id = self.pending_id();
        Ok(match channel {
            None => Held::Missing,
            Some(channel) if channel.pending.is_some_and(|pending| pending.id == id) => Held::Ours(channel),
            Some(_) => Held::Lost,
        })
    }

    /// Takes the channel, unless another request has it or it moved on.
    async fn hold(&self) -> Result<bool, ReservationError> {
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut channel, requirements)) = judged else { return Ok(false) };
        let charged = channel.charged;
        let hold_ms = requirements.max_timeout_seconds.clamp(HOLD_MIN_SECS, HOLD_MAX_SECS) * 1000;
        for _ in 0..TRIES {
            let pending = Pending { id: self.pending_id(), until_ms: now_ms().saturating_add(hold_ms) };
            let next = Channel { pending: Some(pending), version: channel.version + 1, ..channel.clone() };
            if self.channels.0.store.swap(next).await? {
                return Ok(true);
            }
            match self.channels.0.store.load(channel.id).await? {
                Some(current) if current.charged == charged && !current.is_busy(now_ms()) => channel = current,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Lets the next request have the channel.
    async fn let_go(&self) -> Result<(), ReservationError> {
        for _ in 0..TRIES {
            let Held::Ours(channel) = self.held(true).await? else { return Ok(()) };
            let next = Channel { pending: None, version: channel.version + 1, ..channel };
            if self.channels.0.store.swap(next).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[allow(clippy::large_enum_variant)] // One at a time, and never kept.
enum Held {
    /// By this turn.
    Ours(Channel),
    /// By another, or by nobody.
    Lost,
    /// There is no such channel.
    Missing,
}

/// The outcome is not known: the caller may ask again with the same payment.
fn unavailable(error: &ReservationError) -> Reason {
    tracing::error!(%error, "a channel could not be written");
    Reason::UnexpectedSettleError
}

/// What a refund says to the facilitator, signed by the seller where it has the key.
pub(super) async fn refund_payload(
    channels: &Channels,
    chain: &Chain,
    channel: &Channel,
    voucher: &Voucher,
    amount: u128,
    claims: Vec<Claim>,
) -> Result<BatchPayload, alloy::signers::Error> {
    let authorizer = &channels.0.authorizer;
    let refund = authorizer.sign(chain.refund_hash(channel.id, channel.refund_nonce, amount)).await?;
    let claimed = if claims.is_empty() { None } else { authorizer.sign(chain.claim_batch_hash(&claims)).await? };
    Ok(BatchPayload::Refund(RefundPayload {
        channel_config: channel.config,
        voucher: voucher.clone(),
        amount: Some(amount),
        refund_nonce: Some(channel.refund_nonce.into()),
        claims: Some(claims),
        refund_authorizer_signature: refund,
        claim_authorizer_signature: claimed,
    }))
}

impl Channels {
    /// Writes down what a refund left. The channel stays: its payer may deposit again and go on from what was charged.
    pub(super) async fn refunded(&self, id: B256, state: Option<&ChannelState>) -> Result<(), ReservationError> {
        for _ in 0..TRIES {
            let Some(channel) = self.0.store.load(id).await? else { return Ok(()) };
            let mut next = Channel { pending: None, version: channel.version + 1, synced_at_ms: 0, ..channel };
            if let Some(state) = state {
                next.sync(state, now_ms());
            }
            if self.0.store.swap(next).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The gate's reservation of a payment is the channel's turn: in the store for every copy of the service, and here for the answer that
/// has not left yet. The key that the gate gives is this turn's own.
impl Reservations for Turn {
    fn find(&self, _: B256, fingerprint: B256) -> BoxFuture<'_, Result<Option<Reserved>, ReservationError>> {
        ready(Ok(self.channels.0.last.find(self.voucher.channel_id, fingerprint))).boxed()
    }

    fn reserve(&self, _: B256, fingerprint: B256) -> BoxFuture<'_, Result<Reserved, ReservationError>> {
        async move {
            if !self.hold().await? {
                return Ok(Reserved::Busy);
            }
            match self.channels.0.last.begin(self.voucher.channel_id, fingerprint) {
                Ok(lease) => Ok(Reserved::New(lease)),
                Err(full) => self.let_go().await.and(Err(full)),
            }
        }
        .boxed()
    }

    fn keep(&self, lease: Lease, kept: Kept) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |_| Some(State::Working(kept)))
    }

    fn suspend(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |kept| Some(State::Waiting(kept)))
    }

    fn spend(&self, lease: Lease, served: Served) -> BoxFuture<'_, Result<(), ReservationError>> {
        self.set(lease, |_| Some(State::Spent(Box::new(served))))
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), ReservationError>> {
        async move {
            self.set(lease, |_| None).await?;
            self.let_go().await
        }
        .boxed()
    }

    /// Names are remembered by the gate's own store.
    fn remember(&self, _: B256, value: B256, _: Duration) -> BoxFuture<'_, Result<B256, ReservationError>> {
        ready(Ok(value)).boxed()
    }

    fn recall(&self, _: B256) -> BoxFuture<'_, Result<Option<B256>, ReservationError>> {
        ready(Ok(None)).boxed()
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("channel", &self.voucher.channel_id).finish_non_exhaustive()
    }
}
