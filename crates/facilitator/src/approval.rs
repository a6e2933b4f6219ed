//! Carries a payer's approval of Permit2 to the chain (extension `erc20ApprovalGasSponsoring`): gives the payer coin for its gas, broadcasts it,
//! waits for it. Only then is the payment settled, like any other.
//!
//! A crash between any two of these loses nothing: the gift is a settlement of its own in the journal, known by the payer's nonce that the
//! approval uses, and so is made once; the approval is the payer's own transaction, which the chain takes once however often it is sent, and which every request for
//! the payment brings along.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
};
use x402::{Approve, Erc20Approval, PaymentRequest, Reason};

use crate::{
    Error,
    engine::Engine,
    settlement::{Call, Expected, Key, Method, Settlement, State},
    verify::{Invalid, Verifier},
};

/// What an approval may use: the official clients give 70,000.
const APPROVE_GAS_MAX: u64 = 100_000;
/// For the gift: a payer whose account runs code (EIP-7702) may spend some of it.
const GIFT_GAS: u64 = 50_000;
/// The approval is sent again this often while it is not mined.
const RESEND_EVERY: Duration = Duration::from_secs(1);
/// How often a node may refuse it: it may not know of the gift yet.
const REFUSALS_MAX: u32 = 3;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the operator gives to payers. They may keep it and spend it otherwise, so it has limits.
pub(crate) struct Sponsor {
    /// For one approval, in wei.
    max: U256,
    /// In 24 hours, by this instance.
    daily: U256,
    given: Mutex<(Instant, U256)>,
}

impl Sponsor {
    pub(crate) fn new(max: u128, daily: Option<u128>) -> Self {
        /// Approvals a day, unless the operator says otherwise.
        const DAILY: u128 = 100;
        let daily = U256::from(daily.unwrap_or_else(|| max.saturating_mul(DAILY)));
        Self { max: U256::from(max), daily, given: Mutex::new((Instant::now(), U256::ZERO)) }
    }

    /// Whether the day's limit lets `wei` be given, which then counts.
    fn give(&self, wei: U256) -> bool {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.0.elapsed() > DAY {
            *given = (Instant::now(), U256::ZERO);
        }
        let sum = given.1.saturating_add(wei);
        let is_within = sum <= self.daily;
        if is_within {
            given.1 = sum;
        }
        is_within
    }
}

/// A payer's signed transaction that approves Permit2, and nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    payer: Address,
    token: Address,
    approve: Approve,
    raw: Bytes,
}

fn refused<T>(reason: Reason, message: impl Into<String>) -> Result<Result<T, Invalid>, Error> {
    Ok(Err(Invalid { reason, message: Some(message.into()) }))
}

impl Verifier {
    /// The approval that came along, if this facilitator carries any: of Permit2, for this token, signed by the payer.
    pub(crate) fn approval_of(
        &self,
        payer: Address,
        token: Address,
        request: &PaymentRequest,
    ) -> Result<Option<Approval>, Reason> {
        if self.sponsor.is_none() {
            return Ok(None);
        }
        let extensions = request.payment_payload.extensions.as_ref();
        let Some(approval) = Erc20Approval::of(extensions).map_err(|_| Reason::Erc20ApprovalFormat)? else { return Ok(None) };
        let approve = approval.read(payer, token)?;
        Ok(Some(Approval { payer, token, approve, raw: approval.signed_transaction }))
    }

    /// Whether the chain would take the approval now, and what the payer must be given for it: in wei.
    pub(crate) async fn check_approval(&self, approval: &Approval, amount: U256) -> Result<Result<U256, Invalid>, Error> {
        let (Approval { payer, token, approve, .. }, provider) = (approval, &self.provider);
        let Some(sponsor) = &self.sponsor else {
            return refused(Reason::Permit2AllowanceRequired, "no approvals are carried here");
        };
        let flaws = [
            (approve.chain_id != self.chain_id, Reason::Erc20ApprovalTxFailed, "the approval is for another chain"),
            (!approve.value.is_zero(), Reason::Erc20ApprovalTxFailed, "the approval sends coin along"),
            (approve.gas_limit > APPROVE_GAS_MAX, Reason::Erc20ApprovalTxFailed, "the approval asks for more than 100000 gas"),
            (approve.amount < amount, Reason::Erc20ApprovalTxInvalidCalldata, "the approval is for less than the payment"),
        ];
        if let Some((_, reason, message)) = flaws.into_iter().find(|(is_flawed, ..)| *is_flawed) {
            return refused(reason, message);
        }
        let call = TransactionRequest::default().from(*payer).to(*token).input(approve_input(approval).into());
        let count = provider.get_transaction_count(*payer).into_future();
        let (count, balance, fee, gas) =
            tokio::try_join!(count, provider.get_balance(*payer).into_future(), base_fee(provider), async {
                Ok(provider.estimate_gas(call).await)
            })?;
        if count != approve.nonce {
            // Another request may have carried it a moment ago.
            let receipt = provider.get_transaction_receipt(approve.hash).await?;
            return match receipt {
                Some(receipt) if receipt.status() => Ok(Ok(U256::ZERO)),
                _ => refused(Reason::Erc20ApprovalTxFailed, format!("the approval must have the payer's next nonce, {count}")),
            };
        }
        match gas {
            Ok(gas) if gas > approve.gas_limit => {
                return refused(Reason::Erc20ApprovalTxFailed, format!("the approval needs {gas} gas"));
            }
            Ok(_) => {}
            Err(error) => match error.as_error_resp() {
                Some(response) => return refused(Reason::Erc20ApprovalTxFailed, response.message.to_string()),
                None => return Err(error.into()),
            },
        }
        if approve.max_fee_per_gas < fee {
            return refused(Reason::Erc20ApprovalTxFailed, format!("the approval must offer at least {fee} wei per gas"));
        }
        let gift = approve.cost().saturating_sub(balance);
        if gift > sponsor.max {
            let message = format!("the payer lacks {gift} wei for its approval, and at most {} are given", sponsor.max);
            return refused(Reason::Erc20ApprovalBroadcastFailed, message);
        }
        Ok(Ok(gift))
    }
}

