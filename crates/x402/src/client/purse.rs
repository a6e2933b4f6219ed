use std::sync::Arc;

use alloy::primitives::{B256, keccak256};
use money::Usdc;
use tokio::runtime::Handle;
use url::Url;

use super::{
    DailyBudget, Hooks, Journal, PayError, Payer, Policy, Proposal, Receipt, Refusal,
    budget::Spending,
    hooks::NoHooks,
    offer::Demand,
    outstanding::{Account, Payment, UnderWay},
    payer::now_secs,
    policy::Price,
    signing,
};
use crate::{PaymentRequirements, SettleResponse};

/// Offers looked at, at most.
const OFFERS_MAX: usize = 64;

/// Whose money is spent, within which policy, and what was spent: all of paying but the transport. Clones share one account.
#[derive(Clone, Debug)]
pub struct Purse<P> {
    payer: P,
    policy: Arc<Policy>,
    account: Arc<Account>,
    hooks: Arc<dyn Hooks>,
}

impl<P: Payer> Purse<P> {
    /// Pays from `payer` within `policy`.
    pub fn new(payer: P, policy: Policy) -> Self {
        Self { payer, policy: Arc::new(policy), account: Arc::default(), hooks: Arc::new(NoHooks) }
    }

    /// Writes payments and receipts down, so that a request sends the same payment again also after a restart. Call it first: what was
    /// spent before is not carried over.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.account = Arc::new(Account::with(journal));
        self
    }

    /// Tells `hooks` what happens.
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Self {
        self.hooks = Arc::new(hooks);
        self
    }

    /// What was signed so far, settled or not.
    pub fn spent(&self) -> Usdc {
        self.account.spent()
    }

    /// Who pays.
    pub fn payer(&self) -> &P {
        &self.payer
    }

    /// What would become of each offer that `url` makes, in their order: its price, or why it would not be paid. Takes nothing off any
    /// budget and asks nobody for approval.
    pub async fn judge(&self, url: &Url, offers: &[PaymentRequirements]) -> Vec<Result<Usdc, PayError>> {
        let mut judged = Vec::new();
        for offer in offers.iter().take(OFFERS_MAX) {
            judged.push(self.judge_one(url.host_str().unwrap_or_default(), offer).await);
        }
        judged
    }

    async fn judge_one(&self, host: &str, offer: &PaymentRequirements) -> Result<Usdc, PayError> {
        self.policy.check_host(host)?;
        let price = self.policy.judge(offer, self.payer.methods())?;
        let spending = price.spending(host);
        self.account.check(&spending, &self.policy.limits)?;
        if let Some(daily) = self.policy.daily.clone() {
            blocking(move || daily.check(&spending)).await?;
        }
        Ok(price.usdc)
    }

    /// A payment made for the same request before, if it may still settle.
    pub(crate) async fn resume(&self, id: B256) -> Result<Option<UnderWay>, PayError> {
        let (account, id) = (self.account.clone(), self.own(id));
        if account.journal().is_none() {
            return Ok(account.resume(id)?);
        }
        Ok(blocking(move || account.resume(id)).await?)
    }

    /// Several payers may share a journal; none sends the payment of another.
    fn own(&self, id: B256) -> B256 {
        keccak256([self.payer.address().as_slice(), id.as_slice()].concat())
    }

    /// Forgets what was paid for a request.
    pub(crate) fn forget(&self, id: B256) -> Result<(), PayError> {
        Ok(self.account.forget(self.own(id))?)
    }

    /// Judges, reserves, has approved and signs, in this order. The payment is on disk when this returns, and was not sent.
    pub(crate) async fn pay(&self, id: B256, demand: &Demand, url: &Url) -> Result<UnderWay, PayError> {
        let paid = self.try_pay(id, demand, url).await;
        if let Err(error) = &paid {
            self.hooks.on_failure(url, error);
        }
        paid
    }

    async fn try_pay(&self, id: B256, demand: &Demand, url: &Url) -> Result<UnderWay, PayError> {
        let host = url.host_str().unwrap_or_default();
        self.hooks.on_payment_required(url, &demand.offers);
        self.policy.check_host(host)?;
        if demand.offers.len() > OFFERS_MAX {
            return Err(PayError::TooManyOffers { offered: demand.offers.len(), max: OFFERS_MAX });
        }
        let methods: Vec<_> = self.payer.methods().iter().copied().filter(|method| demand.methods().contains(method)).collect();
        let (offer, price) = self.policy.choose(&demand.offers, &methods)?;
        let spending = price.spending(host);
        self.account.reserve(&spending, &self.policy.limits)?;
        // Gives the price back when the future is dropped while a device or a person is asked to sign.
        let mut reserved = Reserved { account: &self.account, spending, day: None, signed: false };
        reserved.day = self.reserve_day(&reserved.spending).await?;
        let proposal = Proposal { url: url.clone(), price: price.usdc, requirement: offer.clone() };
        if let Some(approval) = self.policy.approval.as_ref().filter(|approval| approval.is_needed(price.usdc)) {
            approval.get(proposal.clone()).await?;
        }
        self.hooks.before_payment(&proposal).map_err(Refusal::Vetoed)?;
        let payment = self.sign(demand, offer, &price, url).await?;
        let (account, id) = (self.account.clone(), self.own(id));
        let under_way = match account.journal() {
            None => account.begin(id, payment)?,
            Some(_) => blocking(move || account.begin(id, payment)).await?,
        };
        reserved.signed = true;
        self.hooks.after_payment(&proposal);
        Ok(under_way)
    }

    async fn sign(&self, demand: &Demand, offer: &PaymentRequirements, price: &Price, url: &Url) -> Result<Payment, PayError> {
        let signed = signing::sign(&self.payer, demand, offer, price, self.policy.validity_max_secs).await?;
        let valid_before = signed.valid_before;
        let proof = demand.proof(offer, signed);
        proof.header()?;
        Ok(Payment { proof, url: url.clone(), requirement: offer.clone(), valid_before })
    }

    /// Takes the price off the day's budget, on disk.
    async fn reserve_day(&self, spending: &Spending) -> Result<Option<ReservedDay>, PayError> {
        let Some(budget) = self.policy.daily.clone() else { return Ok(None) };
        let spending = spending.clone();
        let reserving = blocking(move || {
            let day = budget.reserve(&spending)?;
            Ok(ReservedDay { budget, spending, day })
        });
        reserving.await.map(Some)
    }

    /// Keeps what a seller answered to a payment.
    pub(crate) async fn record(&self, payment: &Payment, settlement: Option<&SettleResponse>) {
        self.hooks.on_response(&payment.url, settlement);
        let Some(journal) = self.account.journal().cloned() else { return };
        let (url, requirement, settlement) = (payment.url.clone(), payment.requirement.clone(), settlement.cloned());
        let receipt = Receipt { at: now_secs(), url, requirement, settlement };
        if let Err(error) = blocking(move || journal.record(&receipt)).await {
            tracing::warn!(%error, "a receipt was not kept");
        }
    }

    /// Tells the hooks that a payment which was sent came to no good end.
    pub(crate) fn failed(&self, url: &Url, error: PayError) -> PayError {
        self.hooks.on_failure(url, &error);
        error
    }
}

struct Reserved<'a> {
    account: &'a Account,
    spending: Spending,
    day: Option<ReservedDay>,
    signed: bool,
}

struct ReservedDay {
    budget: Arc<DailyBudget>,
    spending: Spending,
    day: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.signed {
            return;
        }
        self.account.give_back(&self.spending);
        // A process that ends before this ran has spent a little less than it says.
        if let (Some(ReservedDay { budget, spending, day }), Ok(runtime)) = (self.day.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || {
                if let Err(error) = budget.give_back(&spending, day) {
                    tracing::warn!(%error, "a price that was not paid still counts today");
                }
            });
        }
    }
}

/// Runs what waits for a disk where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
