//! Messages of the protocol: JSON-RPC over HTTP, one a request.
//!
//! Revision 2026-07-28 has no sessions: each request says by itself which revision it is of and what its client can do. Clients of earlier revisions say
//! that once, by `initialize`; they are served without a session, too, but for those that can ask their user: that is sealed into the session's id.

use api::Code;
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use url::{Host, Url};
use x402::JsonMap;

use crate::problem::Problem;

/// From this revision on, a server may ask a client's user something.
const ASKS_FROM: &str = "2025-06-18";
/// The revision without sessions.
pub(crate) const CURRENT: &str = "2026-07-28";
/// Those with `initialize`, newest first.
const EARLIER: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER: &str = "io.modelcontextprotocol/serverInfo";

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;
/// What clients of earlier revisions know for a resource that is not there.
const RESOURCE_NOT_FOUND: i32 = -32002;

/// What the user said, in the parameters of a call.
pub(crate) const SAID: &str = "inputResponses";

/// Most of a stranger's text that is repeated to them.
const SHOWN_MAX_CHARS: usize = 100;

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: Value,
    pub(crate) method: String,
    pub(crate) params: JsonMap,
}

/// What a call came to: its result, and for how many milliseconds a client may keep it, and whether for others, too.
pub(crate) type Done = Result<(JsonMap, Option<(u64, &'static str)>), Fault>;

/// What a client sends.
#[derive(Debug)]
pub(crate) enum Message {
    Call(Call),
    /// It wants no answer.
    Notification,
    /// What the user said to a question.
    Answer {
        question: String,
        agreed: bool,
    },
}

/// The revisions that are served, newest first.
pub(crate) fn versions() -> impl Iterator<Item = &'static str> {
    [CURRENT].into_iter().chain(EARLIER)
}

/// How a client has to be spoken with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// It speaks the revision without sessions.
    pub(crate) is_current: bool,
    /// It can ask its user something.
    pub(crate) can_ask: bool,
}

/// An error of the protocol. What goes wrong with a tool is a result, so that the model reads it.
#[derive(Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Fault {
    fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None }
    }

    fn bad(code: i32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The call is one, what it asks for is not.
    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, INVALID_PARAMS, message)
    }

    pub(crate) fn no_method(client: Client, method: &str) -> Self {
        let status = if client.is_current { StatusCode::NOT_FOUND } else { StatusCode::OK };
        Self::new(status, METHOD_NOT_FOUND, format!("There is no method {}", shown(method)))
    }

    pub(crate) fn no_resource(client: Client, uri: &str) -> Self {
        let code = if client.is_current { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
        let data = Some(json!({"uri": shown(uri)}));
        Self { data, ..Self::new(StatusCode::OK, code, "There is no such resource") }
    }

    /// What a problem is where no tool's result can say it.
    pub(crate) fn problem(Problem(problem): Problem) -> Self {
        let code = if problem.code == Code::InvalidRequest { INVALID_PARAMS } else { INTERNAL_ERROR };
        Self { data: Some(json!(problem)), ..Self::new(StatusCode::OK, code, problem.to_string()) }
    }

    /// The session is none that began here, or another's.
    pub(crate) fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "There is no such session: initialize again")
    }

    /// What came answers nothing.
    pub(crate) fn no_question() -> Self {
        Self::bad(INVALID_REQUEST, "This is no call of JSON-RPC 2.0, and answers no question that was put to you")
    }

    /// The answer fits into no stream.
    pub(crate) fn too_long() -> Self {
        Self::new(StatusCode::OK, INTERNAL_ERROR, "The answer is too long for a stream: post the call to /mcp")
    }

    /// As the answer to the call with this id; of no call when it was none.
    pub(crate) fn answer(self, id: Option<Value>) -> Response {
        respond(self.status, self.message(id))
    }

    /// The same, as a message.
    pub(crate) fn message(self, id: Option<Value>) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = self.data {
            error["data"] = data;
        }
        let mut message = json!({"jsonrpc": "2.0", "error": error});
        if let Some(id) = id {
            message["id"] = id;
        }
        message
    }
}

/// As much of a stranger's text as is repeated.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX_CHARS).collect()
}