/// What the approval calls, once more: its transaction was read before.
fn approve_input(approval: &Approval) -> Bytes {
    crate::fees::read(&approval.raw).map(|(call, _)| call.input).unwrap_or_default()
}

/// Of the newest block, in wei per gas.
async fn base_fee(provider: &DynProvider) -> alloy::transports::TransportResult<u128> {
    let block = provider.get_block(alloy::eips::BlockId::latest()).await?;
    Ok(block.and_then(|block| block.header.base_fee_per_gas).map_or(0, u128::from))
}

/// Has the approval mined, whatever of that is done already. An error of the outer kind is no refusal: ask again with the same payment.
pub(crate) async fn carry(engine: &Arc<Engine>, approval: &Approval, amount: U256) -> Result<Result<(), Invalid>, Error> {
    let carried = engine.stop.run_until_cancelled(carry_on(engine, approval, amount)).await;
    carried.unwrap_or(Err(Error::Busy))
}

async fn carry_on(engine: &Arc<Engine>, approval: &Approval, amount: U256) -> Result<Result<(), Invalid>, Error> {
    let gift = match engine.verifier.check_approval(approval, amount).await? {
        Ok(gift) => gift,
        Err(invalid) => return Ok(Err(invalid)),
    };
    if !gift.is_zero()
        && let Err(invalid) = give(engine, approval, gift).await?
    {
        return Ok(Err(invalid));
    }
    broadcast(engine, approval).await
}

/// Gives the payer what it lacks, once.
async fn give(engine: &Arc<Engine>, approval: &Approval, gift: U256) -> Result<Result<(), Invalid>, Error> {
    let Approval { payer, approve, .. } = approval;
    // One for each nonce of the payer's, whatever it signs for it: many approvals at once are worth no more than one.
    let (chain_id, nonce) = (engine.verifier.chain_id, U256::from(approve.nonce).into());
    let key = Key { chain_id, method: Method::Gas, token: Address::ZERO, payer: *payer, nonce };
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => {
            if !engine.verifier.sponsor.as_ref().is_some_and(|sponsor| sponsor.give(gift)) {
                return refused(Reason::Erc20ApprovalBroadcastFailed, "enough was given for approvals today");
            }
            let call = Call { to: *payer, input: Bytes::new(), gas: GIFT_GAS, value: gift };
            let (expected, signer) = (Expected::Success, None);
            let settlement =
                Settlement { key, payee: *payer, amount: gift, call, expected, signer, batchable: false, funds: None };
            engine.submit(settlement).await?.ok_or(Error::Busy)?
        }
    };
    match engine.outcome(entry).await?.state {
        State::Settled(_) => Ok(Ok(())),
        State::Sent | State::Again => Err(Error::Busy),
        State::Failed => refused(Reason::Erc20ApprovalBroadcastFailed, "the payer's account does not take coin for gas"),
    }
}

/// Sends the approval until it is mined.
async fn broadcast(engine: &Arc<Engine>, approval: &Approval) -> Result<Result<(), Invalid>, Error> {
    let Approval { payer, approve: Approve { hash, nonce, .. }, raw, .. } = approval;
    let (provider, limits) = (&engine.verifier.provider, &engine.limits);
    let deadline = Instant::now() + limits.confirm_timeout;
    let mut refusals = 0;
    while Instant::now() < deadline {
        let sent = provider.client().request::<_, B256>("eth_sendRawTransaction", (raw,)).await;
        if let Some(response) = sent.as_ref().err().and_then(|error| error.as_error_resp())
            && provider.get_transaction_by_hash(*hash).await?.is_none()
        {
            refusals += 1;
            if refusals >= REFUSALS_MAX {
                return refused(Reason::Erc20ApprovalBroadcastFailed, response.message.to_string());
            }
        }
        let again = Instant::now() + RESEND_EVERY;
        while Instant::now() < again {
            let receipt = provider.get_transaction_receipt(*hash).await?;
            match receipt {
                Some(receipt) if receipt.status() => return Ok(Ok(())),
                Some(_) => return refused(Reason::Erc20ApprovalTxFailed, "the approval reverted"),
                None => tokio::time::sleep(limits.poll).await,
            }
        }
        let count = provider.get_transaction_count(*payer).await?;
        if count > *nonce && provider.get_transaction_receipt(*hash).await?.is_none() {
            return refused(Reason::Erc20ApprovalTxFailed, "the payer used the approval's nonce for another transaction");
        }
    }
    Err(Error::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_in_a_day_than_the_operator_allows() {
        let sponsor = Sponsor::new(10, Some(25));
        let given: Vec<bool> = [10, 10, 10, 5, 1].map(|wei| sponsor.give(U256::from(wei))).into();
        assert_eq!(given, [true, true, false, true, false]);
        assert_eq!(Sponsor::new(u128::MAX, None).daily, U256::from(u128::MAX));
    }
}
