use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::B256;
use money::Usdc;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Journal, JournalError, PayError, Refusal,
    budget::{Limits, Period, Spending, Tally},
    channels::Hold,
    journal::Held,
    offer::{Demand, Version},
    payer::now_secs,
    reclaim::{self, Signed},
};
use crate::{DecodeError, PaymentKey, PaymentPayload, PaymentRequirements, Scheme, V2, auth_capture::Terms, header, v1};

/// Signed payments whose outcome is not known, at most.
pub(super) const OUTSTANDING_MAX: usize = 1024;
/// How far the chain's clock may be behind ours, in seconds.
const CLOCK_MARGIN_SECS: u64 = 60;

/// What is shown to the seller, in the version it asked in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "version 1, the small one, is rare")]
pub(crate) enum Proof {
    V1(v1::PaymentPayload),
    V2(PaymentPayload),
}

impl Proof {
    /// As transports without headers carry it.
    #[cfg(any(feature = "a2a", feature = "mcp"))]
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::V1(payment) => serde_json::json!(payment),
            Self::V2(payment) => serde_json::json!(payment),
        }
    }

    /// Name and value of the HTTP header that carries it.
    pub(super) fn header(&self) -> Result<(&'static str, String), DecodeError> {
        match self {
            Self::V1(payment) => Ok((header::X_PAYMENT, header::encode(payment)?)),
            Self::V2(payment) => Ok((header::PAYMENT_SIGNATURE, header::encode(payment)?)),
        }
    }
}

/// A signed payment, ready to be sent, again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) proof: Proof,
    /// Who asked for it.
    pub(crate) url: Url,
    pub(crate) requirement: PaymentRequirements,
    /// Unix seconds.
    pub(crate) valid_before: u64,
}

impl Payment {
    /// The demand it answers, with the one offer that was taken.
    pub(super) fn demand(&self) -> Demand {
        let (resource, extensions) = match &self.proof {
            Proof::V1(_) => (None, None),
            Proof::V2(payment) => (payment.resource.clone(), payment.extensions.clone()),
        };
        let version = Version::Two { resource: resource.unwrap_or_default(), extensions };
        Demand { offers: vec![self.requirement.clone()], error: None, version }
    }

    /// What it is called in logs: the nonce that the payer signed.
    pub(super) fn nonce(&self) -> Option<B256> {
        self.key().map(|key| key.nonce)
    }

    /// What the chain tells it from others by.
    pub(super) fn key(&self) -> Option<PaymentKey> {
        let (accepted, payload) = match &self.proof {
            Proof::V1(payment) => (self.requirement.clone(), payment.payload.clone()),
            Proof::V2(payment) => (payment.accepted.clone(), payment.payload.clone()),
        };
        let payment = PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None };
        payment.key().ok()
    }

    /// Where its money is held, if it is.
    pub(super) fn held(&self) -> Option<reclaim::Held> {
        let Proof::V2(payment) = &self.proof else { return None };
        let collect = payment.collect().ok().filter(|_| Scheme::of(&payment.accepted) == Some(Scheme::AuthCapture))?;
        let (terms, chain_id) = (Terms::of(&payment.accepted).ok()?, payment.accepted.network.chain_id()?);
        let (payer, expiry) = (collect.authorization.from, collect.pre_approval_expiry());
        let info = terms.payment(&payment.accepted, payer, expiry, collect.salt).ok()?;
        let escrow = terms.auth_capture_escrow;
        Some(reclaim::Held { escrow, id: info.hash(chain_id, escrow) })
    }

    /// The span of sending it.
    pub(super) fn span(&self) -> tracing::Span {
        let payment = self.nonce().map(tracing::field::display);
        tracing::info_span!("x402.send", host = self.url.host_str(), payment)
    }

    pub(super) fn may_settle(&self) -> bool {
        now_secs() <= self.valid_before.saturating_add(CLOCK_MARGIN_SECS)
    }
}

/// What was spent, and which signed payments may still settle: in memory, and on disk when there is a journal.
#[derive(Debug, Default)]
pub(super) struct Account {
    state: Mutex<State>,
    journal: Option<Journal>,
}

#[derive(Debug, Default)]
struct State {
    spent: Tally,
    under_way: usize,
    /// Without a journal only.
    abandoned: Vec<(B256, Payment)>,
    /// What was signed and not served, the latest last.
    signed: VecDeque<Signed>,
}

