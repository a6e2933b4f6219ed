//! Scheme `batch-settlement`: looks at channels, and puts deposits, claims, payouts and refunds on chain.

mod chain;
mod settle;
mod turns;
mod verify;

pub(crate) use chain::Judge;
pub(crate) use settle::settle;
pub(crate) use verify::verify;

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use serde_json::json;
use x402::{
    JsonMap,
    batch::{Chain, ChannelState},
};

use self::turns::Turns;
use crate::engine::Engine;

/// What this instance is in the scheme.
pub(crate) struct Channels {
    /// The contract on our chain.
    pub(crate) chain: Chain,
    /// Signs claims for receivers that name it as their authorizer. It never signs a refund: whoever asks could take back what a receiver
    /// has not claimed yet.
    pub(crate) authorizer: Option<PrivateKeySigner>,
    /// Claims, payouts and refunds that may be about the same money go one after the other, each judged by what the one before left.
    /// Together, many that each would do something could be sent, of which one does.
    turns: Turns<Line>,
}

/// What goes one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    /// Claims for a receiver that one authorizer signs. A stranger can name himself and stands in nobody's line but his own.
    Claims { receiver: Address, token: Address, authorizer: Address },
    /// Payouts to a receiver.
    Payouts { receiver: Address, token: Address },
    /// Refunds of a channel.
    Refunds(B256),
}

impl Channels {
    pub(crate) fn new(chain_id: u64, authorizer: Option<PrivateKeySigner>) -> Self {
        Self { chain: Chain::new(chain_id), authorizer, turns: Turns::default() }
    }

    /// `extra` of the kind in `/supported`.
    pub(crate) fn extra(&self) -> Option<JsonMap> {
        let address = self.authorizer.as_ref()?.address().to_checksum(None);
        Some([("receiverAuthorizer".to_owned(), json!(address))].into_iter().collect())
    }
}

/// As `extra` of a settlement.
fn settled_extra(state: &ChannelState) -> JsonMap {
    [("channelState".to_owned(), json!(state))].into_iter().collect()
}

impl Engine {
    /// What simulates: a signer of ours, as in the transaction.
    fn simulator(&self) -> Address {
        self.lanes.first().map(crate::lane::Lane::address).unwrap_or_default()
    }
}
