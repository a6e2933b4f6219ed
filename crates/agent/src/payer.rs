use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, Bytes},
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::{
    agent_wallet::{AgentWallet, IAgentWallet},
    signing::lane::{self, LanePayment, Slot},
    usdc::Usdc as Token,
};
use url::Url;
use x402::client::{Payer, PayerError, SignedAuthorization, TransferRequest};

/// An AgentWallet as an x402 payer: the operator's key signs within the wallet's lane, the wallet vouches for it on chain.
///
/// Each authorization takes a slot of the current period, which the token burns when it settles. Slots are handed out in order from the
/// first the chain has not burnt, so a process that starts again does not take one twice that settled; one that was signed and not yet
/// settled may be taken again, in which case only one of the two payments settles. Run one payer per operator.
#[derive(Debug)]
pub struct WalletPayer {
    provider: DynProvider,
    wallet: Address,
    operator: PrivateKeySigner,
    /// The next slot of every period that is not over, because payments of two periods may alternate.
    next: Mutex<HashMap<Period, u32>>,
}

const NODE_TIMEOUT: Duration = Duration::from_secs(30);

/// Epoch, lane and number of a period, as in [`Slot`].
type Period = (u32, u32, u32);

/// Why a wallet cannot pay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// The node did not answer.
    #[error("cannot read the wallet {wallet}: {source}; is the address right and the node on its chain?")]
    Unreadable {
        /// The wallet.
        wallet: Address,
        /// What the node said.
        #[source]
        source: alloy::contract::Error,
    },
    /// The key is not an operator's.
    #[error("{operator} is no operator of the wallet {wallet}: the owner adds it with addOperator")]
    NotOperator {
        /// The key's address.
        operator: Address,
        /// The wallet.
        wallet: Address,
    },
    /// The operator cannot pay by x402.
    #[error("the operator {operator} has no x402 lane: the owner opens one with setLane")]
    NoLane {
        /// The key's address.
        operator: Address,
    },
}

impl WalletPayer {
    /// A payer for `wallet`, whose operator `operator` is. Checks that it is one and has a lane.
    ///
    /// # Errors
    /// [`WalletError`], which says what the owner has to do.
    pub async fn connect(rpc_url: Url, wallet: Address, operator: PrivateKeySigner) -> Result<Self, WalletError> {
        let provider =
            ProviderBuilder::new().with_reqwest(rpc_url, |client| client.timeout(NODE_TIMEOUT).build().unwrap_or_default());
        let provider = provider.erased();
        let payer = Self { provider, wallet, operator, next: Mutex::default() };
        payer.lane().await?;
        Ok(payer)
    }

    /// The operator as the wallet knows it now, and its lane.
    async fn lane(&self) -> Result<(IAgentWallet::Operator, IAgentWallet::Lane), WalletError> {
        let (wallet, operator) = (self.wallet, self.operator.address());
        let contract = AgentWallet::new(wallet, &self.provider);
        let (known, lane) = (contract.operatorOf(operator), contract.laneOf(operator));
        let read = tokio::try_join!(known.call().into_future(), lane.call().into_future());
        let (known, lane) = read.map_err(|source| WalletError::Unreadable { wallet, source })?;
        if known.lane == 0 {
            return Err(WalletError::NotOperator { operator, wallet });
        }
        if lane.token.is_zero() {
            return Err(WalletError::NoLane { operator });
        }
        Ok((known, lane))
    }

    /// The next slot of `first`'s period that was not handed out. Forgets the periods before the one that is `running`.
    fn next_slot(&self, first: Slot, running: u32) -> u32 {
        let mut next = self.next.lock().expect("nothing panics while it is held");
        next.retain(|&(_, _, period), _| period >= running);
        let next = next.entry((first.epoch, first.lane, first.period)).or_insert(first.slot);
        let slot = *next;
        *next = slot.saturating_add(1);
        slot
    }