fn respond(status: StatusCode, message: Value) -> Response {
    let mut response = (status, Json(message)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The one message of a request.
pub(crate) fn read(body: &[u8]) -> Result<Message, Fault> {
    let message: Value =
        serde_json::from_slice(body).map_err(|error| Fault::bad(PARSE_ERROR, format!("This is not JSON: {error}")))?;
    let Value::Object(mut message) = message else {
        return Err(Fault::bad(INVALID_REQUEST, "Send one message in a request, as a JSON object"));
    };
    let is_rpc = message.get("jsonrpc").is_some_and(|version| version == "2.0");
    let (method, id) = (message.remove("method"), message.remove("id"));
    let method = match (method, &id) {
        (Some(Value::String(method)), _) if is_rpc => method,
        (None, Some(Value::String(question)))
            if is_rpc && ["result", "error"].iter().any(|field| message.contains_key(*field)) =>
        {
            let agreed = message.get("result").is_some_and(agrees);
            return Ok(Message::Answer { question: question.clone(), agreed });
        }
        _ => return Err(Fault::no_question()),
    };
    let params = match message.remove("params") {
        None => JsonMap::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Fault::bad(INVALID_REQUEST, "params must be a JSON object")),
    };
    match id {
        None => Ok(Message::Notification),
        Some(id @ (Value::String(_) | Value::Number(_))) => Ok(Message::Call(Call { id, method, params })),
        Some(_) => Err(Fault::bad(INVALID_REQUEST, "id must be a text or a number")),
    }
}

/// Whether what a user said to a question of approval is yes.
pub(crate) fn agrees(answer: &Value) -> bool {
    answer["action"] == "accept" && answer["content"]["approve"] == true
}

/// Whether a client can ask its user something.
fn can_ask(capabilities: &JsonMap) -> bool {
    let elicitation = capabilities.get("elicitation").and_then(Value::as_object);
    elicitation.is_some_and(|modes| modes.is_empty() || modes.contains_key("form"))
}

/// Whether a page of this origin may ask. A name that was made to point here is none of ours: neither the market's nor a loopback's.
pub(crate) fn is_welcome(headers: &HeaderMap, public: &Url) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|text| Url::parse(text).ok());
    origin.is_some_and(|origin| {
        let is_loopback = match origin.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        is_loopback || origin.origin() == public.origin()
    })
}

impl Call {
    /// Who sends it, as far as it says so.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Result<Client, Fault> {
        let version = text(headers, "mcp-protocol-version");
        let meta = self.params.get("_meta");
        let meta = |name: &str| meta.and_then(|meta| meta.get(name));
        let Some(named) = meta(VERSION) else {
            return match version {
                _ if self.method == "initialize" => Ok(Client::default()),
                None => Ok(Client::default()),
                Some(version) if EARLIER.contains(&version) => Ok(Client::default()),
                Some(CURRENT) => Err(Fault::bad(INVALID_PARAMS, format!("_meta must have {VERSION} and {CAPABILITIES}"))),
                Some(version) => Err(unsupported(version)),
            };
        };
        if named.as_str() != version {
            return Err(mismatch("MCP-Protocol-Version", "_meta"));
        }
        if named != CURRENT {
            return Err(unsupported(named.as_str().unwrap_or_default()));
        }
        let capabilities = meta(CAPABILITIES).and_then(Value::as_object);
        let capabilities = capabilities.ok_or_else(|| Fault::bad(INVALID_PARAMS, format!("_meta must have {CAPABILITIES}")))?;
        if text(headers, "mcp-method") != Some(self.method.as_str()) {
            return Err(mismatch("Mcp-Method", "method"));
        }
        let names = match self.method.as_str() {
            "tools/call" => Some("name"),
            "resources/read" => Some("uri"),
            _ => None,
        };
        if let Some(field) = names
            && text(headers, "mcp-name").and_then(decoded).as_deref() != self.params.get(field).and_then(Value::as_str)
        {
            return Err(mismatch("Mcp-Name", field));
        }
        Ok(Client { is_current: true, can_ask: can_ask(capabilities) })
    }

    /// The answer with what it came to.
    pub(crate) fn answer(self, client: Client, done: Done) -> Response {
        match done {
            Ok((result, cached)) => respond(StatusCode::OK, self.result(client, result, cached)),
            Err(fault) => fault.answer(Some(self.id)),
        }
    }

    /// The same, as a message.
    pub(crate) fn message(self, client: Client, done: Done) -> Value {
        match done {
            Ok((result, cached)) => self.result(client, result, cached),
            Err(fault) => fault.message(Some(self.id)),
        }
    }

    fn result(self, client: Client, mut result: JsonMap, cached: Option<(u64, &str)>) -> Value {
        if client.is_current {
            result.entry("resultType").or_insert_with(|| "complete".into());
            if let Some((ttl, scope)) = cached {
                result.insert("ttlMs".into(), ttl.into());
                result.insert("cacheScope".into(), scope.into());
            }
            if let Value::Object(meta) = result.entry("_meta").or_insert_with(|| json!({})) {
                meta.insert(SERVER.into(), server());
            }
        }
        json!({"jsonrpc": "2.0", "id": self.id, "result": result})
    }

    /// The revision that `initialize` agrees on: the one that was asked for, if it is served.
    fn version(&self) -> &'static str {
        let asked = self.params.get("protocolVersion").and_then(Value::as_str);
        EARLIER.into_iter().find(|version| Some(*version) == asked).unwrap_or(EARLIER[0])
    }

    /// Whether it is an `initialize` of a client that can ask its user something.
    pub(crate) fn begins_asking(&self) -> bool {
        let capabilities = self.params.get("capabilities").and_then(Value::as_object);
        self.method == "initialize" && self.version() >= ASKS_FROM && capabilities.is_some_and(can_ask)
    }

    /// What the client says that its user said: those that began with `initialize` are asked, and do not say it by themselves.
    pub(crate) fn forget_said(&mut self) {
        self.params.remove(SAID);
    }

    /// What the user said, where clients of the revision without sessions put it.
    pub(crate) fn agree(&mut self, agreed: bool) {
        let action = if agreed { "accept" } else { "decline" };
        self.params.insert(SAID.into(), json!({"approval": {"action": action, "content": {"approve": agreed}}}));
    }

    /// The answer to `initialize`.
    pub(crate) fn initialized(&self, instructions: &str) -> JsonMap {
        map(json!({
            "protocolVersion": self.version(), "capabilities": capabilities(), "serverInfo": server(), "instructions": instructions,
        }))
    }
}

