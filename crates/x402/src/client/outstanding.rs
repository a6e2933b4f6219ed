use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy::primitives::B256;
use money::Usdc;
use url::Url;

use super::{PayError, Policy, Refusal, payer::now_secs, policy::Price};
use crate::{PaymentRequirements, TransferMethod};

/// Signed payments whose outcome is not known, at most.
const OUTSTANDING_MAX: usize = 1024;
/// How far the chain's clock may be behind ours, in seconds.
const CLOCK_MARGIN_SECS: u64 = 60;

/// A signed payment, ready to be sent, again and again.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub(super) header: (&'static str, String),
    pub(super) url: Url,
    pub(super) requirement: PaymentRequirements,
    pub(super) valid_before: u64,
}

/// What was spent, and which signed payments may still settle.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    spent: Usdc,
    under_way: usize,
    abandoned: Vec<(B256, Payment)>,
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment or push, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spent(&self) -> Usdc {
        self.state().spent
    }

    /// Chooses an offer and takes its price off the budget, in one step, so that concurrent requests cannot exceed it together.
    pub(super) fn reserve<'a>(
        &self,
        policy: &Policy,
        offers: &'a [PaymentRequirements],
        methods: &[TransferMethod],
    ) -> Result<(&'a PaymentRequirements, Price), PayError> {
        let mut state = self.state();
        state.abandoned.retain(|(_, payment)| may_settle(payment));
        let outstanding = state.abandoned.len() + state.under_way;
        if outstanding >= OUTSTANDING_MAX {
            return Err(PayError::TooManyOutstanding(outstanding));
        }
        let (offer, price) = policy.choose(offers, state.spent, methods)?;
        let left = state.spent.checked_add(price.usdc);
        state.spent = left.ok_or(Refusal::BudgetExhausted { price: price.usdc, left: Usdc::ZERO })?;
        Ok((offer, price))
    }

    /// Gives a price back that was reserved and for which nothing was sent.
    pub(super) fn give_back(&self, price: Usdc) {
        let mut state = self.state();
        state.spent = state.spent.saturating_sub(price);
    }

    /// A payment made for the same request before, if it may still settle.
    pub(super) fn resume(self: &Arc<Self>, request: B256) -> Option<UnderWay> {
        let mut state = self.state();
        state.abandoned.retain(|(_, payment)| may_settle(payment));
        let index = state.abandoned.iter().position(|(id, _)| *id == request)?;
        let (_, payment) = state.abandoned.swap_remove(index);
        drop(state);
        Some(self.begin(request, payment))
    }

    /// Takes charge of a payment that is about to be sent.
    pub(super) fn begin(self: &Arc<Self>, request: B256, payment: Payment) -> UnderWay {
        self.state().under_way += 1;
        UnderWay { account: self.clone(), request, payment, settled: false }
    }

    /// Forgets a payment although it may still settle.
    pub(super) fn forget(&self, request: B256) {
        self.state().abandoned.retain(|(id, _)| *id != request);
    }
}

fn may_settle(payment: &Payment) -> bool {
    now_secs() <= payment.valid_before.saturating_add(CLOCK_MARGIN_SECS)
}

/// A payment being sent. Dropped without [`Self::done`], even by a cancelled future, it waits for the same request to come again.
#[derive(Debug)]
pub(super) struct UnderWay {
    account: Arc<Account>,
    request: B256,
    pub(super) payment: Payment,
    settled: bool,
}

impl UnderWay {
    /// The payment served its purpose.
    pub(super) fn done(mut self) -> PaymentRequirements {
        self.settled = true;
        self.payment.requirement.clone()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.account.state();
        state.under_way -= 1;
        if !self.settled {
            state.abandoned.push((self.request, self.payment.clone()));
        }
    }
}
