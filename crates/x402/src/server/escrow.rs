//! The seller's side of the scheme `auth-capture`: the payer's money is held while the handler works.

use std::{fmt, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, Bytes},
    signers::Signer,
};

use super::{Offers, extras::now_secs};
use crate::{
    JsonMap, PaymentPayload, PaymentRequest, PaymentRequirements, Reason, Scheme, SettleResponse, SupportedResponse, TokenAmount,
    auth_capture::{AuthCapturePayload, CapturePayload, Terms, VoidPayload},
};

/// How long money is held unless told.
const HOLD: Duration = Duration::from_secs(30 * 60);

/// Sells for money that is held while the handler works, and captured when it succeeded. Clones share the key.
#[derive(Clone)]
pub struct Escrow {
    authorizer: Arc<dyn Signer + Send + Sync>,
    hold: Duration,
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escrow").field("authorizer", &self.authorizer.address()).field("hold", &self.hold).finish()
    }
}

/// Why the next step cannot be asked for. The money stays held.
#[derive(Debug, thiserror::Error)]
pub(super) enum EscrowError {
    #[error("the payment is not one of the scheme: {0}")]
    Payment(Reason),
    #[error("the key that signs captures did not: {0}")]
    Signer(#[from] alloy::signers::Error),
}

impl Escrow {
    /// With a key that says what is captured and what is given back. It owns nothing and needs no coin; whoever has it can have the money that
    /// is held paid to the payee, or given back, and nothing else. Keep it for as long as money is held.
    pub fn new(authorizer: impl Signer + Send + Sync + 'static) -> Self {
        Self { authorizer: Arc::new(authorizer), hold: HOLD }
    }

    /// How long money may be held; after that the payer takes it back by itself. A client may pay within the first half of it, so the other
    /// half must be longer than any handler runs and a capture takes, or work is done that nobody can charge any more. 30 minutes unless told.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// The same offer, held in the escrow of a facilitator that says so in `/supported`; `None` when it has none on that network.
    pub fn offer(&self, offer: PaymentRequirements, supported: &SupportedResponse) -> Option<PaymentRequirements> {
        let kind = supported.kind(Scheme::AuthCapture, &offer.network)?;
        Some(offer.held(kind.extra.as_ref()?, self.authorizer.address()))
    }

    /// The offers with the times by which what is paid now must be captured.
    pub(super) fn with_deadlines(&self, offers: &Offers) -> Offers {
        let mut offers = offers.clone();
        let deadline = now_secs().saturating_add(self.hold.as_secs());
        for offer in offers.accepts.iter_mut().filter(|offer| Scheme::of(offer) == Some(Scheme::AuthCapture)) {
            let extra = offer.extra.get_or_insert_default();
            // Nothing that was captured is given back later.
            extra.extend(["captureDeadline", "refundDeadline"].map(|key| (key.to_owned(), deadline.into())));
        }
        offers
    }

    /// Whether a payment leaves the time that a handler and a capture need: the client says by when it must be captured, since it repeats what
    /// an earlier answer said.
    pub(super) fn check_deadline(&self, taken: &PaymentRequirements) -> Result<(), Reason> {
        if Scheme::of(taken) != Some(Scheme::AuthCapture) {
            return Ok(());
        }
        let deadline = Terms::of(taken)?.capture_deadline;
        let least = now_secs().saturating_add(self.hold.as_secs() / 2);
        if deadline >= least { Ok(()) } else { Err(Reason::AuthCaptureDeadlineOrdering) }
    }

    /// What asks the facilitator to pay the payee `amount` and the payer the rest.
    pub(super) async fn capture(&self, held: &PaymentRequest, amount: TokenAmount) -> Result<PaymentRequest, EscrowError> {
        if amount == TokenAmount::ZERO {
            return self.void(held).await;
        }
        let Held { mut void, terms, chain_id } = self.held(held).await?;
        let payment = void.payment_info.clone();
        let mut capture = CapturePayload {
            amount,
            fee_amount: terms.fee(amount),
            fee_receiver: terms.fee_recipient,
            expected_capturable_amount: payment.max_amount,
            expected_refundable_amount: TokenAmount::ZERO,
            salt_nonce: void.salt_nonce,
            authorizer_signature: Bytes::new(),
            void_authorizer_signature: None,
            payment_info: payment,
        };
        let hash = capture.payment_info.capture_hash(chain_id, terms.auth_capture_escrow, &capture);
        capture.authorizer_signature = self.authorizer.sign_hash(&hash).await?.as_bytes().into();
        if amount < capture.payment_info.max_amount {
            capture.void_authorizer_signature = Some(std::mem::take(&mut void.authorizer_signature));
        }
        Ok(asking(held, &AuthCapturePayload::Capture(capture)))
    }

    /// What asks it to give all of it back.
    pub(super) async fn void(&self, held: &PaymentRequest) -> Result<PaymentRequest, EscrowError> {
        let void = self.held(held).await?.void;
        Ok(asking(held, &AuthCapturePayload::Void(void)))
    }

    async fn held(&self, request: &PaymentRequest) -> Result<Held, EscrowError> {
        let (offer, malformed) = (&request.payment_requirements, || EscrowError::Payment(Reason::AuthCapturePayloadFormat));
        let terms = Terms::of(offer).map_err(EscrowError::Payment)?;
        let collect = request.payment_payload.collect().map_err(|_| malformed())?;
        let (payer, expiry) = (collect.authorization.from, collect.pre_approval_expiry());
        let payment_info = terms.payment(offer, payer, expiry, collect.salt).map_err(EscrowError::Payment)?;
        let (Some(chain_id), Some(salt_nonce)) = (offer.network.chain_id(), collect.salt_nonce) else { return Err(malformed()) };
        let hash = payment_info.void_hash(chain_id, terms.auth_capture_escrow);
        let authorizer_signature = self.authorizer.sign_hash(&hash).await?.as_bytes().into();
        Ok(Held { void: VoidPayload { payment_info, salt_nonce, authorizer_signature }, terms, chain_id })
    }
}

struct Held {
    void: VoidPayload,
    terms: Terms,
    chain_id: u64,
}

fn asking(held: &PaymentRequest, payload: &AuthCapturePayload) -> PaymentRequest {
    let payment_payload = PaymentPayload { payload: payload.to_json(), ..held.payment_payload.clone() };
    PaymentRequest { payment_payload, ..held.clone() }
}

/// The offer as the client took it: what it repeats of an answer given before.
pub(super) fn as_taken(mut offer: PaymentRequirements, accepted: &PaymentRequirements) -> PaymentRequirements {
    if Scheme::of(&offer) != Some(Scheme::AuthCapture) {
        return offer;
    }
    let taken =
        |key: &str| accepted.extra.as_ref().and_then(|extra| extra.get(key)).cloned().map(|value| (key.to_owned(), value));
    offer.extra.get_or_insert_default().extend(Scheme::AuthCapture.dynamic_extra().iter().copied().filter_map(taken));
    offer
}

/// What a client is told when its money could not be given back: where it is, so that it can take it back by itself.
pub(super) fn not_given_back(mut failure: SettleResponse, deposit: &SettleResponse, payer: Address) -> SettleResponse {
    failure.payer.get_or_insert_with(|| payer.to_checksum(None));
    failure.transaction.clear();
    let extra: &mut JsonMap = failure.extra.get_or_insert_default();
    extra.insert("depositTransaction".into(), deposit.transaction.clone().into());
    extra.insert("depositAmount".into(), deposit.amount.map(|amount| amount.to_string()).into());
    failure
}