/// The answer to `server/discover`.
pub(crate) fn discovered(instructions: &str) -> JsonMap {
    let versions: Vec<_> = versions().collect();
    map(json!({"supportedVersions": versions, "capabilities": capabilities(), "instructions": instructions}))
}

fn capabilities() -> Value {
    json!({"tools": {}, "resources": {}})
}

fn server() -> Value {
    json!({"name": "florin-market", "title": "Florin market", "version": env!("CARGO_PKG_VERSION")})
}

/// An object that was written down as one.
pub(crate) fn map(value: Value) -> JsonMap {
    match value {
        Value::Object(map) => map,
        other => JsonMap::from_iter([("value".into(), other)]),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What a header's value stands for: itself, or Base64 where a header could not carry it.
fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn mismatch(header: &str, field: &str) -> Fault {
    Fault::bad(HEADER_MISMATCH, format!("Header mismatch: {header} is not what the message has in {field}"))
}

fn unsupported(version: &str) -> Fault {
    let data = json!({"supported": versions().collect::<Vec<_>>(), "requested": shown(version)});
    Fault { data: Some(data), ..Fault::bad(UNSUPPORTED_VERSION, "Unsupported protocol version") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn call(method: &str, params: Value) -> Call {
        match read(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string().as_bytes()) {
            Ok(Message::Call(call)) => call,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_of_another_origin_may_not_ask() {
        let public: Url = "https://market.example/base/".parse().unwrap();
        let welcome = |origin: &str| is_welcome(&headers(&[("origin", origin)]), &public);
        assert!(is_welcome(&HeaderMap::new(), &public), "what is no page says no origin");
        assert!(welcome("https://market.example") && welcome("http://localhost:6274") && welcome("http://127.0.0.1:80"));
        let strangers =
            ["http://market.example", "https://market.example:444", "https://localhost.example", "null", "file://", ""];
        assert_eq!(strangers.map(welcome), [false; 6]);
    }

    #[test]
    fn a_name_that_no_header_can_carry_comes_as_base64() {
        let meta = json!({VERSION: CURRENT, CAPABILITIES: {"elicitation": {"url": {}}}});
        let call = call("resources/read", json!({"_meta": meta, "uri": "marketplace://agent/ä"}));
        let with = |name: &str| {
            let all = [("mcp-protocol-version", CURRENT), ("mcp-method", "resources/read"), ("mcp-name", name)];
            call.client(&headers(&all)).map_err(|fault| fault.code)
        };
        let encoded = format!("=?base64?{}?=", BASE64.encode("marketplace://agent/ä"));
        assert_eq!(with(&encoded), Ok(Client { is_current: true, can_ask: false }), "it can only show pages");
        assert_eq!(with("=?base64?%%?="), Err(HEADER_MISMATCH));
        assert_eq!(with("marketplace://agent/a"), Err(HEADER_MISMATCH));
    }
}
