use std::sync::Arc;

use axum::response::Response;
use http::HeaderMap;
use tokio::sync::oneshot;

use super::{
    Kept, Lease, Offers, Reservations, Served, answer,
    backend::Backend,
    escrow::{Escrow, EscrowError, not_given_back},
    metrics::{self, Stage},
    reservations::Renewal,
};
use crate::{PaymentKey, PaymentRequest, Reason, SettleResponse, TraceContext};

/// A payment that settled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settled {
    /// The facilitator's receipt.
    pub receipt: SettleResponse,
}

impl Settled {
    /// Adds the headers of a paid answer: the receipt, CORS, `Cache-Control: private`.
    pub fn mark(&self, response: &mut Response) {
        answer::mark_paid(response, &self.receipt);
    }
}

/// All that a settlement needs to go on when its client is gone.
pub(super) struct Settlement {
    pub(super) backend: Backend,
    /// Of the flow `escrow` only: the money is held before the work.
    pub(super) escrow: Option<Escrow>,
    pub(super) reservations: Arc<dyn Reservations>,
    pub(super) key: PaymentKey,
    pub(super) lease: Lease,
    /// However long the work and its settlement take.
    pub(super) _renewal: Renewal,
    pub(super) request: PaymentRequest,
    pub(super) kept: Kept,
    pub(super) headers: HeaderMap,
    pub(super) offers: Offers,
    /// The same payment may get the answer again when it was served.
    pub(super) keeps_answer: bool,
}

enum Verdict {
    Settled(SettleResponse),
    Failed(SettleResponse),
    Unknown(String),
}

