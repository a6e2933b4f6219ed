use std::sync::Arc;

use alloy::primitives::{Address, B256, keccak256};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::HeaderMap;

use super::{
    Channels, Claim, Extras, Kept, MemoryReservations, Reservations, Served, answer,
    backend::Backend,
    escrow::{Escrow, as_taken},
    extras::SignInFailure,
    metrics::{self, Stage},
    reservations::{REMEMBERED, Renewal},
    settle::Settlement,
    verified::{VerifiedPayment, deliver},
};
use crate::{
    FacilitatorClient, JsonMap, PaymentKey, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, Reason,
    ResourceInfo, Scheme, V2, check_extension_echo, find_matching, header,
};

/// What is sold, and for what.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// What is sold.
    pub resource: ResourceInfo,
    /// The ways to pay, any one of them.
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions by key, of this request; those of [`Self::extras`] are added.
    pub extensions: Option<JsonMap>,
    /// What is offered and accepted besides payments.
    pub extras: Extras,
    /// What makes two requests for one resource different: a hash of the method and the body. A kept answer is given to the same request only.
    pub request: B256,
}

impl Offers {
    /// What a 402 says. Only an answer has what is new each time.
    pub(super) fn required(&self, error: Option<String>, fresh: bool) -> PaymentRequired {
        let mut extensions = self.extras.declared().clone();
        extensions.extend(self.extensions.clone().into_iter().flatten());
        if fresh {
            extensions.extend(self.extras.fresh(self));
        }
        let extensions = Some(extensions).filter(|extensions| !extensions.is_empty());
        let (resource, accepts) = (self.resource.clone(), self.accepts.clone());
        PaymentRequired { x402_version: V2, error, resource, accepts, extensions }
    }
}

/// Checks payments and settles them. Clones share reservations.
#[derive(Clone)]
pub struct Gate {
    facilitator: FacilitatorClient,
    reservations: Arc<dyn Reservations>,
    channels: Option<Channels>,
    escrow: Option<Escrow>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("facilitator", &self.facilitator).finish_non_exhaustive()
    }
}

/// What a request deserves.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Answer with this and do nothing else: 402 and how to pay, 409, 503, or the kept answer of an earlier attempt.
    Answer(Box<Response>),
    /// The payment is good and reserved for this request. Work, then settle; dropped, it is free to be used again.
    Verified(Box<VerifiedPayment>),
}

impl Gate {
    /// A gate that asks `facilitator` and remembers payments in this process.
    pub fn new(facilitator: FacilitatorClient) -> Self {
        Self { facilitator, reservations: Arc::new(MemoryReservations::default()), channels: None, escrow: None }
    }

    /// Shares reservations with other copies of the service.
    pub fn reservations(mut self, reservations: Arc<dyn Reservations>) -> Self {
        self.reservations = reservations;
        self
    }

    /// Also sells through payment channels: what [`Channels::offer`] makes of an offer can be paid.
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Also sells for money that is held while the handler works: what [`Escrow::offer`] makes of an offer can be paid.
    pub fn escrow(mut self, escrow: Escrow) -> Self {
        self.escrow = Some(escrow);
        self
    }

    /// What is offered now.
    fn dated(&self, offers: &Offers) -> Offers {
        self.escrow.as_ref().map_or_else(|| offers.clone(), |escrow| escrow.with_deadlines(offers))
    }

    /// Who settles payments of this scheme, and who keeps them apart.
    fn backend(&self, scheme: Option<Scheme>, payload: &PaymentPayload) -> Result<(Backend, Arc<dyn Reservations>), Reason> {
        let no_match = || Reason::Other("No matching payment requirements".into());
        match (scheme, &self.channels) {
            (Some(Scheme::BatchSettlement), Some(channels)) => {
                let turn = Arc::new(channels.turn(payload).map_err(|_| Reason::BatchPayloadType)?);
                Ok((Backend::Channel(turn.clone()), turn))
            }
            (Some(Scheme::AuthCapture), _) if self.escrow.is_none() => Err(no_match()),
            (Some(scheme), _) => {
                let backend = Backend::of(scheme, &self.facilitator).ok_or_else(no_match)?;
                Ok((backend, self.reservations.clone()))
            }
            (None, _) => Err(no_match()),
        }
    }

