use money::Usdc;

use super::signing::Way;
use crate::{Network, PaymentFlow, PaymentRequirements, Scheme, Token, TokenDomain, TransferMethod};

/// What may be paid. Checked before anything is signed.
///
/// Starts strict: 1 USDC per payment, no more than 10 USDC in the life of the client, Circle's USDC only, any host.
#[derive(Clone, Debug)]
pub struct Policy {
    max_per_payment: Usdc,
    budget: Usdc,
    assets: Vec<Token>,
    networks: Option<Vec<Network>>,
    allowed_hosts: Option<Vec<String>>,
    denied_hosts: Vec<String>,
    pub(super) validity_max_secs: u64,
}

/// Why a policy refuses an offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More than one payment may cost.
    #[error("the price is {price} USDC and the most one payment may cost is {max} USDC: raise the limit if it is worth it")]
    TooExpensive {
        /// What is asked.
        price: Usdc,
        /// What is allowed.
        max: Usdc,
    },
    /// More than is left of the budget.
    #[error("the price is {price} USDC and {left} USDC are left of the budget: raise the budget or start a new client")]
    BudgetExhausted {
        /// What is asked.
        price: Usdc,
        /// What is left.
        left: Usdc,
    },
    /// More than is left of the day's budget.
    #[error(
        "the price is {price} USDC and {left} USDC are left for {host} today: raise the daily budget or wait for tomorrow (UTC)"
    )]
    DayExhausted {
        /// What is asked.
        price: Usdc,
        /// What is left.
        left: Usdc,
        /// Who would be paid.
        host: String,
    },
    /// The host is denied, or not among the allowed ones.
    #[error("{0} may not be paid: allow the host in the policy")]
    HostNotAllowed(String),
    /// The network is not among the allowed ones.
    #[error("payments on {0} are not allowed: allow the network in the policy")]
    NetworkNotAllowed(Network),
    /// The token is not USDC nor an allowed one, or names another domain than that token has.
    #[error("{asset} on {network} is not a token this client may spend: allow it in the policy with its name and version")]
    UnknownAsset {
        /// The token, as offered.
        asset: String,
        /// Its chain.
        network: Network,
    },
    /// No offer this client can pay: another scheme, transfer method, payment flow or family of chains.
    #[error("no offer this client can pay; offered: {offered}")]
    NoSupportedOffer {
        /// Schemes and networks offered.
        offered: String,
    },
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_per_payment: Usdc::ONE,
            budget: Usdc::from_base_units(10 * Usdc::ONE.base_units()),
            assets: Vec::new(),
            networks: None,
            allowed_hosts: None,
            denied_hosts: Vec::new(),
            validity_max_secs: 600,
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
    pub fn budget(mut self, budget: Usdc) -> Self {
        self.budget = budget;
        self
    }

    /// Allows a token besides Circle's USDC. It must have 6 decimals for the limits to mean anything.
    pub fn allow_asset(mut self, token: Token) -> Self {
        self.assets.push(token);
        self
    }

    /// Allows only networks named by this call; without it every network with a known USDC is allowed.
    pub fn allow_network(mut self, network: Network) -> Self {
        self.networks.get_or_insert_default().push(network);
        self
    }

    /// Allows only hosts named by this call, and their subdomains; without it every host is allowed. An IPv6 host is written in brackets.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.get_or_insert_default().push(normal(&host.into()));
        self
    }

    /// Denies a host and its subdomains, even when it is allowed.
    pub fn deny_host(mut self, host: impl Into<String>) -> Self {
        self.denied_hosts.push(normal(&host.into()));
        self
    }

    /// The longest a signature may stay usable, in seconds, whatever the server asks for.
    pub fn validity_max_secs(mut self, secs: u64) -> Self {
        self.validity_max_secs = secs;
        self
    }

    pub(super) fn check_host(&self, host: &str) -> Result<(), Refusal> {
        let host = normal(host);
        let listed = |list: &[String]| list.iter().any(|known| is_within(&host, known));
        let allowed = self.allowed_hosts.as_deref().is_none_or(listed);
        if allowed && !listed(&self.denied_hosts) { Ok(()) } else { Err(Refusal::HostNotAllowed(host)) }
    }

    /// The first offer that may be paid, one that settles after the work before one that settles in advance, and one by EIP-3009, which
    /// needs no allowance, before one by Permit2.
    pub(super) fn choose<'a>(
        &self,
        offers: &'a [PaymentRequirements],
        spent: Usdc,
        methods: &[TransferMethod],
    ) -> Result<(&'a PaymentRequirements, Price), Refusal> {
        let judged: Vec<_> = offers.iter().map(|offer| self.judge(offer, spent, methods).map(|price| (offer, price))).collect();
        let rank = |(offer, price): &&(&PaymentRequirements, Price)| {
            (offer.payment_flow() != Some(PaymentFlow::Authorization), price.way)
        };
        if let Some((offer, price)) = judged.iter().filter_map(|j| j.as_ref().ok()).min_by_key(rank) {
            return Ok((offer, price.clone()));
        }
        // The refusal that came closest to a payment tells the most.
        let closest = judged.into_iter().filter_map(Result::err).max_by_key(Refusal::closeness);
        Err(match closest {
            Some(refusal) if refusal.closeness() > 0 => refusal,
            _ => Refusal::NoSupportedOffer { offered: describe(offers) },
        })
    }

    fn judge(&self, offer: &PaymentRequirements, spent: Usdc, methods: &[TransferMethod]) -> Result<Price, Refusal> {
        let unsupported = || Refusal::NoSupportedOffer { offered: describe(std::slice::from_ref(offer)) };
        let way = Way::of(offer).filter(|way| methods.contains(&way.method())).ok_or_else(unsupported)?;
        let flows = Scheme::of(offer).map_or(&[][..], Scheme::flows);
        let supported = offer.payment_flow().is_some_and(|flow| flows.contains(&flow)) && offer.pay_to_address().is_some();
        if !supported || offer.network.chain_id().is_none() {
            return Err(unsupported());
        }
        if self.networks.as_ref().is_some_and(|allowed| !allowed.contains(&offer.network)) {
            return Err(Refusal::NetworkNotAllowed(offer.network.clone()));
        }
        let domain = self.spendable(offer, way.method())?;
        let price = offer.amount.to_usdc().unwrap_or(Usdc::MAX);
        if price > self.max_per_payment || offer.amount.to_usdc().is_none() {
            return Err(Refusal::TooExpensive { price, max: self.max_per_payment });
        }
        let left = self.budget.saturating_sub(spent);
        if price > left {
            return Err(Refusal::BudgetExhausted { price, left });
        }
        Ok(Price { usdc: price, domain, way })
    }

    /// The domain of the offer's token, when it is an allowed one and the offer names the domain truly. By Permit2 it need not name it.
    fn spendable(&self, offer: &PaymentRequirements, method: TransferMethod) -> Result<TokenDomain, Refusal> {
        let unknown = || Refusal::UnknownAsset { asset: offer.asset.chars().take(64).collect(), network: offer.network.clone() };
        let usdc = Token::usdc(&offer.network).ok();
        let mut allowed = self.assets.iter().chain(&usdc).filter_map(Token::domain);
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

impl Refusal {
    fn closeness(&self) -> u8 {
        match self {
            Self::NoSupportedOffer { .. } | Self::HostNotAllowed(_) => 0,
            Self::NetworkNotAllowed(_) => 1,
            Self::UnknownAsset { .. } => 2,
            Self::TooExpensive { .. } => 3,
            Self::BudgetExhausted { .. } | Self::DayExhausted { .. } => 4,
        }
    }
}

/// Lower case, without the dot that ends a fully qualified name.
fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn is_within(host: &str, known: &str) -> bool {
    host == known || host.strip_suffix(known).is_some_and(|sub| sub.ends_with('.'))
}

fn describe(offers: &[PaymentRequirements]) -> String {
    let texts: Vec<_> =
        offers.iter().take(8).map(|o| format!("{} on {}", o.scheme.chars().take(32).collect::<String>(), o.network)).collect();
    if texts.is_empty() { "nothing readable".into() } else { texts.join(", ") }
}
