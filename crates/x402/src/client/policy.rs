use std::{future::Future, sync::Arc, time::Duration};

use alloy::primitives::Address;
use money::Usdc;

use super::{
    DailyBudget, HostPattern, Proposal, Refusal,
    approval::Approval,
    budget::{Limits, Spending},
    lists::{Lists, normal},
    payer::now_secs,
    signing::Way,
};
use crate::{
    Network, PaymentFlow, PaymentRequirements, Scheme, Token, TokenDomain, TransferMethod,
    auth_capture::{Deployment, Terms},
};

/// What may be paid. Every rule is checked before anything is signed, in this order, and the first that fails is the [`Refusal`]:
///
/// 1. the **host** that asks;
/// 2. of each offer the scheme, the **network**, the **token** with its domain, the **payee**, the **price of one payment**. The first
///    offer that passes is taken, one that settles after the work before one that settles in advance, one by EIP-3009 before one by
///    Permit2; when none passes, the one that came furthest is the reason;
/// 3. the **budgets of the client**: all, per host, per token. The price is taken off here, so that concurrent payments cannot exceed
///    them together;
/// 4. the **budgets of the day**, on disk: all, per host, per token;
/// 5. **approval**, last, so that nobody is asked about what is forbidden anyway.
///
/// Starts strict: 1 USDC per payment, 10 USDC in the life of the client, Circle's USDC only, any host, any payee, nobody is asked.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) max_per_payment: Usdc,
    pub(super) limits: Limits,
    pub(super) daily: Option<Arc<DailyBudget>>,
    hosts: Lists<HostPattern>,
    networks: Lists<Network>,
    payees: Lists<Address>,
    assets: Vec<Token>,
    denied_assets: Vec<(Network, Address)>,
    pub(super) approval: Option<Approval>,
    pub(super) validity_max_secs: u64,
    escrows: Vec<Deployment>,
    hold_max_secs: u64,
}

impl Default for Policy {
    fn default() -> Self {
        let budget = Usdc::from_base_units(10 * Usdc::ONE.base_units());
        Self {
            max_per_payment: Usdc::ONE,
            limits: Limits { all: budget, per_host: Usdc::MAX, per_asset: Usdc::MAX },
            daily: None,
            hosts: Lists::default(),
            networks: Lists::default(),
            payees: Lists::default(),
            assets: Vec::new(),
            denied_assets: Vec::new(),
            approval: None,
            validity_max_secs: 600,
            escrows: Vec::new(),
            hold_max_secs: 24 * 3600,
        }
    }
}

impl Policy {
    /// The most one payment may cost.
    pub fn max_per_payment(mut self, max: Usdc) -> Self {
        self.max_per_payment = max;
        self
    }

    /// The most all payments of one client may cost. What was signed counts until the client ends, paid or not: a signature that was sent
    /// can be used by whoever has it.
    pub fn budget(mut self, max: Usdc) -> Self {
        self.limits.all = max;
        self
    }

    /// The most one client may pay any one host.
    pub fn budget_per_host(mut self, max: Usdc) -> Self {
        self.limits.per_host = max;
        self
    }

    /// The most one client may pay in any one token.
    pub fn budget_per_asset(mut self, max: Usdc) -> Self {
        self.limits.per_asset = max;
        self
    }

    /// Also keeps to a budget of each day, which outlives the client and is shared with others.
    pub fn daily(mut self, budget: DailyBudget) -> Self {
        self.daily = Some(Arc::new(budget));
        self
    }

