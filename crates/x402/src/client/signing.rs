//! What is signed for an offer, scheme by scheme, and that the payer signed just that.

use alloy::primitives::U256;

use super::{
    PayError, Payer, SignedAuthorization, SignedPermit2, TransferRequest, offer::Demand, payer::now_secs, policy::Price,
};
use crate::{
    Eip2612Permit, Eip3009Payload, ExactPayload, JsonMap, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequirements, Permit2Payload,
    Scheme, TokenAmount, TransferMethod,
};

/// What a server must have left of a payment's life, in seconds.
const VALIDITY_MIN_SECS: u64 = 10;

/// How an offer is paid by this client. The first is liked best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Scheme `exact`.
    Exact(TransferMethod),
}

impl Way {
    /// How `offer` is paid; `None` when this client cannot.
    pub(super) fn of(offer: &PaymentRequirements) -> Option<Self> {
        match Scheme::of(offer)? {
            Scheme::Exact => TransferMethod::of(offer).map(Self::Exact),
            Scheme::Upto | Scheme::BatchSettlement => None,
        }
    }

    /// How the token moves.
    pub(super) fn method(self) -> TransferMethod {
        match self {
            Self::Exact(method) => method,
        }
    }
}

/// A payment, signed and not sent yet.
pub(super) struct Signed {
    pub(super) payload: JsonMap,
    pub(super) permit: Option<Eip2612Permit>,
    /// Unix seconds after which it cannot settle any more.
    pub(super) valid_before: u64,
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
    let (payload, permit) = match price.way {
        Way::Exact(TransferMethod::Eip3009) => (authorize(payer, &transfer).await?, None),
        Way::Exact(TransferMethod::Permit2) => authorize_permit2(payer, &transfer, demand.sponsors_permit()).await?,
    };
    Ok(Signed { payload: payload.to_json(), permit, valid_before: payload.valid_before() })
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

async fn authorize_permit2<P: Payer>(
    payer: &P,
    transfer: &TransferRequest,
    sponsored: bool,
) -> Result<(ExactPayload, Option<Eip2612Permit>), PayError> {
    let SignedPermit2 { authorization, signature, permit } = payer.authorize_permit2(transfer, sponsored).await?;
    let permitted = &authorization.permitted;
    as_asked([
        (authorization.from == payer.address(), "from"),
        (authorization.spender == PERMIT2_EXACT_PROXY, "spender"),
        (authorization.witness.to == transfer.to, "to"),
        (permitted.token == transfer.token.asset, "token"),
        (permitted.amount == transfer.value, "amount"),
        (authorization.witness.valid_after.0 <= U256::from(now_secs()), "validAfter"),
        (ends_in_time(authorization.deadline, transfer), "deadline"),
    ])?;
    if let Some(permit) = &permit {
        as_asked([
            (permit.from == authorization.from, "from of the permit"),
            (permit.asset == transfer.token.asset, "asset of the permit"),
            (permit.spender == PERMIT2, "spender of the permit"),
            (permit.amount == transfer.value, "amount of the permit"),
            (permit.deadline.0 <= U256::from(transfer.valid_before_max), "deadline of the permit"),
        ])?;
    }
    Ok((ExactPayload::Permit2(Permit2Payload { signature, permit2_authorization: authorization }), permit))
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
