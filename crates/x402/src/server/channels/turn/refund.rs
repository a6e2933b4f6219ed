//! Gives back what is left in a channel.

use alloy::primitives::B256;
use serde_json::Value;

use super::{Held, TRIES, Turn, unavailable};
use crate::{
    FacilitatorError, PaymentRequest, Reason, SettleResponse,
    batch::{BatchPayload, Chain, ChannelState, Claim, ClaimVoucher, RefundPayload, Voucher},
    server::{
        ReservationError,
        channels::{Channel, Channels, now_ms},
    },
};

impl Turn {
    /// Claims what was charged and gives the rest back, in one transaction.
    pub(super) async fn refund(
        &self,
        asked: &RefundPayload,
        request: &PaymentRequest,
    ) -> Result<SettleResponse, FacilitatorError> {
        let network = request.payment_requirements.network.clone();
        let failed = |reason| Ok(SettleResponse::failed(network.clone(), Some(self.config.payer), reason));
        let channel = match self.held(true).await {
            Ok(Held::Ours(channel)) => channel,
            Ok(Held::Missing) => return failed(Reason::BatchMissingChannel),
            Ok(Held::Lost(_)) => return failed(Reason::BatchChannelBusy),
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
}

/// What a refund says to the facilitator, signed by the seller where it has the key.
pub(in crate::server::channels) async fn refund_payload(
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
    pub(in crate::server::channels) async fn refunded(
        &self,
        id: B256,
        state: Option<&ChannelState>,
    ) -> Result<(), ReservationError> {
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
