//! What is signed for an offer, scheme by scheme, and that the payer signed just that.

use alloy::primitives::{Address, B256, U256};
use serde::Serialize;
use serde_json::Value;

use super::{
    Allowance, HoldRequest, PayError, Payer, SignedAuthorization, SignedPermit2, Sponsored, TransferRequest, offer::Demand,
    payer::now_secs, policy::Price,
};
use crate::{
    Eip3009Payload, ExactPayload, JsonMap, PERMIT2, PaymentRequirements, Permit2Payload, Permit2Witness, Scheme, TokenAmount,
    TransferMethod, UptoWitness, Witness,
    auth_capture::{AuthCapturePayload, CollectPayload, Deployment, Terms, bound_salt},
};

/// What a server must have left of a payment's life, in seconds.
const VALIDITY_MIN_SECS: u64 = 10;

/// How an offer is paid by this client. The first is liked best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Scheme `batch-settlement`; deposits move the token so.
    Channel(TransferMethod),
    /// Scheme `exact`.
    Exact(TransferMethod),
    /// Scheme `upto`, settled by nobody but this facilitator.
    Upto { facilitator: Address },
    /// Scheme `auth-capture`, held in this escrow.
    Held(Deployment),
}

impl Way {
    /// How `offer` is paid; `None` when this client cannot.
    pub(super) fn of(offer: &PaymentRequirements) -> Option<Self> {
        match Scheme::of(offer)? {
            Scheme::Exact => TransferMethod::of(offer).map(Self::Exact),
            Scheme::Upto if TransferMethod::of(offer) == Some(TransferMethod::Permit2) => {
                offer.facilitator().map(|facilitator| Self::Upto { facilitator })
            }
            Scheme::Upto => None,
            Scheme::BatchSettlement => TransferMethod::of(offer).map(Self::Channel),
            // Whether an escrow may be trusted is for the policy to say.
            Scheme::AuthCapture => None,
        }
    }

    /// How the token moves.
    pub(super) fn method(self) -> TransferMethod {
        match self {
            Self::Exact(method) | Self::Channel(method) => method,
            Self::Upto { .. } => TransferMethod::Permit2,
            Self::Held(_) => TransferMethod::Eip3009,
        }
    }
}

/// A payment, signed and not sent yet.
pub(super) struct Signed {
    pub(super) payload: JsonMap,
    pub(super) allowance: Option<Allowance>,
    /// Unix seconds after which it cannot settle any more.
    pub(super) valid_before: u64,
}

impl Signed {
    fn by_permit2<W: Serialize>((payload, allowance): (Permit2Payload<W>, Option<Allowance>)) -> Self {
        let valid_before = payload.permit2_authorization.deadline.0.saturating_to();
        let Ok(Value::Object(payload)) = serde_json::to_value(payload) else { unreachable!("structs of texts are JSON objects") };
        Self { payload, allowance, valid_before }
    }
}

/// Has `payer` sign what pays `offer`, to end within `validity_max_secs`.
pub(super) async fn sign<P: Payer>(
    payer: &P,
    demand: &Demand,
    offer: &PaymentRequirements,
    price: &Price,
    validity_max_secs: u64,
) -> Result<Signed, PayError> {
    let transfer = transfer(offer, price, validity_max_secs)?;
    let sponsored = demand.sponsored();
    match price.way {
        Way::Exact(TransferMethod::Eip3009) => {
            let payload = authorize(payer, &transfer).await?;
            Ok(Signed { payload: payload.to_json(), allowance: None, valid_before: payload.valid_before() })
        }
        Way::Exact(TransferMethod::Permit2) => {
            let witness = Permit2Witness { to: transfer.to, valid_after: TokenAmount::ZERO };
            Ok(Signed::by_permit2(authorize_permit2(payer, &transfer, witness, sponsored).await?))
        }
        Way::Channel(_) => Err(PayError::PayerMismatch("a channel's voucher is signed by who holds the channel")),
        Way::Upto { facilitator } => {
            let witness = UptoWitness { to: transfer.to, facilitator, valid_after: TokenAmount::ZERO };
            Ok(Signed::by_permit2(authorize_permit2(payer, &transfer, witness, sponsored).await?))
        }
        Way::Held(deployment) => hold(payer, offer, transfer, deployment).await,
    }
}