impl Settlement {
    /// Has the money held, where the flow is so. The reservation is kept from before it moves, so that whoever comes next with the payment,
    /// also after a crash, goes on with what is held.
    pub(super) async fn hold(self) -> Result<Self, Response> {
        if self.escrow.is_none() || self.kept.deposit.is_some() {
            return Ok(self);
        }
        if let Err(error) = self.reservations.keep(self.lease, self.kept.clone()).await {
            tracing::warn!(%error, "nothing was held");
            log(self.reservations.release(self.lease).await);
            return Err(answer::try_again("the server is overloaded; nothing was charged"));
        }
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let held = self.try_hold().await;
            // Its client is gone: nobody works for it.
            if let Err(Ok(held)) = sender.send(held) {
                held.void().await;
            }
        });
        match receiver.await {
            Ok(held) => held,
            Err(_) => Err(answer::try_again("the deposit was interrupted")),
        }
    }

    #[tracing::instrument(name = "x402.hold", skip_all, fields(url = self.offers.resource.url, payer = %self.key.payer, payment = %self.key.nonce))]
    async fn try_hold(mut self) -> Result<Self, Response> {
        match self.ask(&self.request).await {
            Verdict::Settled(deposit) => {
                self.kept.deposit = Some(deposit);
                log(self.reservations.keep(self.lease, self.kept.clone()).await);
                Ok(self)
            }
            Verdict::Failed(failure) => {
                log(self.reservations.release(self.lease).await);
                Err(answer::not_settled(&self.headers, &self.offers, &failure))
            }
            Verdict::Unknown(cause) => {
                tracing::warn!(cause, digest = %self.key.digest(), "outcome of a deposit not known");
                log(self.reservations.suspend(self.lease).await);
                Err(answer::try_again("the payment is not confirmed yet"))
            }
        }
    }

    /// Gives back what is held, for a handler that failed. The receipt says so, or where the money is when it could not be given back: then
    /// the same payment may come again, and the payer takes it back by itself when the time to capture is over.
    pub(super) async fn void(self) -> Option<SettleResponse> {
        let (escrow, deposit) = (self.escrow.as_ref()?, self.kept.deposit.as_ref()?);
        let failed = |reason| SettleResponse::failed(self.key.network.clone(), Some(self.key.payer), reason);
        let verdict = self.release(escrow.void(&self.request).await).await;
        let failure = match verdict {
            Verdict::Settled(receipt) => {
                log(self.reservations.spend(self.lease, Served { receipt: receipt.clone(), work: None }).await);
                return Some(receipt);
            }
            Verdict::Failed(failure) => failure,
            Verdict::Unknown(cause) => {
                tracing::warn!(cause, digest = %self.key.digest(), "not known whether held money was given back");
                failed(Reason::UnexpectedSettleError)
            }
        };
        tracing::error!(reason = ?failure.error_reason, deposit = deposit.transaction, "held money was not given back");
        log(self.reservations.suspend(self.lease).await);
        Some(not_given_back(failure, deposit, self.key.payer))
    }

    /// Pays out what is held, or gives it back when that cannot be done any more: only then the payment has failed.
    async fn capture(&self, escrow: &Escrow) -> Verdict {
        let amount = self.kept.charge.unwrap_or(self.request.payment_requirements.amount);
        let captured = self.release(escrow.capture(&self.request, amount).await).await;
        let Verdict::Failed(failure) = captured else { return captured };
        match self.release(escrow.void(&self.request).await).await {
            Verdict::Settled(_) => Verdict::Failed(failure),
            _ => Verdict::Unknown(failure.error_reason.map_or_else(String::new, String::from)),
        }
    }

    async fn release(&self, request: Result<PaymentRequest, EscrowError>) -> Verdict {
        match request {
            Ok(request) => self.ask(&request).await,
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }

    /// Keeps the work, then settles in a task of its own: a client that hangs up neither stops nor loses it.
    pub(super) async fn run(self) -> Result<Settled, Response> {
        if let Err(error) = self.reservations.keep(self.lease, self.kept.clone()).await {
            tracing::warn!(%error, "nothing was settled");
            log(self.reservations.release(self.lease).await);
            return Err(answer::try_again("the server is overloaded; nothing was charged"));
        }
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(TraceContext::carried(self.settle(sender)));
        match receiver.await {
            Ok(outcome) => outcome,
            Err(_) => Err(answer::try_again("the settlement was interrupted")),
        }
    }

    #[tracing::instrument(name = "x402.settle", skip_all, fields(url = self.offers.resource.url, payer = %self.key.payer, payment = %self.key.nonce))]
    async fn settle(mut self, sender: oneshot::Sender<Result<Settled, Response>>) {
        let verdict = self.verdict().await;
        metrics::settled(match &verdict {
            Verdict::Settled(_) => "settled",
            Verdict::Failed(_) => "failed",
            Verdict::Unknown(_) => "unknown",
        });
        match verdict {
            Verdict::Settled(mut receipt) => {
                if self.kept.receipt.is_none() {
                    self.offers.extras.settled(&mut receipt, self.key.payer, &self.offers, &*self.reservations).await;
                }
                log(self.reservations.keep(self.lease, self.kept.with_receipt(&receipt)).await);
                let delivered = sender.send(Ok(Settled { receipt: receipt.clone() })).is_ok();
                if delivered {
                    let work = self.kept.work.clone().filter(|_| self.keeps_answer);
                    log(self.reservations.spend(self.lease, Served { receipt, work }).await);
                } else {
                    log(self.reservations.suspend(self.lease).await);
                }
            }
            Verdict::Failed(failure) => {
                log(self.reservations.release(self.lease).await);
                let _gone = sender.send(Err(answer::not_settled(&self.headers, &self.offers, &failure)));
            }
            Verdict::Unknown(cause) => {
                let is_kept = self.kept.work.is_some();
                tracing::warn!(cause, is_kept, digest = %self.key.digest(), "outcome of a settlement not known");
                log(self.reservations.suspend(self.lease).await);
                let told = match is_kept {
                    true => "the payment is not confirmed yet; what it pays for is kept",
                    false => "the payment is not confirmed yet",
                };
                let _gone = sender.send(Err(answer::try_again(told)));
            }
        }
    }

    async fn verdict(&mut self) -> Verdict {
        if let Some(receipt) = &self.kept.receipt {
            return Verdict::Settled(receipt.clone());
        }
        if let Some(escrow) = &self.escrow {
            return self.capture(escrow).await;
        }
        let amount = &mut self.request.payment_requirements.amount;
        *amount = self.kept.charge.unwrap_or(*amount);
        self.ask(&self.request).await
    }

    /// Asks who settles, once more when it is not known yet.
    async fn ask(&self, request: &PaymentRequest) -> Verdict {
        let mut answer = metrics::timed(Stage::Settle, self.key.nonce, self.backend.settle(request)).await;
        if answer.as_ref().is_ok_and(SettleResponse::is_pending) {
            answer = metrics::timed(Stage::Settle, self.key.nonce, self.backend.settle(request)).await;
        }
        match answer {
            Ok(receipt) if receipt.success => Verdict::Settled(receipt),
            Ok(failure) if is_final(&failure) => Verdict::Failed(failure),
            Ok(failure) => Verdict::Unknown(failure.error_reason.map_or_else(String::new, String::from)),
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }
}

/// True when the payment cannot have taken the money. A nonce that is used may have been used by this very payment, settled by an
/// earlier attempt or by somebody else: asking for a new payment could charge twice.
fn is_final(failure: &SettleResponse) -> bool {
    !matches!(
        failure.error_reason,
        None | Some(
            Reason::SettlementPending
                | Reason::UnexpectedSettleError
                | Reason::NonceAlreadyUsed
                | Reason::Permit2InvalidNonce
                | Reason::AuthCaptureAlreadyCollected
        )
    )
}

pub(super) fn log(result: Result<(), super::ReservationError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a reservation could not be changed");
    }
}
