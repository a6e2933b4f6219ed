use std::sync::Arc;

use alloy::primitives::{B256, U256, keccak256};
use money::Usdc;
use tokio::runtime::Handle;
use url::Url;

use super::{
    ChannelError, Channels, DailyBudget, Hooks, Journal, PayError, Payer, Policy, Proposal, Receipt, Refusal,
    budget::Spending,
    channels::Hold,
    hooks::NoHooks,
    offer::Demand,
    outstanding::{Account, Payment, UnderWay},
    payer::now_secs,
    policy::Price,
    reclaim::Signed,
    signing::{self, Way},
};
use crate::{PaymentRequirements, Scheme, SettleResponse, TokenAmount};

/// Offers looked at, at most.
const OFFERS_MAX: usize = 64;

/// Whose money is spent, within which policy, and what was spent: all of paying but the transport. Clones share one account.
#[derive(Clone, Debug)]
pub struct Purse<P> {
    payer: P,
    policy: Arc<Policy>,
    pub(super) account: Arc<Account>,
    hooks: Arc<dyn Hooks>,
    channels: Option<Channels>,
}

impl<P: Payer> Purse<P> {
    /// Pays from `payer` within `policy`.
    pub fn new(payer: P, policy: Policy) -> Self {
        Self { payer, policy: Arc::new(policy), account: Arc::default(), hooks: Arc::new(NoHooks), channels: None }
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

    /// Also pays through channels, and likes that best. A deposit counts as spent when it is made, and what it pays for later does not
    /// count again.
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = Some(channels);
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
        let resumed = match account.journal() {
            None => account.resume(id)?,
            Some(_) => blocking(move || account.resume(id)).await?,
        };
        let Some(mut under_way) = resumed else { return Ok(None) };
        under_way.repeated = true;
        let offer = &under_way.payment.requirement;
        if let (Some(Scheme::BatchSettlement), Some(channels)) = (Scheme::of(offer), &self.channels) {
            under_way.channel = Some(channels.hold(self.payer.address(), offer).await?);
        }
        Ok(Some(under_way))
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
    #[tracing::instrument(name = "x402.pay", skip_all, fields(host = url.host_str(), payment))]
    pub(crate) async fn pay(&self, id: B256, demand: &Demand, url: &Url) -> Result<UnderWay, PayError> {
        let paid = self.try_pay(id, demand, url).await;
        match &paid {
            Ok(under_way) => {
                let nonce = under_way.payment.nonce().map(tracing::field::display);
                tracing::Span::current().record("payment", nonce);
            }
            Err(error) => self.hooks.on_failure(url, error),
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
        let is_payable =
            |offer: &&PaymentRequirements| self.channels.is_some() || Scheme::of(offer) != Some(Scheme::BatchSettlement);
        let offers: Vec<_> = demand.offers.iter().filter(is_payable).cloned().collect();
        let (offer, mut price) = self.policy.choose(&offers, &methods)?;
        let mut hold = None;
        if let (Way::Channel(_), Some(channels)) = (price.way, &self.channels) {
            let held = channels.hold(self.payer.address(), offer).await?;
            let deposit = held.deposit_for(offer, self.policy.max_per_payment)?;
            price.usdc =
                TokenAmount::from(U256::from(deposit)).to_usdc().ok_or(ChannelError::Offer("its deposit is too high"))?;
            hold = Some(held);
        }
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
        let payment = self.sign(demand, offer, &price, hold.as_mut(), url).await?;
        let (account, id) = (self.account.clone(), self.own(id));
        let mut under_way = match account.journal() {
            None => account.begin(id, payment)?,
            Some(_) => blocking(move || account.begin(id, payment)).await?,
        };
        reserved.signed = true;
        if let (None, Some(key)) = (&hold, under_way.payment.key()) {
            let (spending, day) = (reserved.spending.clone(), reserved.day.take());
            let held = under_way.payment.held();
            self.account.sign(Signed { key, valid_before: under_way.payment.valid_before, spending, day, held });
        }
        under_way.channel = hold;
        self.hooks.after_payment(&proposal);
        Ok(under_way)
    }

    async fn sign(
        &self,
        demand: &Demand,
        offer: &PaymentRequirements,
        price: &Price,
        hold: Option<&mut Hold>,
        url: &Url,
    ) -> Result<Payment, PayError> {
        let validity = self.policy.validity_max_secs;
        let signed = match hold {
            // For a channel the price is what has to be deposited.
            Some(hold) => hold.sign(&self.payer, offer, price, u128::from(price.usdc.base_units()), validity).await?,
            None => signing::sign(&self.payer, demand, offer, price, validity).await?,
        };
        let valid_before = signed.valid_before;
        let proof = demand.proof(offer, signed);
        proof.header()?;
        Ok(Payment { proof, url: url.clone(), requirement: offer.clone(), valid_before })
    }

    /// Takes the price off the day's budget, on disk.
    async fn reserve_day(&self, spending: &Spending) -> Result<Option<ReservedDay>, PayError> {
        let Some(budget) = self.policy.daily.clone().filter(|_| spending.price != Usdc::ZERO) else { return Ok(None) };
        let spending = spending.clone();
        let reserving = blocking(move || {
            let day = budget.reserve(&spending)?;
            Ok(ReservedDay { budget, spending, day })
        });
        reserving.await.map(Some)
    }

    /// The channel with whoever makes this demand, and the offer it is for.
    pub(crate) async fn channel(&self, demand: &Demand) -> Result<(Hold, PaymentRequirements), PayError> {
        let offer = demand.offers.iter().find(|offer| Scheme::of(offer) == Some(Scheme::BatchSettlement));
        let (Some(offer), Some(channels)) = (offer, &self.channels) else {
            return Err(ChannelError::Offer("the seller has no channels, or this client has none").into());
        };
        Ok((channels.hold(self.payer.address(), offer).await?, offer.clone()))
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

/// What was taken off a day's budget.
#[derive(Debug)]
pub(super) struct ReservedDay {
    budget: Arc<DailyBudget>,
    spending: Spending,
    day: u64,
}

impl ReservedDay {
    /// Gives `price` of it back in the background. A process that ends before has spent a little less than it says.
    pub(super) fn give_back(mut self, price: Usdc) {
        self.spending.price = price;
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn_blocking(move || {
            if let Err(error) = self.budget.give_back(&self.spending, self.day) {
                tracing::warn!(%error, "a price that was not paid still counts today");
            }
        });
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.signed {
            return;
        }
        self.account.give_back(&self.spending);
        if let Some(day) = self.day.take() {
            day.give_back(self.spending.price);
        }
    }
}

/// Runs what waits for a disk where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
