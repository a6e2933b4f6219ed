//! How messages come in, and answers go out.
//!
//! `POST /mcp` is the door: one message, one answer, at any instance. `POST /api/v1/mcp/message` is the same under another name. Clients of revision
//! 2024-11-05 open a stream first (`GET /mcp/sse`), whose first event names that path with the stream's id: what they post is then answered in the stream.
//! What needs the user's approval is answered by events, too: the question, then what came of it.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use api::{Code, McpHealth, McpMessageQuery};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Asker, Mcp, questions,
    rpc::{self, Call, Client, Done, Fault, Message},
    streams::{self, Event},
    told,
};
use crate::{
    access::{self, Access, Origin},
    auth::Caller,
    input::{JSON_LEN_MAX_BYTES, Params},
    operation::{Description, EventStream, Messages, Part},
    problem::Problem,
    router::{self, REQUEST_TIMEOUT},
    service::Market,
};

/// The session of a client that can ask its user something.
pub(super) const SESSION: &str = "mcp-session-id";
/// What some clients name their session by. It is told back, and nothing hangs on it.
pub(super) const NAMED: &str = "x-mcp-session-id";
/// Seconds until a client that posts faster than it reads may try again.
const RETRY_SECONDS: u64 = 1;

/// A message, as it came.
pub(crate) struct Posted(Result<Bytes, BytesRejection>);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Bytes::from_request(request, state).await))
    }
}

impl Part for Posted {
    fn describe(to: &mut Description<'_>) {
        let message = schemars::json_schema!({
            "type": "object",
            "description": "A message of JSON-RPC 2.0",
            "properties": {
                "jsonrpc": {"const": "2.0"},
                "id": {"type": ["string", "integer"]},
                "method": {"type": "string"},
                "params": {"type": "object"},
            },
            "required": ["jsonrpc"],
        });
        to.body = Some(("application/json", Some(message)));
    }
}

/// What came.
enum Received {
    Call(Call, Client),
    /// No call: what is answered to it.
    Answered(Response),
}

/// `GET /api/v1/mcp/health`, and `/mcp/health`: what there is for models.
pub(crate) async fn health(State(market): State<Market>) -> Result<Json<McpHealth>, Problem> {
    Ok(Json(of(&market)?.health()))
}

/// `POST /api/v1/mcp/message`: as `/mcp`, or to the stream that is named.
pub(crate) async fn message(
    State(market): State<Market>,
    origin: Origin,
    caller: Option<Caller>,
    Params(McpMessageQuery { session_id }): Params<McpMessageQuery>,
    headers: HeaderMap,
    Posted(body): Posted,
) -> Result<Messages, Problem> {
    let (mcp, asker) = (of(&market)?, Asker { caller, principal: origin.principal });
    if let Some(session_id) = session_id {
        return mcp.post(asker, &headers, body, &session_id).await.map(Messages);
    }
    let mut response = mcp.serve(asker, &headers, body).await;
    let named = headers.get(NAMED).cloned().unwrap_or_else(router::request_id);
    response.headers_mut().insert(HeaderName::from_static(NAMED), named);
    Ok(Messages(response))
}

/// `POST /api/v1/mcp/sse`: the same, answered as an event.
pub(crate) async fn event(
    State(market): State<Market>,
    origin: Origin,
    caller: Option<Caller>,
    headers: HeaderMap,
    Posted(body): Posted,
) -> Result<Messages, Problem> {
    let (mcp, asker) = (of(&market)?, Asker { caller, principal: origin.principal });
    let (call, client) = match mcp.receive(&asker, &headers, body).await {
        Received::Call(call, client) => (call, client),
        Received::Answered(response) => return Ok(Messages(response)),
    };
    Ok(Messages(match mcp.began(&asker, &headers, &call, client) {
        Some(client) => mcp.stream(asker, client, call),
        None => Fault::no_session().answer(Some(call.id)),
    }))
}

