//! Selling through payment channels (scheme `batch-settlement`): a request costs one signature check and one write to the store.

mod last;
mod manager;
#[cfg(feature = "postgres")]
mod postgres;
mod store;
mod turn;

pub use manager::{ChannelManager, ClaimPolicy, Claimed, ManagerError};
#[cfg(feature = "postgres")]
pub use postgres::PostgresChannels;
pub use store::{Channel, ChannelStore, MemoryChannels, Pending};
pub(super) use turn::Turn;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::Signer,
};
use money::Usdc;

use crate::{
    FacilitatorClient, PayloadError, PaymentPayload, PaymentRequirements, TokenAmount,
    batch::{BatchPayload, WITHDRAW_DELAY_MAX_SECS, WITHDRAW_DELAY_MIN_SECS},
};

/// How many requests a first deposit should pay for, unless the seller says otherwise.
const DEPOSIT_MULTIPLE: u64 = 10;

/// A seller's side of its channels. Clones share everything.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    store: Arc<dyn ChannelStore>,
    facilitator: FacilitatorClient,
    authorizer: Authorizer,
    withdraw_delay: u64,
    min_deposit: Option<Usdc>,
    /// The last request of each channel: its answer until it has left, its receipt after.
    last: last::LastRequests,
}

/// Who signs claims and refunds.
#[derive(Clone)]
pub enum Authorizer {
    /// A key of the seller's own.
    Own(Arc<dyn Signer + Send + Sync>),
    /// The facilitator, by the address it tells in `/supported`. It gives no refunds.
    Facilitator(Address),
}

impl Authorizer {
    fn address(&self) -> Address {
        match self {
            Self::Own(signer) => signer.address(),
            Self::Facilitator(address) => *address,
        }
    }

    /// `None` when the facilitator signs.
    async fn sign(&self, hash: B256) -> Result<Option<Bytes>, alloy::signers::Error> {
        match self {
            Self::Own(signer) => Ok(Some(signer.sign_hash(&hash).await?.as_bytes().into())),
            Self::Facilitator(_) => Ok(None),
        }
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("authorizer", &self.0.authorizer.address()).finish_non_exhaustive()
    }
}

impl Channels {
    /// Channels kept in `store`, with deposits, claims and refunds sent by `facilitator`. Payers can withdraw by themselves
    /// `withdraw_delay` after they said so (15 minutes to 30 days; outside of that the nearest): the seller claims well within.
    pub fn new(
        store: Arc<dyn ChannelStore>,
        facilitator: FacilitatorClient,
        authorizer: Authorizer,
        withdraw_delay: Duration,
    ) -> Self {
        let withdraw_delay = withdraw_delay.as_secs().clamp(WITHDRAW_DELAY_MIN_SECS, WITHDRAW_DELAY_MAX_SECS);
        let last = last::LastRequests::default();
        Self(Arc::new(Inner { store, facilitator, authorizer, withdraw_delay, min_deposit: None, last }))
    }

    /// Refuses deposits below this; otherwise the offer only suggests ten times the price. Must be set before the first clone.
    pub fn min_deposit(mut self, least: Usdc) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.min_deposit = Some(least);
        }
        self
    }

    /// The same offer, paid through a channel with this seller.
    pub fn offer(&self, offer: PaymentRequirements) -> PaymentRequirements {
        let least = self.least_deposit(&offer);
        let mut offer = offer.by_channel(self.0.authorizer.address(), self.0.withdraw_delay);
        offer.extra.get_or_insert_default().insert("minDeposit".into(), least.to_string().into());
        offer
    }

    fn least_deposit(&self, offer: &PaymentRequirements) -> TokenAmount {
        match self.0.min_deposit {
            Some(least) => TokenAmount::from(least).max(offer.amount),
            None => TokenAmount(offer.amount.0.saturating_mul(alloy::primitives::U256::from(DEPOSIT_MULTIPLE))),
        }
    }

    /// One request's turn on its channel.
    pub(super) fn turn(&self, payment: &PaymentPayload) -> Result<Turn, PayloadError> {
        Turn::new(self.clone(), BatchPayload::from_json(&payment.payload)?, payment)
    }

    /// How long the chain need not be looked at again: a payer cannot withdraw within.
    fn snapshot_ttl_ms(&self) -> u64 {
        (self.0.withdraw_delay / 3).clamp(30, 300) * 1000
    }
}

/// Unix milliseconds.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