async fn hold<P: Payer>(
    payer: &P,
    offer: &PaymentRequirements,
    transfer: TransferRequest,
    deployment: Deployment,
) -> Result<Signed, PayError> {
    let judged = |_| PayError::PayerMismatch("the offer of auth-capture");
    let terms = Terms::of(offer).map_err(judged)?;
    let salt_nonce = B256::from(rand::random::<[u8; 32]>());
    let salt = bound_salt(terms.authorizer().map_err(judged)?, salt_nonce);
    let expiry = transfer.valid_before_max.min(terms.capture_deadline);
    let payment = terms.payment(offer, payer.address(), expiry, salt).map_err(judged)?;
    let request = HoldRequest { token: transfer.token, payment, deployment };
    let signature = payer.authorize_hold(&request).await?;
    let (authorization, _) = request.unsigned();
    let payload = CollectPayload { authorization, signature, salt, salt_nonce: Some(salt_nonce) };
    let payload = AuthCapturePayload::Collect(payload).to_json();
    // Until then it may be captured.
    Ok(Signed { payload, allowance: None, valid_before: terms.capture_deadline })
}

fn transfer(offer: &PaymentRequirements, price: &Price, validity_max_secs: u64) -> Result<TransferRequest, PayError> {
    let now = now_secs();
    let lifetime = offer.max_timeout_seconds.min(validity_max_secs);
    Ok(TransferRequest {
        token: price.domain.clone(),
        to: offer.pay_to_address().ok_or(PayError::PayerMismatch("the payee is not an EVM address"))?,
        value: offer.amount,
        valid_before_max: now.saturating_add(lifetime),
        valid_before_min: now.saturating_add(lifetime.min(VALIDITY_MIN_SECS)),
    })
}

async fn authorize<P: Payer>(payer: &P, transfer: &TransferRequest) -> Result<ExactPayload, PayError> {
    let SignedAuthorization { authorization, signature } = payer.authorize(transfer).await?;
    as_asked([
        (authorization.from == payer.address(), "from"),
        (authorization.to == transfer.to, "to"),
        (authorization.value == transfer.value, "value"),
        (authorization.valid_after.0 <= U256::from(now_secs()), "validAfter"),
        (ends_in_time(authorization.valid_before, transfer), "validBefore"),
    ])?;
    Ok(ExactPayload::Eip3009(Eip3009Payload { signature, authorization }))
}

async fn authorize_permit2<P: Payer, W: Witness>(
    payer: &P,
    transfer: &TransferRequest,
    witness: W,
    sponsored: Sponsored,
) -> Result<(Permit2Payload<W>, Option<Allowance>), PayError> {
    let SignedPermit2 { authorization, signature, allowance } =
        payer.authorize_permit2(transfer, witness.clone(), sponsored).await?;
    let permitted = &authorization.permitted;
    as_asked([
        (authorization.from == payer.address(), "from"),
        (authorization.spender == W::PROXY, "spender"),
        (authorization.witness == witness, "witness"),
        (permitted.token == transfer.token.asset, "token"),
        (permitted.amount == transfer.value, "amount"),
        (ends_in_time(authorization.deadline, transfer), "deadline"),
    ])?;
    let from = authorization.from;
    match &allowance {
        Some(Allowance::Permit(permit)) => as_asked([
            (permit.from == from, "from of the permit"),
            (permit.asset == transfer.token.asset, "asset of the permit"),
            (permit.spender == PERMIT2, "spender of the permit"),
            (permit.amount == transfer.value, "amount of the permit"),
            (permit.deadline.0 <= U256::from(transfer.valid_before_max), "deadline of the permit"),
        ])?,
        Some(Allowance::Approval(approval)) => {
            let approve = approval.read(from, transfer.token.asset);
            as_asked([
                (approve.is_ok(), "transaction of the approval"),
                (approve.is_ok_and(|approve| approve.chain_id == transfer.token.chain_id), "chain of the approval"),
            ])?;
        }
        None => {}
    }
    Ok((Permit2Payload { signature, permit2_authorization: authorization }, allowance))
}

/// The first thing that the payer signed otherwise than asked.
fn as_asked<const N: usize>(fields: [(bool, &'static str); N]) -> Result<(), PayError> {
    match fields.into_iter().find(|(same, _)| !same) {
        Some((_, field)) => Err(PayError::PayerMismatch(field)),
        None => Ok(()),
    }
}

fn ends_in_time(end: TokenAmount, transfer: &TransferRequest) -> bool {
    end.0 >= U256::from(transfer.valid_before_min) && end.0 <= U256::from(transfer.valid_before_max)
}
