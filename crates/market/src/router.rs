use std::{convert::Infallible, sync::Arc, time::Duration};

use api::{Code, Role, Scope};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, Any, CorsLayer},
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
};
use tracing::error;

use crate::{
    access::{self, Access},
    agents, audit, auth, catalog, consents,
    content::CONTENT_LEN_MAX_BYTES,
    creators, dashboard, decisions, demand, discover, etag, express, feed, fraud,
    funds::{books, deposits, redemptions, top_up, withdrawals},
    health,
    input::JSON_LEN_MAX_BYTES,
    listings, matching,
    mcp::{self, Mcp},
    openapi,
    operation::Operation,
    personal,
    problem::Problem,
    proofs, purchases, routing,
    service::Market,
    standing, trace, transactions, treasuries, wallet, webhooks, well_known,
};

/// Longer than a settlement may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// An upload of the largest content over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a browser remembers that a page may ask.
const PREFLIGHT_FOR: Duration = Duration::from_secs(86_400);
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// On every answer. Nothing of the market loads anything from elsewhere, is shown within another page, or tells where a link was followed. Pages
/// of any origin may ask and read: who asks is told by a header that a page has to set itself, never by a cookie.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'",
    ),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
];

/// Everything that can be asked for, below `/api/v1`.
#[rustfmt::skip] // One line each: it is read as a table.
pub(crate) fn operations() -> Vec<Operation> {
    use Access::{Agent, Creator, Holder, Open, PayOut, Staff, Ticket, Wallet};
    use Scope::{Buy, Manage, Read, Sell, Transfer};
    use auth::{keys, sessions};
    use crate::operation::{delete, get, patch, post, put};
    vec![
        get("/health", ("health", "How the market is, and what there is"), Open, health::counts),
        get("/health/cdn", ("content_health", "How this instance serves content"), Open, health::content),

        post("/agents/challenge", ("challenge", "A message that proves a wallet when signed"), Open, auth::wallet::challenge),
        post("/agents/register", ("register_agent", "Register an agent with a proven wallet"), Open, agents::register),
        post("/agents/auto-match", ("auto_match", "Find what fits a need best, and buy it when told to"), Agent(Read), matching::auto_match),
        post("/agents/token", ("agent_token", "An access token for a key or a proven wallet"), Wallet(Read), keys::token),
        get("/agents", ("agents", "Agents, newest first"), Open, agents::list),
        get("/agents/{id}", ("agent", "An agent"), Open, agents::show),
        put("/agents/{id}", ("update_agent", "Change the calling agent"), Agent(Manage), agents::update),
        delete("/agents/{id}", ("deactivate_agent", "Deactivate the calling agent for good"), Agent(Manage), agents::deactivate),
        post("/agents/{id}/heartbeat", ("heartbeat", "Say that the calling agent is alive"), Agent(Read), agents::heartbeat),
        get("/agents/{id}/card", ("agent_card", "An agent's card (A2A)"), Open, agents::card),

        get("/agents/{id}/export", ("export_agent", "All that is kept of the calling agent, as lines of JSON"), Agent(Manage), personal::of_agent),

        get("/api-keys", ("api_keys", "The calling agent's keys"), Agent(Manage), keys::list),
        post("/api-keys", ("create_api_key", "Make a key that allows no more than the caller's"), Agent(Manage), keys::create),
        delete("/api-keys/{id}", ("revoke_api_key", "Revoke a key and the tokens it got"), Agent(Manage), keys::revoke),

        post("/creators/register", ("register_creator", "Register a creator"), Open, creators::register),
        post("/creators/login", ("login", "Sign a creator in"), Open, sessions::login),
        post("/creators/refresh", ("refresh", "Go on with a session"), Open, sessions::refresh),
        post("/creators/revoke", ("revoke_session", "End a session"), Open, sessions::revoke),
        post("/creators/revoke-all", ("revoke_all_sessions", "End all sessions of the caller"), Creator, sessions::revoke_all),
        post("/creators/change-password", ("change_password", "Change the password, which ends all sessions"), Creator, sessions::change_password),
        get("/creators/sessions", ("sessions", "The caller's sessions that go on, newest first"), Creator, sessions::list),
        delete("/creators/sessions/{id}", ("end_session", "End a session of the caller"), Creator, sessions::end),
        get("/creators/me", ("creator", "The caller"), Creator, creators::me),
        put("/creators/me", ("update_creator", "Change the caller"), Creator, creators::update),
        delete("/creators/me", ("delete_creator", "Leave for good, with the caller's agents"), Creator, personal::delete),
        get("/creators/me/export", ("export_creator", "All that is kept of the caller and the caller's agents, as lines of JSON"), Creator, personal::of_creator),
        get("/creators/me/consents", ("consents", "What the caller agreed to, newest first"), Creator, consents::list),
        post("/creators/me/consents", ("give_consent", "Agree to a text"), Creator, consents::give),
        post("/creators/me/consents/{id}/withdraw", ("withdraw_consent", "Withdraw a consent of the caller"), Creator, consents::withdraw),
        get("/creators/me/agents", ("creators_agents", "The caller's agents"), Creator, creators::agents),
        put("/creators/me/wallet", ("prove_creator_wallet", "Prove the wallet that the caller's USDC goes to"), Creator, creators::prove_wallet),
        post("/creators/me/agents/{id}/claim", ("claim_agent", "Make an agent the caller's, by a signature of its wallet"), Creator, creators::claim),
        get("/creators/me/dashboard", ("dashboard", "How the caller's agents do"), Creator, creators::dashboard),
        get("/creators/me/wallet", ("creator_wallet", "What the caller and the caller's agents have"), Creator, creators::wallet),
        put("/admin/creators/{id}/role", ("grant_role", "Give a creator a role"), Staff(Role::Admin), creators::grant),
        get("/admin/dashboard", ("admin_dashboard", "How the market stands, and what waits for people with a role"), Staff(Role::Finance), dashboard::show),
        get("/admin/decisions", ("decisions", "What people with a role decided, newest first"), Staff(Role::Admin), decisions::list),

        get("/audit/events", ("audit_events", "What happened that matters, newest first"), Staff(Role::Support), audit::list),
        get("/audit/events/verify", ("verify_audit", "Prove sealed batches of events again"), Staff(Role::Support), audit::verify),
        get("/audit/events/{number}/proof", ("audit_proof", "The proof of an event"), Staff(Role::Support), audit::proof),
        get("/audit/seals", ("audit_seals", "Sealed batches of events"), Open, audit::seals),

        get("/admin/fraud/findings", ("findings", "What looks like fraud, newest first"), Staff(Role::Finance), fraud::list),
        post("/admin/fraud/findings/{id}/clear", ("clear_finding", "Say that a finding is harmless"), Staff(Role::Finance), fraud::clear),

        get("/listings", ("listings", "Listings, newest first"), Open, listings::list),
        post("/listings", ("create_listing", "Publish a listing"), Agent(Sell), listings::create),
        get("/listings/{id}", ("listing", "A listing"), Open, listings::show),
        put("/listings/{id}", ("update_listing", "Change a listing"), Agent(Sell), listings::update),
        delete("/listings/{id}", ("delist", "Take a listing from the market"), Agent(Sell), listings::delist),
        put("/listings/{id}/content", ("upload", "Upload the content of a listing"), Agent(Sell), listings::content::upload),
        get("/listings/{id}/versions", ("listing_versions", "Every content that a listing ever had"), Open, listings::content::versions),
        put("/admin/listings/{id}/quality", ("judge_listing", "Say how good a listing's content is"), Staff(Role::Moderator), listings::content::judge),
        get("/discover", ("discover", "Look for listings"), Open, discover::discover),
        get("/discover/suggestions", ("suggestions", "How a search that is being typed may go on"), Open, discover::typos::suggestions),

        get("/zkp/{id}/proofs", ("content_proofs", "What a listing's content is committed to by, before it is bought"), Open, proofs::show),
        post("/zkp/{id}/verify", ("verify_content", "Prove words, fields and counts of a content, and show some chunks"), Agent(Read), proofs::verify),
        get("/zkp/{id}/bloom-check", ("keyword", "Prove that a word is in a content, or that it is not"), Agent(Read), proofs::keyword),
        post("/verify", ("check_delivery", "Compare what was delivered with what was agreed on"), Wallet(Read), proofs::delivery::check),

        get("/trending", ("trending", "What is looked for most"), Open, demand::trending),
        get("/demand-gaps", ("demand_gaps", "What is looked for and rarely found"), Open, demand::gaps),
        get("/opportunities", ("opportunities", "What is looked for and not for sale, the most urgent first"), Open, demand::opportunities),
        get("/seller/demand-for-me", ("demand_for_me", "What is looked for of what the calling agent sells"), Agent(Read), demand::demand_for_me),
        post("/seller/bulk-list", ("bulk_list", "Publish several listings, each for itself"), Agent(Sell), listings::bulk),
        post("/seller/price-suggest", ("price_suggest", "What a listing might cost"), Agent(Read), demand::price_suggest),

        post("/route/select", ("route", "Which listing to take, by a rule, and why"), Agent(Read), routing::select),
        post("/route/agents", ("route_agents", "Which agent to take for a task, by a rule, and why"), Agent(Read), routing::route_agents),
        get("/route/strategies", ("route_strategies", "The rules there are, and what they go by"), Open, routing::strategies),
        get("/reputation/leaderboard", ("reputations", "The agents with the best reputations"), Open, standing::leaders),
        get("/reputation/{id}", ("reputation", "What those who bought from an agent say of it"), Open, standing::reputation),
        get("/leaderboard/{board}", ("leaderboard", "Who leads: helpfulness, earnings, contributors or category:NAME"), Open, standing::leaderboard),
        get("/agent/{id}/profile", ("profile", "What anybody may know of an agent"), Open, standing::profile),
        get("/my-earnings", ("my_earnings", "What the calling agent earned, day by day"), Agent(Read), standing::my_earnings),
        get("/my-stats", ("my_stats", "How the calling agent does, day by day"), Agent(Read), standing::my_stats),
        get("/market/days", ("market_days", "What was sold, day by day"), Open, standing::market_days),

        post("/catalog", ("create_entry", "Say that the calling agent can deliver something"), Agent(Sell), catalog::create),
        get("/catalog/search", ("catalog", "Look for what agents can deliver, newest first"), Open, catalog::search),
        get("/catalog/agent/{id}", ("catalog_of", "What an agent can deliver, newest first"), Open, catalog::of_agent),
        get("/catalog/{id}", ("entry", "An entry of the catalog"), Open, catalog::show),
        patch("/catalog/{id}", ("update_entry", "Change an entry of the calling agent"), Agent(Sell), catalog::update),
        delete("/catalog/{id}", ("remove_entry", "Remove an entry of the calling agent"), Agent(Sell), catalog::remove),
        post("/catalog/auto-populate", ("populate_catalog", "Make entries of the calling agent's listings"), Agent(Sell), catalog::populate),
        post("/catalog/subscribe", ("subscribe", "Ask to be told of entries that come or change"), Agent(Buy), catalog::subscribe),
        delete("/catalog/subscribe/{id}", ("unsubscribe", "End a subscription of the calling agent"), Agent(Buy), catalog::unsubscribe),
        get("/catalog/subscriptions", ("catalog_news", "The calling agent's subscriptions, with what is new for each"), Agent(Read), catalog::news),

        get("/express/{id}", ("express_offer", "What to sign to buy a listing; with the signature, its content"), Open, express::buy),
        post("/express/{id}", ("express_buy", "Buy a listing in one request"), Open, express::buy),
        get("/purchases", ("purchases", "What the caller bought and sold"), Wallet(Read), purchases::list),
        get("/purchases/{id}/content", ("purchase_content", "What the caller bought, again"), Wallet(Buy), purchases::content),

        get("/wallet/balance", ("balance", "What the calling agent has in the ledger"), Agent(Read), wallet::balance),
        get("/wallet/balance/past", ("past_balance", "What the caller had in the ledger at a time"), Holder(Read), wallet::past),
        get("/wallet/history", ("statement", "The caller's statement, newest first"), Holder(Read), wallet::statement),
        get("/wallet/statement.csv", ("statement_csv", "All of the caller's statement as CSV, oldest first"), Holder(Read), wallet::csv),
        get("/wallet/supply", ("supply", "How much there is of each asset"), Open, wallet::house::supply),
        get("/wallet/tiers", ("tiers", "What tiers there are, and what they take off the fee"), Open, wallet::house::tiers),
        get("/wallet/currencies", ("currencies", "What ARD is worth"), Open, wallet::house::currencies),
        post("/wallet/transfer", ("transfer", "Send money to another agent"), Agent(Transfer), wallet::send),
        get("/wallet/ledger/verify", ("verify_ledger", "Prove sealed batches again"), Open, wallet::verify),
        get("/wallet/ledger/seals", ("seals", "Sealed batches"), Open, wallet::seals),
        get("/wallet/ledger/proof/{transfer_id}", ("ledger_proof", "The proof of a transfer of the caller"), Holder(Read), wallet::proof),

        post("/wallet/deposits", ("open_deposit", "Announce USDC that will come"), Agent(Transfer), deposits::open),
        get("/wallet/deposits", ("deposits", "The calling agent's deposits, newest first"), Agent(Read), deposits::list),
        post("/wallet/deposits/x402", ("top_up", "Pay USDC into the balance by x402"), Agent(Buy), top_up::top_up),
        get("/wallet/deposits/{id}", ("deposit", "A deposit of the calling agent"), Agent(Read), deposits::show),
        post("/wallet/deposit", ("deposit_open", "The same as POST /wallet/deposits"), Agent(Transfer), deposits::open),
        post("/wallet/deposit/{id}/confirm", ("deposit_confirm", "The same as GET /wallet/deposits/{id}: the chain confirms, not the caller"), Agent(Read), deposits::show),
        post("/wallet/withdrawals", ("withdraw", "Have USDC paid out on chain"), PayOut, withdrawals::request),
        get("/wallet/withdrawals", ("withdrawals", "The caller's withdrawals, newest first"), Holder(Read), withdrawals::list),
        get("/wallet/withdrawals/{id}", ("withdrawal", "A withdrawal of the caller"), Holder(Read), withdrawals::show),
        post("/wallet/withdrawals/{id}/cancel", ("cancel_withdrawal", "Take back a withdrawal that is in no batch yet"), Holder(Transfer), withdrawals::cancel),
        get("/admin/withdrawals", ("all_withdrawals", "Everybody's withdrawals, newest first"), Staff(Role::Finance), withdrawals::list_all),
        post("/admin/withdrawals/{id}/approve", ("approve_withdrawal", "Let a withdrawal leave"), Staff(Role::Finance), withdrawals::approve),
        post("/admin/withdrawals/{id}/reject", ("reject_withdrawal", "Refuse a withdrawal that is in no batch yet"), Staff(Role::Finance), withdrawals::reject),
        get("/admin/ledger/sealed", ("sealed", "All that is sealed, to be proved by whoever audits"), Staff(Role::Finance), wallet::sealed),
        post("/admin/ledger/{transfer_id}/reverse", ("reverse", "Undo a sale, a transfer or a bonus"), Staff(Role::Finance), wallet::reversal::reverse),
        get("/admin/deposits/unmatched", ("unmatched", "USDC that came from nobody known, largest first"), Staff(Role::Finance), deposits::unmatched),
        post("/admin/deposits/assign", ("assign_deposit", "Say whose such USDC is"), Staff(Role::Finance), deposits::assign),
        post("/redemptions", ("redeem", "Redeem ARD for something outside"), Holder(Transfer), redemptions::request),
        get("/redemptions", ("redemptions", "The caller's redemptions, newest first"), Holder(Read), redemptions::list),
        get("/redemptions/methods", ("redemption_methods", "What ARD is redeemed for"), Open, redemptions::methods),
        get("/redemptions/{id}", ("redemption", "A redemption of the caller"), Holder(Read), redemptions::show),
        post("/redemptions/{id}/cancel", ("cancel_redemption", "Take back a redemption that is not approved"), Holder(Transfer), redemptions::cancel),
        get("/redemptions/admin", ("all_redemptions", "Everybody's redemptions, newest first"), Staff(Role::Finance), redemptions::list_all),
        post("/redemptions/admin/{id}/approve", ("approve_redemption", "Let a redemption be handed over"), Staff(Role::Finance), redemptions::approve),
        post("/redemptions/admin/{id}/complete", ("complete_redemption", "Say that a redemption was handed over"), Staff(Role::Finance), redemptions::complete),
        post("/redemptions/admin/{id}/reject", ("reject_redemption", "Refuse a redemption, or say that it failed"), Staff(Role::Finance), redemptions::reject),

        get("/feed", ("feed", "What happens, as server-sent events; also as messages of the WebSocket /ws/feed"), Ticket(Read), feed::sse),
        post("/feed/ticket", ("feed_ticket", "A ticket that lets a client read the feed that cannot send a header"), Holder(Read), feed::ticket),
        post("/seller/webhook", ("register_webhook", "Have the calling agent's feed posted to an address"), Agent(Manage), webhooks::register),
        get("/seller/webhooks", ("webhooks", "The calling agent's webhooks, newest first"), Agent(Read), webhooks::list),
        delete("/seller/webhooks/{id}", ("remove_webhook", "Remove a webhook of the calling agent"), Agent(Manage), webhooks::remove),
        post("/seller/webhooks/{id}/test", ("test_webhook", "Post a test to a webhook"), Agent(Manage), webhooks::test),
        post("/seller/webhooks/{id}/rotate", ("rotate_webhook", "Replace the secret of a webhook"), Agent(Manage), webhooks::rotate),
        get("/seller/webhooks/{id}/deliveries", ("webhook_deliveries", "Deliveries of a webhook, newest first"), Agent(Read), webhooks::deliveries),
        post("/seller/webhooks/{id}/replay", ("replay_webhook", "Post again what was given up, or a range, and go on"), Agent(Manage), webhooks::replay),
        post("/integrations/openclaw/register-webhook", ("register_openclaw", "Have the calling agent's feed posted to an OpenClaw gateway"), Agent(Manage), webhooks::register_openclaw),
        get("/integrations/openclaw/webhooks", ("openclaw_webhooks", "The calling agent's OpenClaw webhooks, newest first"), Agent(Read), webhooks::list_openclaw),
        delete("/integrations/openclaw/webhooks/{id}", ("remove_openclaw", "Remove an OpenClaw webhook of the calling agent"), Agent(Manage), webhooks::remove_openclaw),
        post("/integrations/openclaw/webhooks/{id}/test", ("test_openclaw", "Post a test to an OpenClaw webhook"), Agent(Manage), webhooks::test_openclaw),
        get("/integrations/openclaw/status", ("openclaw_status", "How the calling agent's OpenClaw webhooks do"), Agent(Read), webhooks::openclaw_status),

        post("/transactions/initiate", ("initiate", "Start a purchase in steps, paid into a hold or the escrow"), Wallet(Buy), transactions::initiate),
        get("/transactions", ("transactions", "The caller's purchases in steps, newest first"), Wallet(Read), transactions::list),
        get("/transactions/{id}", ("transaction", "A purchase in steps of the caller"), Wallet(Read), transactions::show),
        post("/transactions/{id}/confirm-payment", ("confirm_payment", "Have the ledger hold the price, or look whether the chain has it"), Wallet(Buy), transactions::confirm_payment),
        post("/transactions/{id}/deliver", ("deliver", "Deliver, as the seller"), Agent(Sell), transactions::deliver),
        get("/transactions/{id}/content", ("transaction_content", "What was bought in steps"), Wallet(Buy), transactions::content),
        post("/transactions/{id}/verify", ("verify_delivery", "Accept what was delivered, as the buyer"), Wallet(Buy), transactions::verify),
        post("/transactions/{id}/dispute", ("dispute", "Dispute what was delivered, as the buyer"), Wallet(Buy), transactions::dispute),
        post("/transactions/{id}/evidence", ("submit_evidence", "Say something for the caller's side"), Wallet(Read), transactions::submit_evidence),
        get("/transactions/{id}/evidence", ("evidence", "What both sides said, oldest first"), Wallet(Read), transactions::list_evidence),
        post("/transactions/{id}/cancel", ("cancel_transaction", "Give up what is not paid; of what is, ask to as the buyer, and do as the seller"), Wallet(Read), transactions::cancel),
        post("/transactions/{id}/refund", ("give_back", "Give all or part of the price back, as the seller"), Agent(Sell), transactions::refund),
        get("/transactions/{id}/history", ("transaction_history", "What became of a purchase in steps, oldest first"), Wallet(Read), transactions::history),
        get("/admin/transactions", ("cases", "Everybody's purchases in steps from the ledger: disputed ones, or of another status"), Staff(Role::Arbiter), transactions::cases),
        get("/admin/transactions/check", ("check_transactions", "Compare purchases in steps with the ledger and the chain"), Staff(Role::Finance), transactions::compared),
        get("/admin/transactions/{id}", ("case", "All that an arbiter needs to know of a purchase"), Staff(Role::Arbiter), transactions::case),
        get("/admin/transactions/{id}/content", ("case_content", "What is disputed, to be judged"), Staff(Role::Arbiter), transactions::case_content),
        post("/admin/transactions/{id}/award", ("award", "Divide what is held, as the arbiter of a dispute"), Staff(Role::Arbiter), transactions::award),

        get("/mcp/health", ("mcp_health", "What there is for models"), Open, mcp::health),
        post("/mcp/message", ("mcp_message", "A message of the Model Context Protocol, as to /mcp"), Open, mcp::message),
        post("/mcp/sse", ("mcp_event", "The same, answered as a server-sent event"), Open, mcp::event),
        get("/mcp/sse", ("mcp_stream", "A stream for answers to messages, as revision 2024-11-05 has it"), Open, mcp::listen),

        get("/treasuries/{address}", ("treasury", "An organisation's treasury, as the mirror of the chain has it"), Open, treasuries::show),
        get("/treasuries/{address}/proposals", ("proposals", "Orders and changes of a treasury, by id"), Open, treasuries::proposals),
    ]
}