    /// Takes the next slot of the period that is neither handed out nor burnt. `None` when the period has no more.
    async fn take_slot(&self, first: Slot, running: u32, slots: u32, token: Address) -> Result<Option<Slot>, PayerError> {
        let token = Token::new(token, &self.provider);
        loop {
            let slot = Slot { slot: self.next_slot(first, running), ..first };
            if slot.slot >= slots {
                return Ok(None);
            }
            let burnt = token.authorizationState(self.wallet, slot.nonce()).call().await;
            if !burnt.map_err(|error| PayerError::Signer(error.into()))? {
                return Ok(Some(slot));
            }
        }
    }
}

impl Payer for WalletPayer {
    fn address(&self) -> Address {
        self.wallet
    }

    async fn authorize(&self, transfer: &TransferRequest) -> Result<SignedAuthorization, PayerError> {
        let refused = |why: String| PayerError::Refused(why);
        let (operator, lane) = self.lane().await.map_err(|error| PayerError::Signer(error.into()))?;
        let value = transfer.value.to_usdc().ok_or_else(|| refused("the amount is more than any wallet pays".into()))?;
        let payment_max = lane.paymentMax.to::<u64>();
        if operator.frozen {
            return Err(refused("the operator is frozen; the owner can unfreeze it".into()));
        }
        if transfer.token.asset != lane.token {
            return Err(refused(format!("the lane pays in {} only", lane.token)));
        }
        if value.base_units() > payment_max {
            let max = money::Usdc::from_base_units(payment_max);
            return Err(refused(format!("{value} USDC is more than the lane's {max} USDC per payment")));
        }
        let period_seconds = u64::from(lane.periodSeconds);
        let now = now();
        let valid_before =
            lane::valid_before(now, transfer.valid_before_max, period_seconds).filter(|end| *end >= transfer.valid_before_min);
        let valid_before = valid_before.and_then(|end| u32::try_from(end).ok());
        let valid_before = valid_before
            .ok_or_else(|| refused("the lane's period ends too soon for this payment; try again in a minute".into()))?;
        let period = valid_before / lane.periodSeconds;
        let first = Slot { epoch: operator.epoch, period, lane: operator.lane, slot: 0 };
        let slots = lane.paymentsPerPeriod.to::<u32>();
        let running = u32::try_from(now / period_seconds).unwrap_or(u32::MAX);
        let slot = self.take_slot(first, running, slots, lane.token).await?;
        let slot = slot.ok_or_else(|| {
            refused(format!(
                "the lane's {slots} payments of this period are used up; the next begins in at most {period_seconds} s"
            ))
        })?;
        let payment = LanePayment { wallet: self.wallet, to: transfer.to, value, valid_before, slot };
        let authorization = payment.authorization();
        let hash = authorization.signing_hash(&transfer.token);
        let signature = self.operator.sign_hash_sync(&hash).map_err(|error| PayerError::Signer(error.into()))?;
        let signature = payment
            .signature(transfer.token.separator(), &signature)
            .ok_or_else(|| refused("the amount does not fit a lane".into()))?;
        Ok(SignedAuthorization { authorization, signature: Bytes::from(signature) })
    }
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_slot_is_handed_out_twice_when_two_periods_alternate() {
        let provider = ProviderBuilder::new().connect_http("http://127.0.0.1:1".parse().expect("it is a URL")).erased();
        let operator = PrivateKeySigner::random();
        let payer = WalletPayer { provider, wallet: Address::ZERO, operator, next: Mutex::default() };
        let first = |period| Slot { epoch: 1, period, lane: 1, slot: 0 };
        let slots = [7, 8, 7, 8, 7].map(|period| payer.next_slot(first(period), 7));
        assert_eq!(slots, [0, 0, 1, 1, 2]);
        assert_eq!(payer.next_slot(first(8), 8), 2);
        assert_eq!(payer.next.lock().expect("nothing panicked").len(), 1, "a period that is over is forgotten");
    }
}
