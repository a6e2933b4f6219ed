//! Whether a payment could be put into the escrow now, in the order and with the reasons of the scheme's description.

use alloy::primitives::{Address, Bytes, U256};
use x402::{
    Erc6492Signature, PaymentRequest, Reason, Scheme, TokenDomain, VerifyResponse,
    auth_capture::{AuthCapturePayload, CLOCK_SKEW_SECS, CollectPayload, Deployment, PaymentInfo, Terms, bound_salt},
};

use crate::{
    Error,
    channels::Judge,
    engine::Engine,
    settlement::{Call, Key, Method},
    token::IToken,
    verify::{Invalid, now},
};

/// What putting money into the escrow may use.
const COLLECT_GAS_MAX: u64 = 1_000_000;

/// A payload of the scheme, on our chain, for our escrow and one of our signers.
pub(super) struct Asked {
    pub(super) payload: AuthCapturePayload,
    pub(super) terms: Terms,
    pub(super) deployment: Deployment,
    /// The key of the server's that signs captures and voids.
    pub(super) authorizer: Address,
}

/// Judges what a client sent.
pub(crate) async fn verify(engine: &Engine, request: &PaymentRequest) -> Result<VerifyResponse, Error> {
    let asked = match read(engine, request) {
        Ok(asked) => asked,
        Err(reason) => return Ok(VerifyResponse::invalid(reason, None)),
    };
    let payer = asked.payload.payer();
    let verdict = match &asked.payload {
        AuthCapturePayload::Collect(payload) => match collect(engine, &asked, payload, request).await? {
            Ok((payment, _)) if !engine.covers(&collect_key(engine, &payment, payload), payment.max_amount.0).await? => {
                Err(Invalid { reason: Reason::AuthCaptureInsufficientBalance, ..Invalid::owes() })
            }
            verdict => verdict.map(drop),
        },
        AuthCapturePayload::Capture(_) | AuthCapturePayload::Void(_) => Err(Reason::AuthCapturePayloadType.into()),
    };
    Ok(match verdict {
        Ok(()) => VerifyResponse::valid(payer),
        Err(Invalid { reason, message }) => {
            VerifyResponse { invalid_message: message, ..VerifyResponse::invalid(reason, Some(payer)) }
        }
    })
}

/// What identifies a payment into the escrow: what its payer signed.
pub(super) fn collect_key(engine: &Engine, payment: &PaymentInfo, payload: &CollectPayload) -> Key {
    let (chain_id, nonce) = (engine.verifier.chain_id, payload.authorization.nonce);
    Key { chain_id, method: Method::Eip3009, token: payment.token, payer: payment.payer, nonce }
}

/// What is asked, when it is something this facilitator does.
pub(super) fn read(engine: &Engine, request: &PaymentRequest) -> Result<Asked, Reason> {
    let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
    let payload = AuthCapturePayload::from_json(&request.payment_payload.payload)?;
    if [requirements, accepted].iter().any(|terms| Scheme::of(terms) != Some(Scheme::AuthCapture)) {
        return Err(Reason::AuthCaptureScheme);
    }
    if accepted.network != requirements.network {
        return Err(Reason::AuthCaptureNetworkMismatch);
    }
    if requirements.network.chain_id() != Some(engine.verifier.chain_id) {
        return Err(Reason::InvalidNetwork);
    }
    let deployment = engine.verifier.escrow.ok_or(Reason::UnsupportedScheme)?;
    let terms = Terms::of(requirements)?;
    if terms.auth_capture_escrow != deployment.escrow {
        return Err(Reason::AuthCaptureExtra);
    }
    if !engine.is_signer(terms.capture_authorizer) {
        return Err(Reason::AuthCaptureOperatorNotAdmitted);
    }
    let authorizer = terms.authorizer()?;
    Ok(Asked { payload, terms, deployment, authorizer })
}