/// Every route there is. [`crate::shortcut`] stands before it.
pub(crate) fn router(market: Market) -> Router {
    let operations = operations();
    let document = Arc::new(openapi::document(&operations, market.public_url.as_str()));
    let offered = mcp::offered(&operations);
    let mut v1 = Router::new();
    for Operation { path, access, route, id, .. } in operations {
        let (body_len_max, timeout) =
            if id == "upload" { (CONTENT_LEN_MAX_BYTES as usize, UPLOAD_TIMEOUT) } else { (JSON_LEN_MAX_BYTES, REQUEST_TIMEOUT) };
        let route = route
            .layer::<_, Infallible>(DefaultBodyLimit::max(body_len_max))
            .layer::<_, Infallible>(middleware::from_fn_with_state(timeout, in_time))
            .route_layer(middleware::from_fn_with_state((market.clone(), access), access::guard));
        v1 = v1.route(path, route);
    }
    let api = Router::new().nest("/api/v1", v1.layer(middleware::from_fn(etag::tag)));
    let mcp = Arc::new(Mcp::new(&market, offered, &api));
    // The market has one router.
    let _ = market.mcp.set(Arc::downgrade(&mcp));
    let card = Arc::new(well_known::agent_card(&market, mcp.tools()));
    let sold = get(well_known::x402)
        .layer::<_, Infallible>(middleware::from_fn_with_state(REQUEST_TIMEOUT, in_time))
        .route_layer(middleware::from_fn_with_state((market.clone(), Access::Open), access::guard));
    let router = api
        .route("/ws/feed", get(feed::ws))
        .merge(mcp.routes())
        .route("/.well-known/agent-card.json", get(async move || Json(card.clone())))
        .route("/.well-known/x402", sold)
        .route("/health", get(health::works))
        .route("/.well-known/jwks.json", get(auth::keys::key_set))
        .route("/metrics", get(books::metrics))
        .route("/openapi.json", get(async move || Json(document.clone())))
        .route("/docs", get(async || Html(include_str!("docs.html"))))
        .fallback(|| async { Problem::new(Code::NotFound, "Nothing is served here; what is, stands in /openapi.json and /docs") })
        .method_not_allowed_fallback(|| async { Problem::new(Code::MethodNotAllowed, "Use another method") });
    router
        .layer(preflight())
        .layer(middleware::map_response_with_state(market.clone(), hardened))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(trace::follow))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, NewRequestId))
        .with_state(market)
}

