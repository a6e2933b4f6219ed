//! The way of the request that comes most: what is owned, read again.
//!
//! It makes sure of all that the long way makes sure of, by the same functions, from what they remember. Where that is not enough, or something else is
//! asked for, the request goes the long way.

use std::time::Instant;

use api::Scope;
use axum::{
    extract::{Request, State},
    http::{Method, header, request::Parts},
    middleware::Next,
    response::Response,
};
use tracing::Level;
use uuid::Uuid;

use crate::{access, auth, purchases, router, service::Market};

/// What asks for something else than all of the content, or proves a wallet.
const SPECIAL: [header::HeaderName; 4] =
    [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::HeaderName::from_static(x402::SIGN_IN_WITH_X)];

pub(crate) async fn take(State(market): State<Market>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read_again(&market, &parts).await {
        Some(response) => response,
        None => next.run(Request::from_parts(parts, body)).await,
    }
}

async fn read_again(market: &Market, parts: &Parts) -> Option<Response> {
    let begun = Instant::now();
    let id = parts.uri.path().strip_prefix("/api/v1/purchases/")?.strip_suffix("/content")?;
    let (id, headers): (Uuid, _) = (id.parse().ok()?, &parts.headers);
    // Who follows requests in the log sees all of them.
    let special = parts.method != Method::GET || SPECIAL.iter().any(|name| headers.contains_key(name));
    if special || tracing::enabled!(Level::DEBUG) {
        return None;
    }
    let caller = market.auth.remembered(auth::bearer(headers)?).await?;
    caller.must_have(Scope::Buy).ok()?;
    let owned = purchases::remembered(market, &(id, caller.agent_id(), caller.wallet().ok()?)).await?;
    let blob = market.contents.get_hot(owned.content_hash, owned.content_size)?;
    // Only now that nothing sends it the long way, which counts it as well.
    let standing = match market.limits.known {
        Some(limit) => Some(market.limits.take_one_here(caller.who.into(), limit).await?),
        None => None,
    };
    let mut response = purchases::deliver(blob.again(&owned.content_type), begun);
    let answer = response.headers_mut();
    if let Some(standing) = standing {
        access::tell(answer, standing);
    }
    router::harden(market, answer);
    answer.insert(router::REQUEST_ID, headers.get(router::REQUEST_ID).cloned().unwrap_or_else(router::request_id));
    Some(response)
}
