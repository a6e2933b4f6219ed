//! Whether a voucher is good.

use std::sync::PoisonError;

use alloy::primitives::U256;
use serde_json::json;

use super::Turn;
use crate::{
    FacilitatorError, JsonMap, PaymentRequest, PaymentRequirements, Reason, TokenAmount, VerifyResponse,
    batch::{BatchPayload, ChannelState},
    recover_strict,
    server::channels::{Channel, now_ms},
};

impl Turn {
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
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
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
        let verdict = self.config.check_terms(requirements).and_then(|()| {
            if recover_strict(self.key.nonce, &self.voucher.signature) != Some(self.config.payer_authorizer) {
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
}
