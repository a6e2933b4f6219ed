//! Paying over a transport that is not HTTP: ask, pay, ask again with the payment.

use std::{error::Error, future::Future};

use alloy::primitives::{B256, keccak256};
use serde_json::Value;
use tracing::Instrument as _;
use url::Url;

use super::{PayError, Payer, Purse, offer::Demand, outstanding::Proof};
use crate::{PaymentRequirements, Reason, SettleResponse, call::call_hash};

/// What a transport that failed says.
pub(crate) type CallError = Box<dyn Error + Send + Sync>;

/// What a seller answered to a call.
pub(crate) enum Reply<T> {
    /// It wants to be paid.
    Demand(Demand, T),
    /// It answered.
    Done {
        value: T,
        receipt: Option<SettleResponse>,
        /// The work failed, so that nothing should have been charged.
        failed: bool,
    },
}

/// The answer to a call, and what was paid for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Called<T> {
    /// What came back.
    pub value: T,
    /// The seller's word on the settlement; `None` when nothing was paid, or the work failed and nothing was charged.
    pub receipt: Option<SettleResponse>,
    /// The offer that was taken; `None` when nothing was asked for.
    pub requirement: Option<PaymentRequirements>,
}

impl<P: Payer> Purse<P> {
    /// Calls `send` without a payment and, when one is asked for, again with it and with what was answered first. A call with the id of an
    /// earlier one shows the payment of that one as long as it may still settle.
    pub(crate) async fn call<T, F, Fut>(&self, id: B256, seller: &Url, send: F) -> Result<Called<T>, PayError>
    where
        F: Fn(Option<(Proof, T)>) -> Fut,
        Fut: Future<Output = Result<Reply<T>, CallError>>,
    {
        let (demand, asked) = match send(None).await.map_err(PayError::Call)? {
            Reply::Demand(demand, asked) => (demand, asked),
            Reply::Done { value, .. } => return Ok(Called { value, receipt: None, requirement: None }),
        };
        let mut under_way = match self.resume(id).await? {
            Some(earlier) => earlier,
            None => self.pay(id, &demand, seller).await?,
        };
        let payment = under_way.payment.clone();
        let valid_before = payment.valid_before;
        let rejected = |reason: Option<Reason>| {
            let reason = reason.unwrap_or_else(|| Reason::Other("no reason given".into()));
            self.failed(seller, PayError::PaymentRejected { reason, valid_before })
        };
        match send(Some((payment.proof.clone(), asked))).instrument(payment.span()).await {
            Err(cause) => Err(self.failed(seller, PayError::Indeterminate { cause: cause.to_string(), valid_before })),
            Ok(Reply::Demand(demand, _)) => Err(rejected(demand.error)),
            Ok(Reply::Done { value, receipt, failed }) => {
                self.record(&payment, receipt.as_ref()).await;
                if let Some(channel) = under_way.channel.as_mut().filter(|_| receipt.is_some() || !failed) {
                    channel.settled(receipt.as_ref()).await?;
                }
                match receipt {
                    Some(receipt) if !receipt.success => Err(rejected(receipt.error_reason)),
                    // The payment stays usable for the same call.
                    None if failed => Ok(Called { value, receipt: None, requirement: Some(payment.requirement) }),
                    receipt => {
                        under_way.done();
                        Ok(Called { value, receipt, requirement: Some(payment.requirement) })
                    }
                }
            }
        }
    }
}

/// Two calls with one id buy the same thing.
pub(crate) fn call_id(seller: &Url, name: &str, arguments: &Value) -> B256 {
    keccak256(format!("{seller}\n{}", call_hash(name, arguments)))
}
