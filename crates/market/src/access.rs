//! Who may ask for an operation, and how often: looked at before anything of the request is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use api::{Code, Role, Scope};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    auth::{self, Caller},
    limits::{Principal, Standing},
    problem::Problem,
    router,
    service::Market,
};

/// What is kept of what a request says of itself.
const USER_AGENT_LEN_MAX_CHARS: usize = 120;
const REQUEST_ID_LEN_MAX_CHARS: usize = 64;

/// Who may ask for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// An agent whose credentials have this scope.
    Agent(Scope),
    /// The same, or a wallet that was proven.
    Wallet(Scope),
    /// An agent whose credentials have this scope, or a person.
    Holder(Scope),
    /// The same, or who shows a ticket of theirs, which the operation looks at.
    Ticket(Scope),
    /// As a holder, for money that leaves. Who may only buy has it sent to the agent's own wallet: whoever an AgentWallet trusts with its money, too.
    PayOut,
    /// A person.
    Creator,
    /// A person with this role.
    Staff(Role),
}

impl Access {
    /// Refuses who may not.
    fn admit(self, caller: Option<&Caller>) -> Result<(), Problem> {
        if self == Self::Open || (caller.is_none() && matches!(self, Self::Ticket(_))) {
            return Ok(());
        }
        let caller = caller.ok_or_else(auth::refused)?;
        match self {
            Self::Open => Ok(()),
            Self::Wallet(scope) => caller.wallet().and_then(|_| caller.must_have(scope)),
            Self::Holder(_) | Self::Ticket(_) | Self::PayOut if caller.creator().is_ok() => Ok(()),
            Self::Agent(scope) | Self::Holder(scope) | Self::Ticket(scope) => {
                caller.agent().and_then(|_| caller.must_have(scope))
            }
            Self::PayOut => {
                caller.agent().and_then(|_| caller.must_have(Scope::Buy).or_else(|_| caller.must_have(Scope::Transfer)))
            }
            Self::Creator => caller.creator().map(drop),
            Self::Staff(role) => caller.staff(role).map(drop),
        }
    }
}

/// How a request came.
pub(crate) struct Origin {
    /// From whom, as [`guard`] counts requests.
    pub(crate) principal: Principal,
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = *parts.extensions.get::<Principal>().ok_or_else(unguarded)?;
        Ok(Self { principal })
    }
}

/// Where a request came from, as is written down of what matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Trail {
    /// The network it came from: whose it was is not kept.
    pub(crate) fn network(&self) -> Option<String> {
        Some(match self.ip? {
            IpAddr::V4(ip) => format!("{}/24", Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8)),
            IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80)),
        })
    }
}

impl FromRequestParts<Market> for Trail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, market: &Market) -> Result<Self, Problem> {
        let connection = parts.extensions.get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip());
        let said = |name: HeaderName, chars: usize| {
            Some(parts.headers.get(name)?.to_str().ok()?.chars().take(chars).collect::<String>())
        };
        Ok(Self {
            ip: client(&parts.headers, connection, market.proxies),
            user_agent: said(header::USER_AGENT, USER_AGENT_LEN_MAX_CHARS),
            request_id: said(router::REQUEST_ID, REQUEST_ID_LEN_MAX_CHARS),
        })
    }
}

/// Who asks, and how often.
struct Asker {
    nobody: Principal,
    standing: Option<Standing>,
    caller: Result<Option<Caller>, Problem>,
}

impl Asker {
    async fn of(market: &Market, headers: &HeaderMap, connection: Option<IpAddr>) -> Self {
        let nobody = Principal::Ip(client(headers, connection, market.proxies));
        // Proving a wallet may take the node's time, so it counts before it is looked at; and nobody is known by it yet.
        let mut standing = None;
        if auth::proves_wallet(headers) {
            standing = market.limits.take(&market.pool, nobody, market.limits.unknown).await;
        }
        let caller = match standing {
            Some(Standing { refused: true, .. }) => Ok(None),
            _ => auth::authenticate(market, headers).await,
        };
        if standing.is_none() {
            let (who, limit) = match &caller {
                Ok(Some(caller)) => (caller.who.into(), market.limits.known),
                // Who guesses keys is counted as nobody.
                Ok(None) | Err(_) => (nobody, market.limits.unknown),
            };
            standing = market.limits.take(&market.pool, who, limit).await;
        }
        let caller = match &standing {
            Some(standing) if standing.refused => Err(standing.too_often()),
            _ => caller,
        };
        Self { nobody, standing, caller }
    }
}

/// Who asks for what is no operation, counted as one who asks for one.
pub(crate) async fn known(market: &Market, headers: &HeaderMap, connection: Option<IpAddr>) -> Result<Option<Caller>, Problem> {
    Asker::of(market, headers, connection).await.caller
}