impl Account {
    pub(super) fn with(journal: Journal) -> Self {
        Self { journal: Some(journal), ..Self::default() }
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment or push, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spent(&self) -> Usdc {
        self.state().spent.all()
    }

    /// Takes a price off the budgets, in one step, so that concurrent requests cannot exceed them together.
    pub(super) fn reserve(&self, spending: &Spending, limits: &Limits) -> Result<(), PayError> {
        let mut state = self.state();
        state.abandoned.retain(|(_, payment)| payment.may_settle());
        let outstanding = state.abandoned.len() + state.under_way;
        if outstanding >= OUTSTANDING_MAX {
            return Err(PayError::TooManyOutstanding(outstanding));
        }
        Ok(state.spent.spend(spending, limits, Period::Client)?)
    }

    /// Whether a price could be taken off now.
    pub(super) fn check(&self, spending: &Spending, limits: &Limits) -> Result<(), Refusal> {
        self.state().spent.check(spending, limits, Period::Client)
    }

    /// Gives a price back that was reserved and for which nothing was sent.
    pub(super) fn give_back(&self, spending: &Spending) {
        self.state().spent.give_back(spending);
    }

    /// Keeps what may have to be given back.
    pub(super) fn sign(&self, signed: Signed) {
        let mut state = self.state();
        if state.signed.len() >= OUTSTANDING_MAX {
            state.signed.pop_front();
        }
        state.signed.push_back(signed);
    }

    /// Keys of what was signed and not served, or is held, and when it ends.
    pub(super) fn signed(&self) -> Vec<(PaymentKey, u64, Option<reclaim::Held>)> {
        self.state().signed.iter().map(|signed| (signed.key.clone(), signed.valid_before, signed.held)).collect()
    }

    /// Whoever takes it decides what it counts.
    pub(super) fn take_signed(&self, key: &PaymentKey) -> Option<Signed> {
        let mut state = self.state();
        let index = state.signed.iter().position(|signed| signed.key == *key)?;
        state.signed.remove(index)
    }

    /// What was served has cost what was signed, unless it was only held.
    fn served(&self, key: &PaymentKey) {
        self.state().signed.retain(|signed| signed.key != *key || signed.held.is_some());
    }

    /// A payment made for the same request before, if it may still settle. Reads the disk.
    pub(super) fn resume(self: &Arc<Self>, request: B256) -> Result<Option<UnderWay>, JournalError> {
        if let Some(journal) = &self.journal {
            let found = journal.take(request)?;
            return Ok(found.map(|(held, payment)| self.under_way(request, payment, Some(held))));
        }
        let mut state = self.state();
        state.abandoned.retain(|(_, payment)| payment.may_settle());
        let index = state.abandoned.iter().position(|(id, _)| *id == request);
        let found = index.map(|index| state.abandoned.swap_remove(index));
        drop(state);
        Ok(found.map(|(_, payment)| self.under_way(request, payment, None)))
    }

    /// Takes charge of a payment that is about to be sent. It is on disk when this returns.
    pub(super) fn begin(self: &Arc<Self>, request: B256, payment: Payment) -> Result<UnderWay, JournalError> {
        let held = self.journal.as_ref().map(|journal| journal.hold(request, &payment)).transpose()?;
        Ok(self.under_way(request, payment, held))
    }

    fn under_way(self: &Arc<Self>, request: B256, payment: Payment, held: Option<Held>) -> UnderWay {
        self.state().under_way += 1;
        UnderWay { account: self.clone(), request, payment, held, channel: None, corrected: false, repeated: false, ended: false }
    }

    /// Forgets a payment although it may still settle.
    pub(super) fn forget(&self, request: B256) -> Result<(), JournalError> {
        self.state().abandoned.retain(|(id, _)| *id != request);
        self.journal.as_ref().map_or(Ok(()), |journal| journal.forget(request))
    }
}

/// A payment being sent. Dropped without [`Self::done`], even by a cancelled future or by the end of the process, it waits for the same
/// request to come again.
#[derive(Debug)]
pub(crate) struct UnderWay {
    account: Arc<Account>,
    request: B256,
    pub(crate) payment: Payment,
    held: Option<Held>,
    /// The channel it is paid through: nobody else's turn before this ends.
    pub(crate) channel: Option<Hold>,
    /// Signed anew after the seller said from where to go on.
    pub(crate) corrected: bool,
    /// Not for the first time: what the seller has of it may be from before.
    pub(crate) repeated: bool,
    ended: bool,
}

impl UnderWay {
    /// Whether a seller that has served this payment must have served it to another request.
    pub(crate) fn is_misplaced(&self) -> bool {
        self.channel.is_some() && !self.repeated && !self.corrected
    }

    /// The payment served its purpose.
    pub(crate) fn done(mut self) {
        self.ended = true;
        if let Some(key) = self.payment.key() {
            self.account.served(&key);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.account.state();
        state.under_way -= 1;
        match self.held.take() {
            Some(held) if self.ended => held.remove(),
            Some(_) => {}
            None if self.ended => {}
            None => state.abandoned.push((self.request, self.payment.clone())),
        }
    }
}
