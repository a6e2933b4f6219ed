//! What can be asked for: each operation once, with its path, who may ask, and the function that answers. Routes, checks and the description of the
//! API are all made from it, so that none of them can say something else than the others.

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::State,
    handler::Handler,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use futures::Stream;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    access::{Access, Origin, Trail},
    auth::Caller,
    input::{self, Id, Name, Number, Params},
    problem::Problem,
    service::Market,
    wallet::Idempotency,
};

/// An operation.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Its name in OpenAPI.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) describe: fn(&mut Description<'_>),
    pub(crate) route: MethodRouter<Market>,
}

impl Operation {
    /// What is said of it, with the types that these describe.
    pub(crate) fn said<'a>(&self, input: &'a mut SchemaGenerator, output: &'a mut SchemaGenerator) -> Description<'a> {
        let mut said = Description {
            input,
            output,
            in_path: None,
            query: None,
            body: None,
            idempotency: None,
            status: StatusCode::OK,
            answer: None,
            others: Vec::new(),
        };
        (self.describe)(&mut said);
        said
    }
}

macro_rules! methods {
    ($($function:ident $method:ident)*) => {
        $(
            pub(crate) fn $function<T: 'static, H: Handler<T, Market> + Described<T>>(
                path: &'static str,
                (id, summary): (&'static str, &'static str),
                access: Access,
                handler: H,
            ) -> Operation {
                let route = on(MethodFilter::$method, handler);
                Operation { method: Method::$method, path, id, summary, access, describe: H::describe, route }
            }
        )*
    };
}

methods! { get GET post POST put PUT patch PATCH delete DELETE }

/// A media type, and what it holds if that can be said.
pub(crate) type Media = (&'static str, Option<Schema>);

/// What is said of an operation in OpenAPI.
pub(crate) struct Description<'a> {
    /// Of what is read.
    pub(crate) input: &'a mut SchemaGenerator,
    /// Of what is answered.
    pub(crate) output: &'a mut SchemaGenerator,
    /// The type of the parameter in the path.
    pub(crate) in_path: Option<Schema>,
    pub(crate) query: Option<Schema>,
    pub(crate) body: Option<Media>,
    /// Whether the header `Idempotency-Key` is read, and whether it must be there.
    pub(crate) idempotency: Option<bool>,
    pub(crate) status: StatusCode,
    pub(crate) answer: Option<Media>,
    /// What else it answers that is no problem, each with its body if it has one.
    pub(crate) others: Vec<(StatusCode, Option<Media>)>,
}