    /// Judges the payment in `headers` for `offers`. One of the flow `escrow` is held when this returns, and has then to be settled or
    /// cancelled.
    #[tracing::instrument(name = "x402.check", skip_all, fields(url = offers.resource.url, payment))]
    pub async fn check(&self, headers: &HeaderMap, offers: &Offers) -> Outcome {
        let outcome = match self.try_check(headers, &self.dated(offers)).await {
            Ok(verified) => Outcome::Verified(Box::new(verified)),
            Err(response) => Outcome::Answer(response),
        };
        metrics::checked(&outcome);
        outcome
    }

    /// The wallet that signs in instead of paying, because it paid before: work for it, for nothing. `None` when there is none: then
    /// [`Self::check`]. See [`Extras::sign_in`].
    ///
    /// # Errors
    /// The response to give: 402 when the message is not good, 503 when it could not be looked up.
    pub async fn signed_in(&self, headers: &HeaderMap, offers: &Offers) -> Result<Option<Address>, Box<Response>> {
        if headers.contains_key(header::PAYMENT_SIGNATURE) {
            return Ok(None);
        }
        let wallet = offers.extras.signed_in(headers, offers, &*self.reservations).await.map_err(|failure| match failure {
            SignInFailure::Invalid(error) => {
                Box::new(answer::unpaid(headers, &self.dated(offers), Some(&Reason::Other(error.to_string()))))
            }
            SignInFailure::Store(error) => unavailable(&error),
        });
        metrics::signed_in(&wallet);
        wallet
    }

    async fn try_check(&self, headers: &HeaderMap, offers: &Offers) -> Result<VerifiedPayment, Box<Response>> {
        let refuse = |reason: Option<&Reason>| Box::new(answer::unpaid(headers, offers, reason));
        let Some(value) = headers.get(header::PAYMENT_SIGNATURE) else { return Err(refuse(None)) };
        let payload: PaymentPayload = header::decode(value.as_bytes()).map_err(|_| refuse(Some(&Reason::InvalidPayload)))?;
        let no_match = Reason::Other("No matching payment requirements".into());
        let requirements = find_matching(&offers.accepts, &payload).cloned().ok_or_else(|| refuse(Some(&no_match)))?;
        let requirements = as_taken(requirements, &payload.accepted);
        let backend = self.backend(Scheme::of(&requirements), &payload);
        let (backend, reservations) = backend.map_err(|reason| refuse(Some(&reason)))?;
        let refund = if let Backend::Channel(turn) = &backend { turn.acknowledgement() } else { None };
        if payload.extensions.is_some() {
            check_extension_echo(&offers.required(None, false), &payload)
                .map_err(|_| refuse(Some(&Reason::ExtensionEchoMismatch)))?;
        }
        let key = match &backend {
            Backend::Channel(turn) => turn.key().clone(),
            Backend::Facilitator(_) => payload.key().map_err(|_| refuse(Some(&Reason::InvalidPayload)))?,
        };
        tracing::Span::current().record("payment", tracing::field::display(key.nonce));
        let fingerprint = fingerprint(&payload, &requirements, offers);
        let id = offers.extras.payment_id(payload.extensions.as_ref()).map_err(|code| Box::new(answer::bad_request(code)))?;
        let id = id.map(|id| keccak256(format!("payment-identifier/{id}")));
        // A payment is verified as often as it is sent until it is spent, so it has one name, or it could fill the store with them.
        let named = keccak256(format!("payment-identifier/of/{}", key.digest()));
        let request = PaymentRequest { x402_version: V2, payment_payload: payload, payment_requirements: requirements };

        let unavailable = |error| unavailable(&error);
        let conflict = || Box::new(answer::id_taken());
        if let Some(name) = id
            && self.reservations.recall(name).await.map_err(unavailable)?.is_some_and(|known| known != fingerprint)
        {
            return Err(conflict());
        }
        if let Some(claim) = reservations.find(key.digest(), fingerprint).await.map_err(unavailable)? {
            return self.claimed(claim, (backend, reservations), key, request, headers, offers).await;
        }
        if let Some(escrow) = &self.escrow {
            escrow.check_deadline(&request.payment_requirements).map_err(|reason| refuse(Some(&reason)))?;
        }
        verify(&backend, &request, key.nonce, headers, offers).await?;
        if let Some(name) = id
            && (self.reservations.remember(named, name, REMEMBERED).await.map_err(unavailable)? != name
                || self.reservations.remember(name, fingerprint, REMEMBERED).await.map_err(unavailable)? != fingerprint)
        {
            return Err(conflict());
        }
        let claim = match reservations.reserve(key.digest(), fingerprint).await.map_err(unavailable)? {
            // Served in the meantime. Its answer is for this very request, or for nobody.
            Claim::Spent(served) => {
                let same = reservations.find(key.digest(), fingerprint).await.map_err(unavailable)?;
                same.unwrap_or_else(|| Claim::Spent(Box::new(Served { work: None, ..*served })))
            }
            claim => claim,
        };
        let verified = self.claimed(claim, (backend, reservations), key, request, headers, offers).await?;
        match refund {
            // Nothing is bought: there is no handler to call.
            Some(acknowledgement) => Err(Box::new(verified.respond(Json(acknowledgement).into_response()).await)),
            None => Ok(verified),
        }
    }