/// Ends what takes too long.
pub(crate) async fn in_time(State(limit): State<Duration>, request: Request<Body>, next: Next) -> Response {
    let late = |_| Problem::new(Code::Unavailable, "It took too long: try again").into_response();
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(late)
}

/// Logs what broke and tells the outside nothing of it.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let said = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    error!(cause = said.unwrap_or_default(), "a request panicked");
    Problem::new(Code::Internal, "It was logged").into_response()
}

async fn hardened(State(market): State<Market>, mut response: Response) -> Response {
    harden(&market, response.headers_mut());
    response
}

pub(crate) fn harden(market: &Market, headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if market.public_url.scheme() == "https" {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// What a browser asks before a page's own request.
fn preflight() -> CorsLayer {
    let headers =
        [header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE, REQUEST_ID];
    let own =
        [api::header::IDEMPOTENCY_KEY, x402::header::PAYMENT_SIGNATURE, x402::SIGN_IN_WITH_X, "last-event-id", "traceparent"];
    let own = own.into_iter().chain(mcp::HEADERS);
    let headers = headers.into_iter().chain(own.map(HeaderName::from_static));
    CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(AllowHeaders::list(headers)).max_age(PREFLIGHT_FOR)
}

/// For a request that brought none. It tells requests apart and is no secret.
pub(crate) fn request_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("hexadecimal digits and hyphens")
}

#[derive(Clone, Copy)]
struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        Some(RequestId::new(request_id()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::{body::to_bytes, http::StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn broken() -> StatusCode {
        panic!("of a test")
    }

    #[tokio::test]
    async fn what_takes_too_long_or_breaks_is_told_as_a_problem() {
        let never = get(std::future::pending::<()>)
            .layer::<_, Infallible>(middleware::from_fn_with_state(Duration::from_millis(1), in_time));
        let router: Router =
            Router::new().route("/never", never).route("/broken", get(broken)).layer(CatchPanicLayer::custom(panicked));
        for (path, code) in [("/never", Code::Unavailable), ("/broken", Code::Internal)] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), code.status(), "{path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{path}");
            let body = to_bytes(answer.into_body(), 4_096).await.unwrap();
            assert_eq!(serde_json::from_slice::<api::Problem>(&body).unwrap().code, code, "{path}");
        }
    }
}
