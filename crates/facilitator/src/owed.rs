//! What payers owe by payments that are on their way. Each of them verifies alone; together they may be more than the payer has, and all but
//! the first would fail at our cost.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use dashmap::DashMap;
use tokio::sync::Notify;

use crate::settlement::Key;

/// How long to wait for a payment to end before looking again all the same.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Sums by token and payer, of this instance. Nothing is kept of who owes nothing.
#[derive(Default)]
pub(crate) struct Owed {
    sums: DashMap<(Address, Address), U256>,
    ended: Notify,
}

impl Owed {
    /// By this payer, in this token.
    pub(crate) fn by(&self, token: Address, payer: Address) -> U256 {
        self.sums.get(&(token, payer)).map_or(U256::ZERO, |sum| *sum)
    }

    /// Counts a payment, unless the payer's funds do not cover it beside the others. The first was tried and needs none.
    pub(crate) fn add(&self, key: &Key, draws: U256, funds: Option<U256>) -> bool {
        if draws.is_zero() {
            return true;
        }
        let mut sum = self.sums.entry((key.token, key.payer)).or_default();
        let after = sum.saturating_add(draws);
        if !sum.is_zero() && funds.is_some_and(|funds| after > funds) {
            return false;
        }
        *sum = after;
        true
    }

    /// A payment has ended.
    pub(crate) fn less(&self, key: &Key, draws: U256) {
        if draws.is_zero() {
            return;
        }
        self.sums.remove_if_mut(&(key.token, key.payer), |_, sum| {
            *sum = sum.saturating_sub(draws);
            sum.is_zero()
        });
        self.ended.notify_waiters();
    }

    /// Returns when somebody may owe less.
    pub(crate) async fn change(&self) {
        let _ = tokio::time::timeout(WAIT_MAX, self.ended.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::settlement::Method;

    proptest! {
        #[test]
        fn what_is_under_way_is_never_more_than_the_funds_and_ends_at_nothing(draws in collection::vec(1_u64..60, 1..40), ends in any::<u64>()) {
            let funds = U256::from(100);
            let [token, payer] = [1, 2].map(Address::repeat_byte);
            let key = Key { chain_id: 1, method: Method::Eip3009, token, payer, nonce: B256::ZERO };
            let (owed, mut under_way) = (Owed::default(), Vec::new());
            for (index, draws) in draws.into_iter().map(U256::from).enumerate() {
                let before = owed.by(token, payer);
                prop_assert_eq!(owed.add(&key, draws, Some(funds)), before + draws <= funds);
                if owed.by(token, payer) > before {
                    under_way.push(draws);
                }
                if ends >> (index % 64) & 1 == 1 && let Some(ended) = under_way.pop() {
                    owed.less(&key, ended);
                }
                prop_assert_eq!(owed.by(token, payer), under_way.iter().sum::<U256>());
            }
            under_way.into_iter().for_each(|ended| owed.less(&key, ended));
            prop_assert!(owed.sums.is_empty());
        }
    }
}
