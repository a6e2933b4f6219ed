//! What payers owe by payments that are on their way. Each of them verifies alone; together they may be more than the payer has, and all but
//! the first would fail at our cost.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, U256};
use dashmap::DashMap;
use tokio::sync::Notify;

use crate::settlement::Key;

/// How long to wait for a payment to end before looking again all the same.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Payments of one payer that wait for its others to end. Each has a place among the requests that are worked on.
const WAITING_MAX: usize = 8;

/// Debts by token and payer, of this instance. Nothing is kept of who owes nothing and waits for nothing.
#[derive(Default)]
pub(crate) struct Owed(DashMap<(Address, Address), Debt>);

#[derive(Default)]
struct Debt {
    sum: U256,
    waiting: usize,
    ended: Arc<Notify>,
}

impl Debt {
    fn is_nothing(&self) -> bool {
        self.sum.is_zero() && self.waiting == 0
    }
}

/// A payment that waits until its payer owes less.
pub(crate) struct Waiting<'a> {
    owed: &'a Owed,
    of: (Address, Address),
    ended: Arc<Notify>,
}

impl Owed {
    /// By this payer, in this token.
    pub(crate) fn by(&self, token: Address, payer: Address) -> U256 {
        self.0.get(&(token, payer)).map_or(U256::ZERO, |debt| debt.sum)
    }

    /// Counts a payment, unless the payer's funds do not cover it beside the others. The first was tried and needs none.
    pub(crate) fn add(&self, key: &Key, draws: U256, funds: Option<U256>) -> bool {
        if draws.is_zero() {
            return true;
        }
        let mut debt = self.0.entry((key.token, key.payer)).or_default();
        let after = debt.sum.saturating_add(draws);
        if !debt.sum.is_zero() && funds.is_some_and(|funds| after > funds) {
            return false;
        }
        debt.sum = after;
        true
    }

    /// A payment has ended.
    pub(crate) fn less(&self, key: &Key, draws: U256) {
        if draws.is_zero() {
            return;
        }
        self.0.remove_if_mut(&(key.token, key.payer), |_, debt| {
            debt.sum = debt.sum.saturating_sub(draws);
            debt.ended.notify_waiters();
            debt.is_nothing()
        });
    }

    /// A place among those of the payer's that wait, if there is one left.
    pub(crate) fn wait(&self, token: Address, payer: Address) -> Option<Waiting<'_>> {
        let of = (token, payer);
        let mut debt = self.0.entry(of).or_default();
        if debt.waiting >= WAITING_MAX {
            return None;
        }
        debt.waiting += 1;
        Some(Waiting { owed: self, of, ended: debt.ended.clone() })
    }
}

impl Waiting<'_> {
    /// Returns when the payer may owe less.
    pub(crate) async fn change(&self) {
        let _ = tokio::time::timeout(WAIT_MAX, self.ended.notified()).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.owed.0.remove_if_mut(&self.of, |_, debt| {
            debt.waiting -= 1;
            debt.is_nothing()
        });
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::settlement::Method;

    #[tokio::test]
    async fn few_of_a_payer_wait_and_only_what_ends_of_its_own_wakes_them() {
        let [token, payer, other] = [1, 2, 3].map(Address::repeat_byte);
        let key = |payer| Key { chain_id: 1, method: Method::Eip3009, token, payer, nonce: B256::ZERO };
        let owed = Owed::default();
        [payer, other].iter().for_each(|payer| assert!(owed.add(&key(*payer), U256::ONE, None)));
        let waiting: Vec<_> = (0..WAITING_MAX).map_while(|_| owed.wait(token, payer)).collect();
        assert_eq!((waiting.len(), owed.wait(token, payer).is_none()), (WAITING_MAX, true));
        assert!(owed.wait(token, other).is_some(), "another payer is not in the way");
        let mut change = Box::pin(waiting[0].change());
        assert!(futures::poll!(&mut change).is_pending());
        owed.less(&key(other), U256::ONE);
        assert!(futures::poll!(&mut change).is_pending());
        owed.less(&key(payer), U256::ONE);
        assert!(futures::poll!(&mut change).is_ready());
        drop(change);
        drop(waiting);
        assert!(owed.0.is_empty());
    }

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
            prop_assert!(owed.0.is_empty());
        }
    }
}
