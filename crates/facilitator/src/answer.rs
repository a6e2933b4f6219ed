//! What schemes that settle by calls of their own answer: a receipt, or why there is none.

use std::sync::Arc;

use alloy::primitives::Address;
use x402::{Network, Reason, SettleResponse};

use crate::{
    Error,
    engine::Engine,
    settlement::{Entry, Settlement, State},
    verify::Invalid,
};

/// What is answered instead of a receipt.
pub(crate) enum Failure {
    Refused(Invalid),
    Unavailable(Error),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<Invalid> for Failure {
    fn from(refusal: Invalid) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Unavailable(error)
    }
}

impl From<alloy::transports::TransportError> for Failure {
    fn from(error: alloy::transports::TransportError) -> Self {
        Self::Unavailable(error.into())
    }
}

pub(crate) type Answer = Result<SettleResponse, Failure>;

/// A refusal is a receipt that says why; what is unavailable is an error.
pub(crate) fn receipt(answer: Answer, network: Network, payer: Option<Address>) -> Result<SettleResponse, Error> {
    match answer {
        Ok(response) => Ok(response),
        Err(Failure::Refused(Invalid { reason, message })) => {
            Ok(SettleResponse { error_message: message, ..SettleResponse::failed(network, payer, reason) })
        }
        Err(Failure::Unavailable(error)) => Err(error),
    }
}

/// Begins a settlement, or joins the one with its key.
pub(crate) async fn submit(engine: &Arc<Engine>, settlement: Settlement) -> Result<Entry, Failure> {
    engine.submit(settlement).await?.ok_or_else(|| Reason::UnexpectedSettleError.into())
}

/// Waits for the end. A call that pays nobody by itself has no payer.
pub(crate) async fn outcome(
    engine: &Arc<Engine>,
    entry: Entry,
    network: &Network,
    payer: Option<Address>,
    failed: Reason,
) -> Answer {
    let (entry, network, anybody) = (engine.outcome(entry).await?, network.clone(), payer.unwrap_or_default());
    let response = match entry.state {
        State::Settled(hash) => SettleResponse::settled(network, anybody, hash),
        // What the chain refused has the scheme's name, what nobody can tell its own.
        State::Failed if entry.is_given_up() => SettleResponse::failed(network, payer, Reason::UnexpectedSettleError),
        State::Failed => SettleResponse::failed(network, payer, failed),
        State::Sent | State::Again => match engine.newest_attempt(&entry).await? {
            Some(hash) => SettleResponse::pending(network, anybody, hash),
            None => SettleResponse::failed(network, payer, Reason::UnexpectedSettleError),
        },
    };
    Ok(SettleResponse { payer: payer.map(|payer| payer.to_checksum(None)), ..response })
}
