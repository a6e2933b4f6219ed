//! Whether a deposit, a voucher or a refund would do, in the order and with the reasons of the official facilitator.

use alloy::primitives::{Address, Bytes, U256};
use x402::{
    Eip2612Permit, Erc20Approval, Erc6492Signature, PERMIT2, PaymentRequest, Reason, Scheme, TokenDomain, TransferMethod,
    VerifyResponse,
    batch::{
        BATCH_CONTRACT, BatchPayload, ChannelConfig, ChannelState, DepositAuthorization, DepositPayload, ERC3009_COLLECTOR,
        Erc3009Deposit, PERMIT2_COLLECTOR, Permit2Deposit, Voucher, deposit_call,
    },
};

use super::{chain::Judge, settle::deposit_key};
use crate::{
    Error,
    approval::Approval,
    engine::Engine,
    token::{MULTICALL3, deploy_and_settle},
    verify::{Allowance, Invalid, Next, VALIDITY_MIN_SECONDS, now},
};

/// What a deposit may use, and what it may use when the payer's wallet is deployed on the way.
const DEPOSIT_GAS_MAX: u64 = 1_000_000;
const DEPLOY_GAS_MAX: u64 = 3_000_000;

/// Judges what a client sent.
pub(crate) async fn verify(engine: &Engine, request: &PaymentRequest) -> Result<VerifyResponse, Error> {
    let (payer, verdict) = match read(engine, request) {
        Err(reason) => (None, Err(reason.into())),
        Ok(payload) => {
            let verdict = match &payload {
                BatchPayload::Deposit(p) => {
                    let verdict = deposit(engine, p, request).await?.map(|deposit| deposit.before);
                    match engine.covers(&deposit_key(engine, p), U256::from(p.deposit.amount)).await? {
                        false if verdict.is_ok() => Err(Invalid { reason: Reason::BatchInsufficientBalance, ..Invalid::owes() }),
                        _ => verdict,
                    }
                }
                BatchPayload::Voucher(p) => voucher(engine, &p.channel_config, &p.voucher, request, false).await?,
                BatchPayload::Refund(p) => voucher(engine, &p.channel_config, &p.voucher, request, true).await?,
                BatchPayload::Claim { .. } | BatchPayload::Settle { .. } => Err(Reason::BatchPayloadType.into()),
            };
            (payload.channel_config().map(|config| config.payer), verdict)
        }
    };
    Ok(match verdict {
        Ok(state) => VerifyResponse { extra: Some(state.to_extra()), ..VerifyResponse::valid(payer.unwrap_or_default()) },
        Err(Invalid { reason, message }) => VerifyResponse { invalid_message: message, ..VerifyResponse::invalid(reason, payer) },
    })
}

/// The payload, when it is one of the scheme on our chain.
pub(super) fn read(engine: &Engine, request: &PaymentRequest) -> Result<BatchPayload, Reason> {
    let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
    if [requirements, accepted].iter().any(|terms| Scheme::of(terms) != Some(Scheme::BatchSettlement)) {
        return Err(Reason::BatchInvalidScheme);
    }
    if accepted.network != requirements.network {
        return Err(Reason::BatchNetworkMismatch);
    }
    if requirements.network.chain_id() != Some(engine.verifier.chain_id) {
        return Err(Reason::InvalidNetwork);
    }
    BatchPayload::from_json(&request.payment_payload.payload).map_err(|_| Reason::BatchPayloadType)
}

type Verdict<T> = Result<Result<T, Invalid>, Error>;

async fn voucher(
    engine: &Engine,
    config: &ChannelConfig,
    voucher: &Voucher,
    request: &PaymentRequest,
    is_refund: bool,
) -> Verdict<ChannelState> {
    if let Err(reason) = config.check(&engine.verifier.channels.chain, voucher.channel_id, &request.payment_requirements) {
        return Ok(Err(reason.into()));
    }
    if !is_signed(engine, config, voucher).await? {
        return Ok(Err(Reason::BatchVoucherSignature.into()));
    }
    let Some((state, _)) = engine.channel_state(voucher.channel_id, config.payer, config.token).await? else {
        return Ok(Err(Reason::BatchRpcReadFailed.into()));
    };
    let ceiling = voucher.max_claimable_amount;
    Ok(if state.balance == 0 {
        Err(Reason::BatchChannelNotFound.into())
    } else if ceiling > state.balance {
        Err(Reason::BatchCumulativeExceedsBalance.into())
    } else if ceiling < state.total_claimed || (ceiling == state.total_claimed && !is_refund) {
        Err(Reason::BatchCumulativeBelowClaimed.into())
    } else {
        Ok(state)
    })
}

