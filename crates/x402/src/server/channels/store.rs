use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::{B256, Bytes, U256};
use futures::future::{BoxFuture, FutureExt, ready};
use serde::{Deserialize, Serialize};

use crate::{
    batch::{ChannelConfig, ChannelState, Claim, ClaimVoucher, VoucherState, decimal},
    server::ReservationError,
};

/// Channels of one process, at most.
const CHANNELS_MAX: usize = 1_000_000;

/// What a server knows of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: B256,
    /// The chain it is on.
    pub chain_id: u64,
    /// What never changes about it.
    pub config: ChannelConfig,
    /// Charged so far, claimed or not, in base units. Never more than `ceiling`.
    #[serde(with = "decimal")]
    pub charged: u128,
    /// Of the last voucher that was charged; 0 before the first.
    #[serde(with = "decimal")]
    pub ceiling: u128,
    /// Of the same voucher; empty before the first.
    pub signature: Bytes,
    /// On chain, when it was looked at last.
    #[serde(with = "decimal")]
    pub balance: u128,
    /// On chain, when it was looked at last.
    #[serde(with = "decimal")]
    pub total_claimed: u128,
    /// Unix seconds; 0 when no withdrawal is announced.
    pub withdraw_requested_at: u64,
    /// Nonce of the next refund.
    pub refund_nonce: U256,
    /// Unix milliseconds at which the chain was looked at last.
    pub synced_at_ms: u64,
    /// Unix seconds of the last request.
    pub used_at: u64,
    /// Unix seconds of the first charge that is not claimed; 0 when there is none.
    pub unclaimed_since: u64,
    /// The request that is being served.
    pub pending: Option<Pending>,
    /// Grows by one with every change.
    pub version: u64,
}

/// A request in service: no other voucher of the channel is taken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of its voucher.
    pub id: u64,
    /// Unix milliseconds after which its server is taken for dead.
    pub until_ms: u64,
}

impl Channel {
    /// A channel that is seen for the first time, of which `charged` was charged before as its payer says.
    pub(super) fn new(id: B256, chain_id: u64, config: ChannelConfig, charged: u128) -> Self {
        Self {
            id,
            chain_id,
            config,
            charged,
            ceiling: 0,
            signature: Bytes::new(),
            balance: 0,
            total_claimed: 0,
            withdraw_requested_at: 0,
            refund_nonce: U256::ZERO,
            synced_at_ms: 0,
            used_at: 0,
            unclaimed_since: 0,
            pending: None,
            version: 0,
        }
    }

    /// What can be claimed now.
    pub fn unclaimed(&self) -> u128 {
        self.charged.saturating_sub(self.total_claimed)
    }

    /// The claim of everything charged, when there is something to claim.
    pub fn claim(&self) -> Option<Claim> {
        let voucher = ClaimVoucher { channel: self.config, max_claimable_amount: self.ceiling };
        let claim = Claim { voucher, signature: self.signature.clone(), total_claimed: self.charged };
        (self.unclaimed() > 0 && self.ceiling >= self.charged).then_some(claim)
    }

    pub(super) fn is_busy(&self, now_ms: u64) -> bool {
        self.pending.is_some_and(|pending| pending.until_ms > now_ms)
    }

    /// What the chain said at `now_ms`.
    pub(super) fn sync(&mut self, state: &ChannelState, now_ms: u64) {
        self.balance = state.balance;
        self.total_claimed = self.total_claimed.max(state.total_claimed);
        self.withdraw_requested_at = state.withdraw_requested_at;
        self.refund_nonce = state.refund_nonce.0;
        self.synced_at_ms = now_ms;
        if self.unclaimed() == 0 {
            self.unclaimed_since = 0;
        }
    }

    pub(super) fn state(&self) -> ChannelState {
        ChannelState {
            channel_id: self.id,
            balance: self.balance,
            total_claimed: self.total_claimed,
            withdraw_requested_at: self.withdraw_requested_at,
            refund_nonce: self.refund_nonce.into(),
            charged_cumulative_amount: Some(self.charged),
        }
    }

    pub(super) fn voucher_state(&self) -> Option<VoucherState> {
        let state = VoucherState { signed_max_claimable: self.ceiling, signature: self.signature.clone() };
        (!self.signature.is_empty()).then_some(state)
    }
}

/// Where a seller keeps its channels. One store is shared by every copy of a service. What [`Self::swap`] said yes to is durable: an
/// answer leaves only after.
pub trait ChannelStore: Send + Sync {
    /// The channel, as it is in the store.
    fn load(&self, id: B256) -> BoxFuture<'_, Result<Option<Channel>, ReservationError>>;
    /// The channel as this process saw it last, if it remembers. [`Self::swap`] tells whether it still is.
    fn recall(&self, _id: B256) -> Option<Channel> {
        None
    }
    /// Writes `next` if the version in the store is the one before `next.version`; with version 1, if there is none.
    fn swap(&self, next: Channel) -> BoxFuture<'_, Result<bool, ReservationError>>;
    /// Channels in the order of their ids, at most `limit`, beginning after `after`.
    fn list(&self, after: Option<B256>, limit: usize) -> BoxFuture<'_, Result<Vec<Channel>, ReservationError>>;
}

/// Channels of one process, gone with it: for tests. A seller that dies with it cannot claim what it did not claim before.
#[derive(Debug, Default)]
pub struct MemoryChannels(Mutex<BTreeMap<B256, Channel>>);

impl MemoryChannels {
    fn channels(&self) -> MutexGuard<'_, BTreeMap<B256, Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelStore for MemoryChannels {
    fn load(&self, id: B256) -> BoxFuture<'_, Result<Option<Channel>, ReservationError>> {
        ready(Ok(self.channels().get(&id).cloned())).boxed()
    }

    fn recall(&self, id: B256) -> Option<Channel> {
        self.channels().get(&id).cloned()
    }

    fn swap(&self, next: Channel) -> BoxFuture<'_, Result<bool, ReservationError>> {
        let mut channels = self.channels();
        let version = channels.get(&next.id).map_or(0, |channel| channel.version);
        let outcome = if version + 1 != next.version {
            Ok(false)
        } else if version == 0 && channels.len() >= CHANNELS_MAX {
            Err(ReservationError::Full)
        } else {
            channels.insert(next.id, next);
            Ok(true)
        };
        ready(outcome).boxed()
    }

    fn list(&self, after: Option<B256>, limit: usize) -> BoxFuture<'_, Result<Vec<Channel>, ReservationError>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let page = self.channels().range((from, Unbounded)).take(limit).map(|(_, channel)| channel.clone()).collect();
        ready(Ok(page)).boxed()
    }
}
