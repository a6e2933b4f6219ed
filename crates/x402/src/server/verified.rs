use alloy::primitives::Address;
use axum::{body::to_bytes, response::Response};

use super::{
    Settled, Work, answer,
    settle::{Settlement, log},
};
use crate::{Charge, ChargeError, PaymentKey, PaymentPayload, PaymentRequirements, Scheme, SettleResponse};

/// Longest answer held back until it is paid for. Longer ones are [`Streamed`], or need the flow `upfront`.
const ANSWER_LEN_MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a handler puts into its response's extensions when the answer cannot be held back until it is paid for: its status and headers are
/// known, so it is charged then, and what follows streams through. By voucher (scheme `batch-settlement`) that takes no transaction. A stream
/// that breaks off is paid for, and after an outcome that is not known the work is done anew.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

/// A payment that would settle now, reserved for one request.
#[must_use]
pub struct VerifiedPayment {
    /// Taken only by the calls that end the reservation.
    settlement: Option<Settlement>,
    resumed: bool,
}

impl std::fmt::Debug for VerifiedPayment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedPayment").field("key", self.key()).field("resumed", &self.resumed).finish()
    }
}

impl VerifiedPayment {
    pub(super) fn new(settlement: Settlement, resumed: bool) -> Self {
        Self { settlement: Some(settlement), resumed }
    }

    fn settlement(&self) -> &Settlement {
        self.settlement.as_ref().expect("taken only by calls that consume self")
    }

    /// What makes this payment the same one wherever it turns up: a key for the work done for it.
    pub fn key(&self) -> &PaymentKey {
        &self.settlement().key
    }

    /// Who pays.
    pub fn payer(&self) -> Address {
        self.key().payer
    }

    /// What is paid.
    pub fn requirements(&self) -> &PaymentRequirements {
        &self.settlement().request.payment_requirements
    }

    /// The payment, as the client sent it.
    pub fn payload(&self) -> &PaymentPayload {
        &self.settlement().request.payment_payload
    }

    /// True when an earlier request with this payment did its work and the settlement's outcome is not known: do not work twice.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Charges this and not all that was offered, where the scheme allows it. Nothing to charge means no transaction. What an earlier
    /// attempt charged stays: its outcome is not known.
    ///
    /// # Errors
    /// [`ChargeError`] when the payer did not sign for it; the payment is as it was.
    pub fn charge(&mut self, charge: Charge) -> Result<(), ChargeError> {
        let requirements = self.requirements();
        let amount = charge.of(requirements.amount, Scheme::of(requirements))?;
        let settlement = self.settlement.as_mut().expect("taken only by calls that consume self");
        settlement.kept.charge.get_or_insert(amount);
        Ok(())
    }

    /// Settles, for a service that keeps its work itself.
    ///
    /// # Errors
    /// The response to give instead: 402 when it failed for good, 503 when the outcome is not known. After a 503 the same payment comes
    /// back as a resumed one.
    pub async fn settle(mut self) -> Result<Settled, Response> {
        let settlement = self.settlement.take().expect("taken only by calls that consume self");
        settlement.run().await
    }

    /// Settles and gives the client `response`; keeps it for a retry when the outcome is not known. A response of 400 or more costs
    /// nothing and is given as it is. What the work costs may be said by a [`Charge`] in its extensions or its headers, and that it is to be
    /// [`Streamed`].
    pub async fn respond(mut self, mut response: Response) -> Response {
        let told = answer::take_charge(&mut response);
        if response.status().as_u16() >= 400 {
            return self.cancelled(response).await;
        }
        if let Err(error) = told.and_then(|told| told.map_or(Ok(()), |charge| self.charge(charge))) {
            tracing::error!(%error, "the handler's charge cannot be taken; nothing was");
            return self.cancelled(answer::failed()).await;
        }
        if response.extensions_mut().remove::<Streamed>().is_some() {
            return match self.settle().await {
                Ok(settled) => {
                    settled.mark(&mut response);
                    response
                }
                Err(instead) => instead,
            };
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, ANSWER_LEN_MAX_BYTES).await else {
            tracing::error!(
                "the handler's answer failed or is longer than {ANSWER_LEN_MAX_BYTES} bytes: let it be Streamed, or use the flow upfront"
            );
            return self.cancelled(answer::failed()).await;
        };
        let work = Work { status: parts.status, headers: parts.headers, body };
        let mut settlement = self.settlement.take().expect("taken only by calls that consume self");
        settlement.kept.work = Some(work.clone());
        deliver(settlement, work).await
    }

    /// Gives the payment back unused: the client may use it again. Where money was held it was used; then this is the receipt of how the
    /// money was given back, or could not be, which is for the client.
    pub async fn cancel(mut self) -> Option<SettleResponse> {
        let settlement = self.settlement.take()?;
        // In a task of its own: a client that hangs up does not stop it.
        tokio::spawn(give_back(settlement, self.resumed)).await.ok().flatten()
    }

    /// What the client is told when the handler failed.
    async fn cancelled(self, mut response: Response) -> Response {
        if let Some(receipt) = self.cancel().await {
            answer::mark_paid(&mut response, &receipt);
        }
        response
    }
}

/// A payment of which a settlement was begun is never forgotten.
async fn give_back(settlement: Settlement, resumed: bool) -> Option<SettleResponse> {
    if settlement.kept.deposit.is_some() {
        return settlement.void().await;
    }
    let Settlement { reservations, lease, .. } = settlement;
    log(if resumed { reservations.suspend(lease).await } else { reservations.release(lease).await });
    None
}

impl Drop for VerifiedPayment {
    /// The handler panicked or its client hung up.
    fn drop(&mut self) {
        if let (Some(settlement), Ok(runtime)) = (self.settlement.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(give_back(settlement, self.resumed));
        }
    }
}

/// Settles, and gives out what that pays for.
pub(super) async fn deliver(settlement: Settlement, work: Work) -> Response {
    match settlement.run().await {
        Ok(settled) => work.into_response(&settled.receipt),
        Err(response) => response,
    }
}