/// By the key the channel names, or by its payer as the chain judges.
async fn is_signed(engine: &Engine, config: &ChannelConfig, voucher: &Voucher) -> Result<bool, Error> {
    let chain = &engine.verifier.channels.chain;
    if !config.payer_authorizer.is_zero() {
        return Ok(voucher.signer(chain) == Some(config.payer_authorizer));
    }
    let hash = chain.voucher_hash(voucher.channel_id, voucher.max_claimable_amount);
    engine.has_signed(config.payer, hash, &voucher.signature, Judge::Strict).await
}

/// A deposit that would go through.
pub(super) struct Depositable {
    /// The channel as it is now.
    pub(super) before: ChannelState,
    pub(super) next: Next,
}

/// How the money is taken.
struct Taking {
    collector: Address,
    data: Bytes,
    /// The payer's wallet that has to be deployed first.
    deploy: Option<Erc6492Signature>,
    /// What has to be carried first.
    approval: Option<Approval>,
}

pub(super) async fn deposit(engine: &Engine, payload: &DepositPayload, request: &PaymentRequest) -> Verdict<Depositable> {
    let (config, voucher) = (&payload.channel_config, &payload.voucher);
    if let Err(reason) = config.check(&engine.verifier.channels.chain, voucher.channel_id, &request.payment_requirements) {
        return Ok(Err(reason.into()));
    }
    let asked = TransferMethod::of(&request.payment_requirements);
    let is_asked = request.payment_requirements.extra_str("assetTransferMethod").is_some();
    let taking = match &payload.deposit.authorization {
        DepositAuthorization::Erc3009Authorization(_) if asked != Some(TransferMethod::Eip3009) => {
            Err(Reason::BatchPermit2Required.into())
        }
        DepositAuthorization::Permit2Authorization(_) if is_asked && asked != Some(TransferMethod::Permit2) => {
            Err(Reason::BatchErc3009Required.into())
        }
        DepositAuthorization::Erc3009Authorization(authorization) => by_eip3009(engine, payload, authorization, request).await?,
        DepositAuthorization::Permit2Authorization(authorization) => by_permit2(engine, payload, authorization, request).await?,
    };
    let taking = match taking {
        Ok(taking) => taking,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !is_signed(engine, config, voucher).await? {
        return Ok(Err(Reason::BatchVoucherSignature.into()));
    }
    let Some((before, holding)) = engine.channel_state(voucher.channel_id, config.payer, config.token).await? else {
        return Ok(Err(Reason::BatchRpcReadFailed.into()));
    };
    let amount = payload.deposit.amount;
    if let Err(invalid) = engine.verifier.check_minimum(U256::from(amount)) {
        return Ok(Err(invalid));
    }
    if holding < U256::from(amount) {
        return Ok(Err(Reason::BatchInsufficientBalance.into()));
    }
    if before.balance.checked_add(amount).is_none_or(|balance| voucher.max_claimable_amount > balance) {
        return Ok(Err(Reason::BatchCumulativeExceedsBalance.into()));
    }
    if voucher.max_claimable_amount <= before.total_claimed {
        return Ok(Err(Reason::BatchCumulativeBelowClaimed.into()));
    }
    if let Some(approval) = taking.approval {
        // What is not approved yet cannot be tried.
        let checked = engine.verifier.check_approval(&approval, U256::from(amount)).await?;
        return Ok(checked.map(|_| Depositable { before, next: Next::Approve(approval) }));
    }
    let input = deposit_call(config, amount, taking.collector, taking.data);
    let (to, input, gas) = match taking.deploy {
        None => (BATCH_CONTRACT, input, DEPOSIT_GAS_MAX),
        Some(wrapped) => (MULTICALL3, deploy_and_settle(wrapped, BATCH_CONTRACT, input), DEPLOY_GAS_MAX),
    };
    let call = engine.simulate(to, input, gas, Reason::BatchDepositSimulationFailed).await?;
    Ok(call.map(|call| Depositable { before, next: Next::Send { call, batchable: false } }))
}

/// The input of every call by which this very deposit may have been sent.
pub(super) fn calls_of(payload: &DepositPayload, request: &PaymentRequest) -> Vec<Bytes> {
    let DepositPayload { channel_config: config, deposit, .. } = payload;
    let of = |data| deposit_call(config, deposit.amount, deposit.authorization.collector(), data);
    match &deposit.authorization {
        DepositAuthorization::Erc3009Authorization(authorization) => match Erc6492Signature::parse(&authorization.signature) {
            Ok(Some(wrapped)) => {
                let call = of(authorization.collector_data(wrapped.inner.clone()));
                vec![call.clone(), deploy_and_settle(wrapped, BATCH_CONTRACT, call)]
            }
            _ => vec![of(authorization.collector_data(authorization.signature.clone()))],
        },
        DepositAuthorization::Permit2Authorization(authorization) => {
            let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).ok().flatten();
            vec![of(authorization.collector_data(permit.as_ref()))]
        }
    }
}