/// The payment a client signed for, if it signed for these requirements. What the chain and the clock say of it is not looked at.
pub(super) fn payment(asked: &Asked, payload: &CollectPayload, request: &PaymentRequest) -> Result<PaymentInfo, Reason> {
    let (Asked { terms, deployment, authorizer, .. }, requirements) = (asked, &request.payment_requirements);
    let salt_nonce = payload.salt_nonce.ok_or(Reason::AuthCapturePayloadFormat)?;
    if payload.authorization.to != deployment.collector {
        return Err(Reason::AuthCaptureCollectorMismatch);
    }
    if payload.authorization.value != requirements.amount {
        return Err(Reason::AuthCaptureAmountMismatch);
    }
    let payment = terms.payment(requirements, payload.authorization.from, payload.pre_approval_expiry(), payload.salt)?;
    let chain_id = requirements.network.chain_id().ok_or(Reason::InvalidNetwork)?;
    if payment.nonce(chain_id, deployment.escrow) != payload.authorization.nonce {
        return Err(Reason::AuthCaptureNonceMismatch);
    }
    if bound_salt(*authorizer, salt_nonce) != payload.salt {
        return Err(Reason::AuthCaptureSaltBindingMismatch);
    }
    Ok(payment)
}

/// Whether there is time to put the money into the escrow, and to work for it.
fn check_times(terms: &Terms, payload: &CollectPayload, max_timeout_seconds: u64) -> Result<(), Reason> {
    let (now, expiry) = (now(), payload.pre_approval_expiry());
    let soon = now.saturating_add(CLOCK_SKEW_SECS);
    let checks = [
        (terms.capture_deadline > soon, Reason::AuthCaptureDeadlineExpired),
        (now.saturating_add(max_timeout_seconds) <= terms.capture_deadline, Reason::AuthCaptureDeadlineOrdering),
        (expiry <= terms.capture_deadline, Reason::AuthCaptureDeadlineOrdering),
        (expiry > soon, Reason::AuthCaptureAuthorizationExpired),
        // The collector says zero, whatever was signed.
        (payload.authorization.valid_after.0.is_zero(), Reason::AuthCaptureNotYetValid),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, reason)| Err(reason))
}

/// The call that puts the money into the escrow, if it would go through.
pub(super) async fn collect(
    engine: &Engine,
    asked: &Asked,
    payload: &CollectPayload,
    request: &PaymentRequest,
) -> Result<Result<(PaymentInfo, Call), Invalid>, Error> {
    let (requirements, deployment) = (&request.payment_requirements, &asked.deployment);
    let checked = check_times(&asked.terms, payload, requirements.max_timeout_seconds)
        .and_then(|()| payment(asked, payload, request))
        .and_then(|payment| Ok((payment, TokenDomain::of(requirements).ok_or(Reason::AuthCaptureExtra)?)));
    let (payment, token) = match checked {
        Ok(checked) => checked,
        Err(reason) => return Ok(Err(reason.into())),
    };
    if let Err(invalid) = engine.verifier.check_minimum(requirements.amount.0) {
        return Ok(Err(invalid));
    }
    let Ok(signature) = inner_signature(payload) else { return Ok(Err(Reason::AuthCaptureSignature.into())) };
    let is_wrapped = signature != payload.signature;
    if is_wrapped && engine.code_is_empty(payment.payer).await? {
        return Ok(Err(Reason::AuthCaptureFactoryNotAllowed.into()));
    }
    if !engine.has_signed(payment.payer, payload.signing_hash(&token), &signature, Judge::Strict).await? {
        return Ok(Err(Reason::AuthCaptureSignature.into()));
    }
    let input = payment.authorize_call(deployment.collector, signature);
    let tried = engine.try_as(payment.operator, deployment.escrow, input, COLLECT_GAS_MAX).await?;
    match tried {
        Ok(call) => Ok(Ok((payment, call))),
        Err(invalid) => Ok(Err(explain(engine, &payment, invalid).await?)),
    }
}

/// The signature as the token is to judge it, out of any wrapping.
pub(super) fn inner_signature(payload: &CollectPayload) -> Result<Bytes, x402::InvalidErc6492> {
    Ok(Erc6492Signature::parse(&payload.signature)?.map_or_else(|| payload.signature.clone(), |wrapped| wrapped.inner))
}

/// What the token does not say by itself.
async fn explain(engine: &Engine, payment: &PaymentInfo, invalid: Invalid) -> Result<Invalid, Error> {
    if invalid.reason != Reason::AuthCaptureSimulationFailed {
        return Ok(invalid);
    }
    let holding = engine.ask(payment.token, IToken::balanceOfCall { account: payment.payer }).await?;
    let is_short = holding.is_some_and(|holding| holding < U256::from(payment.max_amount.0));
    Ok(if is_short { Invalid { reason: Reason::AuthCaptureInsufficientBalance, ..invalid } } else { invalid })
}