    /// Goes on from what the reservation says.
    async fn claimed(
        &self,
        claim: Claim,
        (backend, reservations): (Backend, Arc<dyn Reservations>),
        key: PaymentKey,
        request: PaymentRequest,
        headers: &HeaderMap,
        offers: &Offers,
    ) -> Result<VerifiedPayment, Box<Response>> {
        let named = offers.extras.payment_id(request.payment_payload.extensions.as_ref()).is_ok_and(|id| id.is_some());
        let (lease, kept) = match claim {
            Claim::Busy => return Err(Box::new(answer::try_again("this payment is being served"))),
            Claim::Spent(served) => {
                return Err(Box::new(match *served {
                    Served { receipt, work: Some(work) } if named => work.into_response(&receipt),
                    Served { receipt, .. } => answer::already_used(&receipt),
                }));
            }
            Claim::New(lease) => (lease, None),
            Claim::Resume(lease, kept) => (lease, Some(kept)),
        };
        let is_held = Scheme::of(&request.payment_requirements) == Some(Scheme::AuthCapture);
        let escrow = self.escrow.clone().filter(|_| is_held);
        // What is only held was not worked for, as far as anybody knows.
        let resumed = kept.is_some() && escrow.is_none();
        let settlement = Settlement {
            backend,
            escrow,
            _renewal: Renewal::of(reservations.clone(), lease),
            reservations,
            key,
            lease,
            request,
            kept: kept.map_or_else(Kept::default, |kept| *kept),
            headers: headers.clone(),
            offers: offers.clone(),
            keeps_answer: named,
        };
        match settlement.kept.work.clone() {
            Some(work) => Err(Box::new(deliver(settlement, work).await)),
            None => Ok(VerifiedPayment::new(settlement.hold().await.map_err(Box::new)?, resumed)),
        }
    }
}

async fn verify(
    backend: &Backend,
    request: &PaymentRequest,
    nonce: B256,
    headers: &HeaderMap,
    offers: &Offers,
) -> Result<(), Box<Response>> {
    match metrics::timed(Stage::Verify, nonce, backend.verify(request)).await {
        Ok(verdict) if verdict.is_valid => Ok(()),
        Ok(verdict) => {
            let reason = verdict.invalid_reason.unwrap_or(Reason::UnexpectedVerifyError);
            Err(Box::new(answer::unpaid(headers, &corrected(offers, verdict.extra), Some(&reason))))
        }
        Err(error) => {
            tracing::warn!(%error, "a payment could not be verified");
            Err(Box::new(answer::try_again("payments cannot be verified now; nothing was charged")))
        }
    }
}

fn unavailable(error: &super::ReservationError) -> Box<Response> {
    tracing::warn!(%error, "a payment could not be looked up");
    Box::new(answer::try_again("the server is overloaded; nothing was charged"))
}

/// The offers, with what tells a client from where its channel goes on.
fn corrected(offers: &Offers, told: Option<JsonMap>) -> Offers {
    let mut offers = offers.clone();
    let Some(told) = told else { return offers };
    for offer in &mut offers.accepts {
        let dynamic = Scheme::of(offer).map_or(&[][..], Scheme::dynamic_extra);
        let fields = told.iter().filter(|(key, _)| dynamic.contains(&key.as_str()));
        let fields: Vec<_> = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
        if !fields.is_empty() {
            offer.extra.get_or_insert_default().extend(fields);
        }
    }
    offers
}

/// Names this payment for this resource: whoever repeats it, repeats the same purchase with the same signature.
fn fingerprint(payload: &PaymentPayload, requirements: &PaymentRequirements, offers: &Offers) -> B256 {
    let parts = (&payload.payload, requirements, &offers.resource.url, offers.request);
    keccak256(serde_json::to_vec(&parts).expect("maps with text keys serialize"))
}