/// Lets in who may ask and has not asked too often. Whom it let in, handlers read as [`Caller`].
pub(crate) async fn guard(State((market, access)): State<(Market, Access)>, mut request: Request, next: Next) -> Response {
    // A request from within, for a tool's call that came through here: who calls was found out, and counted.
    match request.extensions().get().map(|caller: &Option<Caller>| access.admit(caller.as_ref())) {
        Some(Ok(())) => return next.run(request).await,
        Some(Err(problem)) => return problem.into_response(),
        None => {}
    }
    let connection = request.extensions().get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| address.ip());
    let Asker { nobody, standing, caller } = Asker::of(&market, request.headers(), connection).await;
    let admitted = caller.and_then(|caller| access.admit(caller.as_ref()).map(|()| caller));
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller.as_ref().map_or(nobody, |caller| caller.who.into()));
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(standing) = standing {
        tell(response.headers_mut(), standing);
    }
    response
}

/// The headers of draft-ietf-httpapi-ratelimit-headers, in the form that most clients read.
pub(crate) fn tell(headers: &mut HeaderMap, standing: Standing) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
    const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
    headers.insert(LIMIT, standing.limit.into());
    headers.insert(REMAINING, standing.remaining.into());
    headers.insert(RESET, standing.reset_seconds.into());
}

/// The address of the client: what the outermost of our own proxies saw. What stands further left in the header is the client's own word.
fn client(headers: &HeaderMap, connection: Option<IpAddr>, proxies: usize) -> Option<IpAddr> {
    let Some(hops) = proxies.checked_sub(1) else { return connection.map(of_one_customer) };
    let all = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let addresses: Vec<_> = all.flat_map(|value| value.split(',')).map(str::trim).collect();
    let seen = addresses.iter().rev().nth(hops).and_then(|address| address.parse().ok());
    seen.or(connection).map(of_one_customer)
}

/// A customer of an internet provider has a whole /64 of IPv6.
fn of_one_customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// What [`guard`] found out, for the handlers.
pub(crate) fn found(extensions: &axum::http::Extensions) -> Result<Option<Caller>, Problem> {
    let found = extensions.get::<Option<Caller>>().cloned();
    found.ok_or_else(unguarded)
}

fn unguarded() -> Problem {
    Problem::new(Code::Internal, "The operation is not behind the guard")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What changes something and is for anybody, or for keys that may only read, or asks for more by itself. An operation belongs here only when it must.
    const HARMLESS: [&str; 21] = [
        "agent_token",
        "auto_match",
        "cancel_transaction",
        "challenge",
        "check_delivery",
        "deposit_confirm",
        "express_buy",
        "feed_ticket",
        "heartbeat",
        "login",
        "mcp_event",
        "mcp_message",
        "price_suggest",
        "refresh",
        "register_agent",
        "register_creator",
        "revoke_session",
        "route",
        "route_agents",
        "submit_evidence",
        "verify_content",
    ];

    #[test]
    fn what_changes_something_needs_more_than_a_key_for_reading_and_administration_a_role() {
        for operation in crate::router::operations() {
            let reads = operation.method == axum::http::Method::GET;
            let weak = matches!(
                operation.access,
                Access::Open
                    | Access::Agent(Scope::Read)
                    | Access::Wallet(Scope::Read)
                    | Access::Holder(Scope::Read)
                    | Access::Ticket(Scope::Read)
            );
            assert!(reads || !weak || HARMLESS.contains(&operation.id), "{} is for everybody", operation.id);
            let staff = matches!(operation.access, Access::Staff(_));
            assert!(staff || !operation.path.contains("/admin"), "{} needs no role", operation.id);
        }
    }

    #[test]
    fn of_an_address_only_the_network_is_kept() {
        let network = |ip: &str| Trail { ip: ip.parse().ok(), ..Trail::default() }.network();
        assert_eq!(network("203.0.113.77").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("2001:db8:1:2::").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(network(""), None);
    }

    #[test]
    fn a_client_cannot_choose_its_address() {
        let (near, far): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "203.0.113.7".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.1, 203.0.113.7".parse().unwrap());
        assert_eq!(client(&headers, Some(near), 0), Some(near), "without a proxy of ours the header is anybody's word");
        assert_eq!(client(&headers, Some(near), 1), Some(far));
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        assert_eq!(client(&headers, Some(near), 2), Some(far));
        assert_eq!(client(&HeaderMap::new(), Some(near), 1), Some(near));
        let (one, two): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(client(&headers, Some(one), 0), client(&headers, Some(two), 0));
    }
}