    /// Asks before a payment of more than `threshold` is signed, and takes no answer within `wait_max` for a no. Meanwhile the price is
    /// taken off the budgets.
    pub fn approve_above<F, Fut>(mut self, threshold: Usdc, wait_max: Duration, ask: F) -> Self
    where
        F: Fn(Proposal) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.approval = Some(Approval::new(threshold, wait_max, ask));
        self
    }

    /// Allows only hosts named by this call; without it every host is allowed.
    pub fn allow_host(mut self, host: impl Into<HostPattern>) -> Self {
        self.hosts.allow(host.into());
        self
    }

    /// Denies a host, even when it is allowed.
    pub fn deny_host(mut self, host: impl Into<HostPattern>) -> Self {
        self.hosts.deny(host.into());
        self
    }

    /// Allows only payees named by this call; without it every payee is allowed.
    pub fn allow_payee(mut self, payee: Address) -> Self {
        self.payees.allow(payee);
        self
    }

    /// Denies a payee, even when it is allowed.
    pub fn deny_payee(mut self, payee: Address) -> Self {
        self.payees.deny(payee);
        self
    }

    /// Allows only networks named by this call; without it every network with a known USDC is allowed.
    pub fn allow_network(mut self, network: Network) -> Self {
        self.networks.allow(network);
        self
    }

    /// Denies a network, even when it is allowed.
    pub fn deny_network(mut self, network: Network) -> Self {
        self.networks.deny(network);
        self
    }

    /// Allows a token besides Circle's USDC. It must have 6 decimals and be worth a dollar for the limits to mean anything: what an offer
    /// says of a token's decimals is not looked at.
    pub fn allow_asset(mut self, token: Token) -> Self {
        self.assets.push(token);
        self
    }

    /// Denies a token, USDC too, even when it is allowed.
    pub fn deny_asset(mut self, network: Network, token: Address) -> Self {
        self.denied_assets.push((network, token));
        self
    }

    /// The longest a signature may stay usable, in seconds, whatever the server asks for.
    pub fn validity_max_secs(mut self, secs: u64) -> Self {
        self.validity_max_secs = secs;
        self
    }

    /// Allows money to be held in this escrow while a seller works (scheme `auth-capture`); without it none is. All that may be captured
    /// counts as spent, until [`Purse::reclaim`](super::Purse::reclaim) finds that it was not.
    ///
    /// The escrow is trusted with the money: name only one whose code you know, with the collector that belongs to it.
    pub fn allow_escrow(mut self, deployment: Deployment) -> Self {
        self.escrows.push(deployment);
        self
    }

    /// The longest an escrow may hold money before it can be taken back, in seconds: a day unless told.
    pub fn hold_max_secs(mut self, secs: u64) -> Self {
        self.hold_max_secs = secs;
        self
    }

    /// Rule 1.
    pub(super) fn check_host(&self, host: &str) -> Result<(), Refusal> {
        if self.hosts.permit(|pattern| pattern.covers(host)) { Ok(()) } else { Err(Refusal::HostNotAllowed(normal(host))) }
    }

    /// Rule 2: the offer to take.
    pub(super) fn choose<'a>(
        &self,
        offers: &'a [PaymentRequirements],
        methods: &[TransferMethod],
    ) -> Result<(&'a PaymentRequirements, Price), Refusal> {
        let judged: Vec<_> = offers.iter().map(|offer| self.judge(offer, methods).map(|price| (offer, price))).collect();
        let rank = |(offer, price): &&(&PaymentRequirements, Price)| {
            (offer.payment_flow() != Some(PaymentFlow::Authorization), price.way)
        };
        if let Some((offer, price)) = judged.iter().filter_map(|j| j.as_ref().ok()).min_by_key(rank) {
            return Ok((offer, price.clone()));
        }
        let closest = judged.into_iter().filter_map(Result::err).max_by_key(Refusal::closeness);
        Err(match closest {
            Some(refusal) if refusal.closeness() > 0 => refusal,
            _ => Refusal::NoSupportedOffer { offered: describe(offers) },
        })
    }

    /// Rule 2 of one offer.
    pub(super) fn judge(&self, offer: &PaymentRequirements, methods: &[TransferMethod]) -> Result<Price, Refusal> {
        let unsupported = || Refusal::NoSupportedOffer { offered: describe(std::slice::from_ref(offer)) };
        let way = match Scheme::of(offer) {
            Some(Scheme::AuthCapture) => Some(Way::Held(self.escrow_of(offer)?)),
            _ => Way::of(offer),
        };
        let way = way.filter(|way| methods.contains(&way.method())).ok_or_else(unsupported)?;
        let flows = Scheme::of(offer).map_or(&[][..], Scheme::flows);
        let supported = offer.payment_flow().is_some_and(|flow| flows.contains(&flow)) && offer.network.chain_id().is_some();
        let payee = offer.pay_to_address().filter(|_| supported).ok_or_else(unsupported)?;
        if !self.networks.permit(|network| *network == offer.network) {
            return Err(Refusal::NetworkNotAllowed(offer.network.clone()));
        }
        let domain = self.spendable(offer, way.method())?;
        if !self.payees.permit(|known| *known == payee) {
            return Err(Refusal::PayeeNotAllowed(payee));
        }
        match offer.amount.to_usdc() {
            Some(usdc) if usdc <= self.max_per_payment => Ok(Price { usdc, domain, way }),
            price => Err(Refusal::TooExpensive { price: price.unwrap_or(Usdc::MAX), max: self.max_per_payment }),
        }
    }

    /// The escrow of an offer that holds money, when it is an allowed one and gives the money back in time.
    fn escrow_of(&self, offer: &PaymentRequirements) -> Result<Deployment, Refusal> {
        let unsupported = |_| Refusal::NoSupportedOffer { offered: describe(std::slice::from_ref(offer)) };
        let terms = Terms::of(offer).map_err(unsupported)?;
        terms.authorizer().map_err(unsupported)?;
        let is_named = |known: &&Deployment| known.escrow == terms.auth_capture_escrow;
        let known = self.escrows.iter().find(is_named).ok_or(Refusal::EscrowNotAllowed(terms.auth_capture_escrow))?;
        match terms.capture_deadline.saturating_sub(now_secs()) {
            secs if secs > self.hold_max_secs => Err(Refusal::HeldTooLong { secs, max: self.hold_max_secs }),
            _ => Ok(*known),
        }
    }

    /// The domain of the offer's token, when it is an allowed one and the offer names the domain truly. By Permit2 it need not name it.
    fn spendable(&self, offer: &PaymentRequirements, method: TransferMethod) -> Result<TokenDomain, Refusal> {
        let unknown = || Refusal::UnknownAsset { asset: offer.asset.chars().take(64).collect(), network: offer.network.clone() };
        let usdc = Token::usdc(&offer.network).ok();
        let denied = |token: &&Token| self.denied_assets.iter().any(|(n, a)| (n, a) == (&token.network, &token.address));
        let mut allowed = self.assets.iter().chain(&usdc).filter(|token| !denied(token)).filter_map(Token::domain);
        let is_offered = |allowed: &TokenDomain| match TokenDomain::of(offer) {
            Some(domain) => domain == *allowed,
            None => {
                let place = (Some(allowed.chain_id), Some(allowed.asset));
                method == TransferMethod::Permit2 && (offer.network.chain_id(), offer.asset_address()) == place
            }
        };
        allowed.find(is_offered).ok_or_else(unknown)
    }
}

/// What a chosen offer costs, in which token.
#[derive(Clone, Debug)]
pub(super) struct Price {
    pub(super) usdc: Usdc,
    pub(super) domain: TokenDomain,
    pub(super) way: Way,
}

impl Price {
    /// Where it counts.
    pub(super) fn spending(&self, host: &str) -> Spending {
        let TokenDomain { chain_id, asset, .. } = &self.domain;
        Spending { host: normal(host), asset: format!("eip155:{chain_id}/{asset}"), price: self.usdc }
    }
}

fn describe(offers: &[PaymentRequirements]) -> String {
    let texts: Vec<_> =
        offers.iter().take(8).map(|o| format!("{} on {}", o.scheme.chars().take(32).collect::<String>(), o.network)).collect();
    if texts.is_empty() { "nothing readable".into() } else { texts.join(", ") }
}