/// `GET /api/v1/mcp/sse`, and `/mcp/sse`: a stream. Its first event, `endpoint`, says where to post messages to, the others are the answers.
pub(crate) async fn listen(State(market): State<Market>, origin: Origin, headers: HeaderMap) -> Result<EventStream, Problem> {
    let mcp = of(&market)?;
    mcp.welcome(&headers)?;
    let path = market.public_url.path().trim_end_matches('/');
    let endpoint = |id: &str| format!("{path}/api/v1/mcp/message?sessionId={id}");
    mcp.streams.open(origin.principal, &market.closing, endpoint)
}

/// What answers models at this market.
fn of(market: &Market) -> Result<Arc<Mcp>, Problem> {
    let mcp = market.mcp.get().and_then(Weak::upgrade);
    mcp.ok_or_else(|| Problem::new(Code::Unavailable, "Nothing answers models yet"))
}

impl Mcp {
    /// `/mcp`, where messages come, `/mcp/sse`, and `/mcp/health`.
    pub(crate) fn routes(self: Arc<Self>) -> Router<Market> {
        let market = self.market.clone();
        let serve = move |origin: Origin, caller: Option<Caller>, headers: HeaderMap, Posted(body): Posted| {
            let (at, asker) = (Arc::clone(&self), Asker { caller, principal: origin.principal });
            async move { at.serve(asker, &headers, body).await }
        };
        Router::new()
            .route("/mcp", guarded(&market, post(serve)))
            .route("/mcp/sse", guarded(&market, get(listen)))
            .route("/mcp/health", get(health))
    }

    fn health(&self) -> McpHealth {
        McpHealth {
            status: "ok".into(),
            protocol_versions: rpc::versions().map(str::to_owned).collect(),
            tools: self.tools.len() as u64,
            resources: self.resources.len() as u64,
            streams: self.streams.count() as u64,
        }
    }

    async fn serve(self: &Arc<Self>, asker: Asker, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
        let (call, client) = match self.receive(&asker, headers, body).await {
            Received::Call(call, client) => (call, client),
            Received::Answered(response) => return response,
        };
        let Some(client) = self.began(&asker, headers, &call, client) else {
            return Fault::no_session().answer(Some(call.id));
        };
        let done = self.answer(&asker, client, &call).await;
        if question(client, &done).is_some() {
            // Nothing was done yet: it is asked again, by the answer's events.
            return self.stream(asker, client, call);
        }
        let begins_asking = call.begins_asking() && asker.caller.is_some();
        let mut response = call.answer(client, done);
        if begins_asking && let Ok(session) = HeaderValue::try_from(questions::session(&self.market, asker.principal)) {
            response.headers_mut().insert(HeaderName::from_static(SESSION), session);
        }
        response
    }

    /// Answers by events, of which one may be a question.
    fn stream(self: &Arc<Self>, asker: Asker, client: Client, call: Call) -> Response {
        let (sender, events) = mpsc::channel(2);
        let at = Arc::clone(self);
        self.market.spawn(async move {
            let message = at.complete(&asker, client, call, &sender).await;
            // Whoever hung up wants none.
            let _ = sender.send((streams::event(&message), None)).await;
        });
        streams::answer(events).0
    }

    /// Takes a message whose answer goes to a stream.
    async fn post(
        self: &Arc<Self>,
        asker: Asker,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
        session_id: &str,
    ) -> Result<Response, Problem> {
        let stream = self.streams.find(session_id, asker.principal).ok_or_else(|| {
            let detail = "This stream has ended, or is not at this instance: open another. Where there are several instances, what comes from one \
                          client must go to one of them; /mcp needs no stream";
            Problem::new(Code::NotFound, detail)
        })?;
        let (call, client) = match self.receive(&asker, headers, body).await {
            Received::Call(call, client) => (call, client),
            Received::Answered(response) => return Ok(response),
        };
        if call.method == "initialize" {
            stream.begin(call.begins_asking());
        }
        let can_ask = if client.is_current { client.can_ask } else { stream.can_ask() };
        let client = Client { can_ask, ..client };
        let place = stream.place().await;
        let full = || Problem::too_often("Too many answers wait in this stream: read them first", RETRY_SECONDS);
        let (at, place) = (Arc::clone(self), place.ok_or_else(full)?);
        self.market.spawn(async move { stream.put(&at.complete(&asker, client, call, &stream.events).await, place) });
        Ok(StatusCode::ACCEPTED.into_response())
    }