async fn by_eip3009(
    engine: &Engine,
    payload: &DepositPayload,
    authorization: &Erc3009Deposit,
    request: &PaymentRequest,
) -> Verdict<Taking> {
    let Some(token) = TokenDomain::of(&request.payment_requirements) else {
        return Ok(Err(Reason::BatchMissingEip712Domain.into()));
    };
    let now = U256::from(now());
    if authorization.valid_before.0 < now + U256::from(VALIDITY_MIN_SECONDS) {
        return Ok(Err(Reason::BatchValidBefore.into()));
    }
    if authorization.valid_after.0 > now {
        return Ok(Err(Reason::BatchValidAfter.into()));
    }
    let Ok(wrapped) = Erc6492Signature::parse(&authorization.signature) else {
        return Ok(Err(Reason::BatchReceiveSignature.into()));
    };
    let payer = payload.channel_config.payer;
    let inner = wrapped.as_ref().map_or_else(|| authorization.signature.clone(), |wrapped| wrapped.inner.clone());
    let deploy = match wrapped {
        Some(wrapped) if engine.code_is_empty(payer).await? => Some(wrapped),
        _ => None,
    };
    match &deploy {
        Some(wrapped) if !engine.verifier.factories.contains(&wrapped.factory) => {
            return Ok(Err(Reason::BatchFactoryNotAllowed.into()));
        }
        // The wallet is not there to be asked: the simulation tells.
        Some(_) => {}
        None => {
            let hash = authorization.signing_hash(payer, payload.voucher.channel_id, payload.deposit.amount, &token);
            if !engine.has_signed(payer, hash, &inner, Judge::Strict).await? {
                return Ok(Err(Reason::BatchReceiveSignature.into()));
            }
        }
    }
    Ok(Ok(Taking { collector: ERC3009_COLLECTOR, data: authorization.collector_data(inner), deploy, approval: None }))
}

async fn by_permit2(
    engine: &Engine,
    payload: &DepositPayload,
    authorization: &Permit2Deposit,
    request: &PaymentRequest,
) -> Verdict<Taking> {
    let (config, amount) = (&payload.channel_config, U256::from(payload.deposit.amount));
    let earliest = U256::from(now() + VALIDITY_MIN_SECONDS);
    let flaws = [
        (authorization.from != config.payer, Reason::BatchPermit2InvalidSignature),
        (authorization.spender != PERMIT2_COLLECTOR, Reason::BatchPermit2InvalidSpender),
        (authorization.permitted.token != config.token, Reason::BatchTokenMismatch),
        (authorization.permitted.amount.0 != amount, Reason::BatchPermit2AmountMismatch),
        (authorization.witness.channel_id != payload.voucher.channel_id, Reason::BatchChannelIdMismatch),
        (authorization.deadline.0 < earliest, Reason::BatchPermit2DeadlineExpired),
    ];
    if let Some((_, reason)) = flaws.into_iter().find(|(is_flawed, _)| *is_flawed) {
        return Ok(Err(reason.into()));
    }
    let hash = authorization.signing_hash(engine.verifier.chain_id);
    if !engine.has_signed(config.payer, hash, &authorization.signature, Judge::Permit2).await? {
        return Ok(Err(Reason::BatchPermit2InvalidSignature.into()));
    }
    let Allowance { permit, approval } = match engine.verifier.allowance(config.payer, config.token, request) {
        Ok(brought) => brought,
        Err(reason) => return Ok(Err(reason.into())),
    };
    if permit.as_ref().is_some_and(|permit| permit.amount.0 != amount) {
        return Ok(Err(Reason::BatchEip2612AmountMismatch.into()));
    }
    let is_short =
        permit.is_none() && engine.allowance(config.token, config.payer, PERMIT2).await?.is_none_or(|allowed| allowed < amount);
    if is_short && approval.is_none() {
        let brought = Erc20Approval::of(request.payment_payload.extensions.as_ref()).is_ok_and(|approval| approval.is_some());
        let reason = if brought { Reason::BatchErc20ApprovalUnavailable } else { Reason::BatchPermit2AllowanceRequired };
        return Ok(Err(reason.into()));
    }
    let approval = approval.filter(|_| is_short);
    let data = authorization.collector_data(permit.as_ref());
    Ok(Ok(Taking { collector: PERMIT2_COLLECTOR, data, deploy: None, approval }))
}