/// A handler whose types say what it reads and answers.
pub(crate) trait Described<T> {
    fn describe(to: &mut Description<'_>);
}

/// Something that a handler reads.
pub(crate) trait Part {
    fn describe(_: &mut Description<'_>) {}
}

/// Something that a handler answers.
pub(crate) trait Answer {
    fn describe(to: &mut Description<'_>);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<F, Fut, A, M, $($part),*> Described<(M, $($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = Result<A, Problem>>,
            A: Answer,
            $($part: Part),*
        {
            fn describe(to: &mut Description<'_>) {
                $(<$part as Part>::describe(to);)*
                A::describe(to);
            }
        }
    };
}

described!(P1);
described!(P1, P2);
described!(P1, P2, P3);
described!(P1, P2, P3, P4);
described!(P1, P2, P3, P4, P5);
described!(P1, P2, P3, P4, P5, P6);
described!(P1, P2, P3, P4, P5, P6, P7);

impl Part for State<Market> {}
impl Part for Caller {}
impl Part for Option<Caller> {}
impl Part for HeaderMap {}
impl Part for Origin {}
impl Part for Trail {}

impl Part for Body {
    fn describe(to: &mut Description<'_>) {
        to.body = Some(("*/*", None));
    }
}

impl Part for Id {
    fn describe(to: &mut Description<'_>) {
        to.in_path = Some(json_schema!({"type": "string", "format": "uuid"}));
    }
}

impl Part for Name {
    fn describe(to: &mut Description<'_>) {
        to.in_path = Some(json_schema!({"type": "string"}));
    }
}

impl Part for Number {
    fn describe(to: &mut Description<'_>) {
        to.in_path = Some(json_schema!({"type": "integer", "minimum": 0}));
    }
}

impl<T: JsonSchema> Part for Params<T> {
    fn describe(to: &mut Description<'_>) {
        to.query = Some(T::json_schema(to.input));
    }
}

impl<T: JsonSchema> Part for input::Json<T> {
    fn describe(to: &mut Description<'_>) {
        to.body = Some(("application/json", Some(to.input.subschema_for::<T>())));
    }
}

impl Part for Idempotency {
    fn describe(to: &mut Description<'_>) {
        to.idempotency = Some(true);
    }
}

impl Part for Option<Idempotency> {
    fn describe(to: &mut Description<'_>) {
        to.idempotency = Some(false);
    }
}

impl<T: JsonSchema> Answer for Json<T> {
    fn describe(to: &mut Description<'_>) {
        to.answer = Some(("application/json", Some(to.output.subschema_for::<T>())));
    }
}

/// Something new was made.
impl<T: JsonSchema> Answer for (StatusCode, Json<T>) {
    fn describe(to: &mut Description<'_>) {
        to.status = StatusCode::CREATED;
        Json::<T>::describe(to);
    }
}

/// Nothing is answered.
impl Answer for StatusCode {
    fn describe(to: &mut Description<'_>) {
        to.status = Self::NO_CONTENT;
    }
}

/// JSON, with headers of its own.
impl<T: JsonSchema> Answer for (HeaderMap, Json<T>) {
    fn describe(to: &mut Description<'_>) {
        Json::<T>::describe(to);
    }
}

macro_rules! by_hand {
    ($($(#[doc = $doc:literal])+ $name:ident $describe:expr;)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) struct $name(pub(crate) Response);

            impl IntoResponse for $name {
                fn into_response(self) -> Response {
                    self.0
                }
            }

            impl Answer for $name {
                fn describe(to: &mut Description<'_>) {
                    let describe: fn(&mut Description<'_>) = $describe;
                    describe(to);
                }
            }
        )+
    };
}

by_hand! {
    /// Content of whoever asks, or a part of it, or nothing of what is known.
    OwnContent |to| {
        to.answer = Some(("*/*", None));
        to.others = vec![
            (StatusCode::PARTIAL_CONTENT, Some(("*/*", None))),
            (StatusCode::NOT_MODIFIED, None),
            (StatusCode::RANGE_NOT_SATISFIABLE, None),
        ];
    };
    /// Content that was just paid for, or what to pay.
    Purchased |to| {
        to.answer = Some(("*/*", None));
        to.others = vec![(StatusCode::PAYMENT_REQUIRED, Some(("application/json", Some(offers()))))];
    };
    /// A deposit that was just paid, or what to pay.
    Credited |to| {
        Json::<api::ledger::Deposit>::describe(to);
        to.others = vec![(StatusCode::PAYMENT_REQUIRED, Some(("application/json", Some(offers()))))];
    };
    /// A line of JSON for each row.
    Lines |to| to.answer = Some(("application/x-ndjson", None));
    /// A table.
    Csv |to| to.answer = Some(("text/csv", None));
    /// What a message is answered with: a message, events of which it is the last, or nothing here. Refusals are messages, too.
    Messages |to| {
        let message = || Some(("application/json", None));
        to.answer = message();
        to.others = vec![
            (StatusCode::OK, Some(("text/event-stream", None))),
            (StatusCode::ACCEPTED, None),
            (StatusCode::BAD_REQUEST, message()),
            (StatusCode::NOT_FOUND, message()),
        ];
    };
    /// Events as they come.
    EventStream |to| to.answer = Some(("text/event-stream", None));
}

impl EventStream {
    /// Server-sent events, which nothing in between keeps.
    pub(crate) fn of<F: Into<Bytes> + 'static>(frames: impl Stream<Item = Result<F, Infallible>> + Send + 'static) -> Self {
        let mut response = Response::new(Body::from_stream(frames));
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would collect them first.
        answer.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        Self(response)
    }
}

/// What x402 has clients sign, and what else may be paid with.
fn offers() -> Schema {
    json_schema!({
        "type": "object",
        "description": "PaymentRequired of x402, which is in the header PAYMENT-REQUIRED, too",
        "required": ["x402Version", "resource", "accepts"],
        "properties": {
            "x402Version": {"type": "integer"},
            "error": {"type": "string"},
            "resource": {"type": "object"},
            "accepts": {"type": "array", "items": {"type": "object"}},
            "ledger": {
                "type": "object",
                "description": "The price from the ledger: USDC, and ARD",
                "properties": {"balance": {"type": "string"}, "token": {"type": "string"}, "how": {"type": "string"}},
            },
        },
    })
}
