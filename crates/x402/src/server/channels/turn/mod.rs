//! One request's turn on a channel.

mod hold;
mod judge;
mod refund;

pub(super) use refund::refund_payload;

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use alloy::primitives::B256;
use serde_json::{Value, json};

use self::hold::Held;
use super::{Channel, Channels, now_ms};
use crate::{
    FacilitatorError, PayloadError, PaymentKey, PaymentPayload, PaymentRequest, PaymentRequirements, Reason, SettleResponse,
    batch::{BatchPayload, Chain, ChannelConfig, ChannelState, Voucher},
    server::ReservationError,
};

/// How often a change is tried again when somebody else changed the channel in between.
const TRIES: usize = 4;

/// One request's turn on its channel: judges its voucher, keeps other requests off the channel, and charges it.
pub(in crate::server) struct Turn {
    channels: Channels,
    payload: BatchPayload,
    config: ChannelConfig,
    voucher: Voucher,
    chain: Chain,
    /// Names the voucher; its nonce is the hash that was signed.
    key: PaymentKey,
    /// The channel as it was judged, for the reservation.
    judged: Mutex<Option<Channel>>,
    /// An earlier try may have charged the voucher without hearing of it.
    resumed: AtomicBool,
}

impl Turn {
    pub(super) fn new(channels: Channels, payload: BatchPayload, payment: &PaymentPayload) -> Result<Self, PayloadError> {
        let (Some(config), Some(voucher)) = (payload.channel_config().copied(), payload.voucher().cloned()) else {
            return Err(PayloadError::UnknownType);
        };
        let chain = Chain::of(&payment.accepted).ok_or(PayloadError::UnknownType)?;
        let key = payment.channel_key(&payload)?;
        Ok(Self { channels, payload, config, voucher, chain, key, judged: Mutex::default(), resumed: AtomicBool::new(false) })
    }

    /// What makes this payment the same one wherever it turns up.
    pub(in crate::server) fn key(&self) -> &PaymentKey {
        &self.key
    }

    /// Gives money back instead of buying something.
    fn is_refund(&self) -> bool {
        matches!(self.payload, BatchPayload::Refund(_))
    }

    /// What answers a refund; `None` for what is no refund.
    pub(in crate::server) fn acknowledgement(&self) -> Option<Value> {
        self.is_refund().then(|| json!({ "message": "Refund acknowledged", "channelId": self.voucher.channel_id }))
    }

    /// Names this voucher among those of its channel.
    fn pending_id(&self) -> u64 {
        self.key.nonce.as_slice().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
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

    /// Whether an earlier try of this request charged the channel.
    fn was_charged(&self, channel: &Channel, cost: u128) -> bool {
        let is_last = (channel.ceiling, &channel.signature) == (self.voucher.max_claimable_amount, &self.voucher.signature);
        self.resumed.load(Ordering::Relaxed) && cost > 0 && is_last
    }

    /// Writes the charge and its voucher down; only then is there a receipt.
    async fn charge(
        &self,
        requirements: &PaymentRequirements,
        receipt: SettleResponse,
        change: impl Fn(&mut Channel),
    ) -> Result<SettleResponse, FacilitatorError> {
        let network = receipt.network.clone();
        let failed = |reason| Ok(SettleResponse::failed(network.clone(), Some(self.config.payer), reason));
        let Ok(cost) = u128::try_from(requirements.amount.0) else { return failed(Reason::BatchChargeExceedsCeiling) };
        for attempt in 0..TRIES {
            let channel = match self.held(attempt > 0).await {
                Ok(Held::Ours(channel)) => channel,
                Ok(Held::Missing) => return failed(Reason::BatchMissingChannel),
                Ok(Held::Lost(_)) if attempt == 0 => continue,
                // By this very voucher, and only the store's answer was lost.
                Ok(Held::Lost(channel)) if self.was_charged(&channel, cost) => return Ok(charged(receipt, &channel, cost)),
                Ok(Held::Lost(_)) => return failed(Reason::BatchChannelBusy),
                Err(error) => return failed(unavailable(&error)),
            };
            let sum = channel.charged.checked_add(cost).filter(|sum| *sum <= self.voucher.max_claimable_amount);
            let Some(sum) = sum else { return failed(Reason::BatchChargeExceedsCeiling) };
            let mut next =
                Channel { charged: sum, pending: None, version: channel.version + 1, used_at: now_ms() / 1000, ..channel };
            change(&mut next);
            if sum > next.balance {
                // More than could be claimed: the node that told of the deposit is behind, and tells more when it is asked again.
                tracing::warn!(channel = %next.id, balance = %next.balance, charge = %sum, "a channel does not hold what is charged");
                return failed(Reason::UnexpectedSettleError);
            }
            if cost > 0 {
                (next.ceiling, next.signature) = (self.voucher.max_claimable_amount, self.voucher.signature.clone());
                if next.unclaimed_since == 0 {
                    next.unclaimed_since = next.used_at;
                }
            }
            match self.channels.0.store.swap(next.clone()).await {
                Ok(true) => return Ok(charged(receipt, &next, cost)),
                Ok(false) => {}
                Err(error) => return failed(unavailable(&error)),
            }
        }
        failed(Reason::UnexpectedSettleError)
    }
}

/// The receipt of what a request cost.
fn charged(receipt: SettleResponse, channel: &Channel, cost: u128) -> SettleResponse {
    let mut extra = receipt.extra.unwrap_or_default();
    extra.insert("channelState".into(), json!(channel.state()));
    extra.insert("chargedAmount".into(), cost.to_string().into());
    SettleResponse { extra: Some(extra), ..receipt }
}

/// The outcome is not known: the caller may ask again with the same payment.
fn unavailable(error: &ReservationError) -> Reason {
    tracing::error!(%error, "a channel could not be written");
    Reason::UnexpectedSettleError
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("channel", &self.voucher.channel_id).finish_non_exhaustive()
    }
}
