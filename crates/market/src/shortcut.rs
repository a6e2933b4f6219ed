//! The way of the request that comes most: what is owned, read again.
//!
//! It makes sure of all that the long way makes sure of, by the same functions, from what they remember. Where that is not enough, or something else is
//! asked for, the request goes the long way. It waits for nothing and passes no layer, so its answer is there when the request is.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use alloy::primitives::B256;
use api::Scope;
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::Response,
    routing::future::RouteFuture,
    serve::{IncomingStream, Listener},
};
use futures::future::Either;
use tower::Service;
use tracing::Level;
use uuid::Uuid;

use crate::{
    access, auth,
    content::{self, Label},
    limits::Standing,
    purchases, router,
    service::Market,
};

/// What asks for something else than all of the content, or proves a wallet.
const SPECIAL: [HeaderName; 4] =
    [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, HeaderName::from_static(x402::SIGN_IN_WITH_X)];

/// Makes the [`Door`] of each connection.
pub(crate) struct Doors {
    market: Market,
    long: Router,
    head: Arc<HeaderMap>,
}

/// Where the requests of one connection come in.
#[derive(Clone)]
pub(crate) struct Door(Arc<Parts>);

struct Parts {
    market: Market,
    long: Router,
    /// What each answer of the short way begins with: values that differ are replaced in it, for no header is new then.
    head: Arc<HeaderMap>,
    peer: SocketAddr,
}

impl Doors {
    pub(crate) fn new(market: Market, long: Router) -> Self {
        let mut head = content::head_again();
        Label::new(B256::ZERO, 0, "-").tell(&mut head);
        router::harden(&market, &mut head);
        if let Some(limit) = market.limits.known {
            access::tell(&mut head, Standing { limit, remaining: limit, reset_seconds: 0, refused: false });
        }
        head.insert(router::REQUEST_ID, HeaderValue::from_static("-"));
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = head;
        let (head, _) = purchases::deliver(response, Instant::now()).into_parts();
        Self { market, long, head: Arc::new(head.headers) }
    }
}

impl<L: Listener<Addr = SocketAddr>> Service<IncomingStream<'_, L>> for Doors {
    type Response = Door;
    type Error = Infallible;
    type Future = Ready<Result<Door, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        let Self { market, long, head } = self;
        let (market, long, head) = (market.clone(), long.clone(), head.clone());
        ready(Ok(Door(Arc::new(Parts { market, long, head, peer: *stream.remote_addr() }))))
    }
}

impl Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(response) = self.0.read_again(&request) {
            return Either::Left(ready(Ok(response)));
        }
        request.extensions_mut().insert(ConnectInfo(self.0.peer));
        Either::Right(self.0.long.clone().call(request))
    }
}

impl Parts {
    fn read_again(&self, request: &Request) -> Option<Response> {
        let begun = Instant::now();
        let id = request.uri().path().strip_prefix("/api/v1/purchases/")?.strip_suffix("/content")?;
        let (id, headers): (Uuid, _) = (id.parse().ok()?, request.headers());
        // Who follows requests in the log sees all of them.
        let special = request.method() != Method::GET || SPECIAL.iter().any(|name| headers.contains_key(name));
        if special || tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let market = &self.market;
        let caller = market.auth.remembered(auth::bearer(headers)?)?;
        caller.must_have(Scope::Buy).ok()?;
        let owned = purchases::remembered(market, &(id, caller.agent_id(), caller.wallet().ok()?))?;
        let bytes = market.contents.get_hot(owned.content_hash)?;
        // Only now that nothing sends it the long way, which counts it as well.
        let standing = match market.limits.known {
            Some(limit) => Some(market.limits.take_one_here(caller.who.into(), limit)?),
            None => None,
        };
        let mut answer = self.head.as_ref().clone();
        owned.label.tell(&mut answer);
        if let Some(standing) = standing {
            access::tell(&mut answer, standing);
        }
        answer.insert(router::REQUEST_ID, headers.get(router::REQUEST_ID).cloned().unwrap_or_else(router::request_id));
        let mut response = Response::new(Body::from(bytes));
        *response.headers_mut() = answer;
        Some(purchases::deliver(response, begun))
    }
}