    /// The message that answers a call, after the user was asked, if that is needed.
    async fn complete(&self, asker: &Asker, client: Client, mut call: Call, events: &mpsc::Sender<Event>) -> Value {
        let mut done = self.answer(asker, client, &call).await;
        if let Some(question) = question(client, &done) {
            done = match self.questions.ask(&self.market, asker.principal, &question, events).await {
                Ok(agreed) => {
                    call.agree(agreed);
                    self.answer(asker, client, &call).await
                }
                Err(problem) => Ok((told::refusal(problem), None)),
            };
        }
        call.message(client, done)
    }

    /// The call that came, and from what client, as far as its headers say. What a user said is taken.
    async fn receive(&self, asker: &Asker, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Received {
        if let Err(problem) = self.welcome(headers) {
            return Received::Answered(problem.into_response());
        }
        let Ok(body) = body else {
            let problem = Problem::new(Code::TooLarge, format!("A message has at most {JSON_LEN_MAX_BYTES} bytes"));
            return Received::Answered(problem.into_response());
        };
        let mut call = match rpc::read(&body) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Notification) => return Received::Answered(StatusCode::ACCEPTED.into_response()),
            Ok(Message::Answer { question, agreed }) => {
                let taken = self.questions.answered(&self.market, asker.principal, &question, agreed).await;
                return Received::Answered(match taken {
                    Ok(true) => StatusCode::ACCEPTED.into_response(),
                    Ok(false) => Fault::no_question().answer(None),
                    Err(problem) => problem.into_response(),
                });
            }
            Err(fault) => return Received::Answered(fault.answer(None)),
        };
        match call.client(headers) {
            Ok(client) => {
                if !client.is_current {
                    call.forget_said();
                }
                Received::Call(call, client)
            }
            Err(fault) => Received::Answered(fault.answer(Some(call.id))),
        }
    }

    /// The client with what it said when it began, of which its session is the proof. `None` when the session is none of the caller's.
    fn began(&self, asker: &Asker, headers: &HeaderMap, call: &Call, client: Client) -> Option<Client> {
        let session = headers.get(SESSION).filter(|_| !client.is_current && call.method != "initialize");
        let Some(session) = session else { return Some(client) };
        let is_ours = session.to_str().is_ok_and(|session| questions::is_session(&self.market, session, asker.principal));
        // A question is an event.
        let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
        let can_ask = accepted.any(|accepted| accepted.contains("text/event-stream"));
        is_ours.then_some(Client { can_ask, ..client })
    }

    fn welcome(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let is_welcome = rpc::is_welcome(headers, &self.market.public_url);
        is_welcome.then_some(()).ok_or_else(|| Problem::new(Code::Forbidden, "Pages of other origins may not ask here"))
    }
}

/// What has to be asked of the user of a client that began with `initialize`. Others are told by the result, and call again with the answer.
fn question(client: Client, done: &Done) -> Option<Value> {
    let (result, _) = done.as_ref().ok()?;
    if client.is_current || result.get("resultType")? != "input_required" {
        return None;
    }
    let mut question = result.get("inputRequests")?.get("approval")?.get("params")?.clone();
    if let Value::Object(question) = &mut question {
        // Not all revisions know it, and in those that do it may be left out.
        question.remove("mode");
    }
    Some(question)
}

/// For anybody, as often and as long as an operation.
fn guarded(market: &Market, route: MethodRouter<Market>) -> MethodRouter<Market> {
    route
        .layer::<_, Infallible>(DefaultBodyLimit::max(JSON_LEN_MAX_BYTES))
        .layer::<_, Infallible>(middleware::from_fn_with_state(REQUEST_TIMEOUT, router::in_time))
        .route_layer(middleware::from_fn_with_state((market.clone(), Access::Open), access::guard))
}
