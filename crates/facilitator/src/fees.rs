//! What gas costs now, and what a replacement must offer.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::{eip1559::Eip1559Estimation, eip2718::Decodable2718},
    providers::{DynProvider, Provider},
};

use crate::{Error, settlement::Call};

/// An estimate allows for twice the base fee, so it is good for some blocks.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Older ones are renewed while nobody waits for it.
const AGE_GOOD: Duration = Duration::from_secs(1);

/// The most to offer per gas unless the operator says otherwise, in wei: several times what is paid on a busy day.
pub(crate) fn cap(chain_id: u64) -> u128 {
    const GWEI: u128 = 1_000_000_000;
    match chain_id {
        // Ethereum
        1 => 100 * GWEI,
        // Optimism, Base, Arbitrum
        10 | 8453 | 42161 => 5 * GWEI,
        // Polygon
        137 => 2_000 * GWEI,
        // Test chains, where it buys nothing, and those that nobody told us about
        _ => 500 * GWEI,
    }
}

/// Wei per gas.
pub(crate) type Fees = Eip1559Estimation;

pub(crate) struct FeeOracle {
    provider: DynProvider,
    /// The most that is ever offered, in wei per gas.
    cap: u128,
    /// As the node said.
    known: Mutex<Option<(Instant, Fees)>>,
    /// Somebody is asking ahead of time.
    renewing: AtomicBool,
}

impl FeeOracle {
    pub(crate) fn new(provider: DynProvider, cap: u128) -> Self {
        Self { provider, cap, known: Mutex::new(None), renewing: AtomicBool::new(false) }
    }

    /// What to offer now. Beyond the cap nothing is offered: what it does not pay for waits.
    pub(crate) async fn now(&self) -> Result<Fees, Error> {
        match self.known() {
            Some((asked, fees)) if asked.elapsed() < AGE_MAX => Ok(self.capped(fees)),
            _ => self.ask().await,
        }
    }

    /// Asks the node ahead of time.
    pub(crate) async fn renew(&self) {
        if self.known().is_some_and(|(asked, _)| asked.elapsed() < AGE_GOOD) || self.renewing.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.ask().await {
            tracing::warn!(%error, "the price of gas cannot be read");
        }
        self.renewing.store(false, Ordering::Relaxed);
    }

    /// What the node says now.
    pub(crate) async fn ask(&self) -> Result<Fees, Error> {
        let fees = self.provider.estimate_eip1559_fees().await?;
        *self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), fees));
        Ok(self.capped(fees))
    }

    /// Whether what was offered last would be mined now. What was not asked yet is not refused.
    pub(crate) fn affordable(&self) -> Result<(), Error> {
        let Some((_, Fees { max_fee_per_gas, max_priority_fee_per_gas: tip })) = self.known() else { return Ok(()) };
        // An estimate allows for twice the base fee.
        let asked = max_fee_per_gas.saturating_sub(tip) / 2;
        if asked < self.cap { Ok(()) } else { Err(Error::GasPrice { asked, cap: self.cap }) }
    }

    fn known(&self) -> Option<(Instant, Fees)> {
        *self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn capped(&self, fees: Fees) -> Fees {
        let max_fee_per_gas = fees.max_fee_per_gas.min(self.cap);
        Fees { max_fee_per_gas, max_priority_fee_per_gas: fees.max_priority_fee_per_gas.min(max_fee_per_gas) }
    }

    /// What to offer for a transaction that was sent with `sent` and is not mined: what is asked for now, and at least a quarter more than
    /// before, because nodes refuse less than a tenth. `None` when the cap does not allow it.
    pub(crate) fn replacement(&self, sent: Fees, now: Fees) -> Option<Fees> {
        let more = |wei: u128| wei.saturating_add(wei / 4).saturating_add(1);
        let wanted = Fees {
            max_fee_per_gas: more(sent.max_fee_per_gas).max(now.max_fee_per_gas),
            max_priority_fee_per_gas: more(sent.max_priority_fee_per_gas).max(now.max_priority_fee_per_gas),
        };
        let capped = self.capped(wanted);
        let is_enough = |new: u128, old: u128| new > old.saturating_add(old / 10);
        (is_enough(capped.max_fee_per_gas, sent.max_fee_per_gas)
            && is_enough(capped.max_priority_fee_per_gas, sent.max_priority_fee_per_gas))
        .then_some(capped)
    }
}

/// What a raw transaction calls, and what it offers.
pub(crate) fn read(raw: &[u8]) -> Option<(Call, Fees)> {
    let envelope = TxEnvelope::decode_2718(&mut &*raw).ok()?;
    let call = Call { to: envelope.to()?, input: envelope.input().clone(), gas: envelope.gas_limit(), value: envelope.value() };
    let max_fee_per_gas = envelope.max_fee_per_gas();
    Some((call, Fees { max_fee_per_gas, max_priority_fee_per_gas: envelope.max_priority_fee_per_gas()? }))
}

#[cfg(test)]
mod tests {
    use alloy::providers::ProviderBuilder;

    use super::*;

    #[test]
    fn nothing_is_begun_that_the_cap_does_not_pay_for() {
        let provider = ProviderBuilder::new().connect_http("http://127.0.0.1:1".parse().expect("a URL")).erased();
        let oracle = FeeOracle::new(provider, 1_000);
        assert!(oracle.affordable().is_ok(), "nobody asked yet");
        for (base_fee, affordable) in [(999, true), (1_000, false), (9_000, false)] {
            let fees = Fees { max_fee_per_gas: 2 * base_fee + 7, max_priority_fee_per_gas: 7 };
            *oracle.known.lock().expect("not poisoned") = Some((Instant::now(), fees));
            assert_eq!(oracle.affordable().is_ok(), affordable, "{base_fee}");
        }
    }

    #[test]
    fn a_replacement_is_one_that_nodes_accept_and_never_above_the_cap() {
        let provider = ProviderBuilder::new().connect_http("http://127.0.0.1:1".parse().expect("a URL")).erased();
        let oracle = FeeOracle::new(provider, 1_000);
        let fees = |max_fee_per_gas, max_priority_fee_per_gas| Fees { max_fee_per_gas, max_priority_fee_per_gas };
        assert_eq!(oracle.replacement(fees(100, 1), fees(100, 1)), Some(fees(126, 2)));
        assert_eq!(oracle.replacement(fees(100, 1), fees(500, 9)), Some(fees(500, 9)), "as much as is asked for now");
        assert_eq!(oracle.replacement(fees(850, 10), fees(0, 0)), Some(fees(1_000, 13)));
        assert_eq!(oracle.replacement(fees(950, 10), fees(9_000, 90)), None, "1,000 is not a tenth more");
    }
}
