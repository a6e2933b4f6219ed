use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// What kind of problem it is. Codes are never renamed.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
            /// A code that this version does not know.
            Other(String),
        }

        impl Code {
            /// All that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As on the wire.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Other(text) => text }
            }

            /// The HTTP status it is answered with.
            pub const fn status(&self) -> u16 {
                match self { $(Self::$variant => $status,)+ Self::Other(_) => 500 }
            }

            /// What it means, the same for every occurrence.
            pub const fn title(&self) -> &'static str {
                match self { $(Self::$variant => $title,)+ Self::Other(_) => "Something went wrong" }
            }
        }

        impl From<String> for Code {
            fn from(text: String) -> Self {
                match text.as_str() { $($text => Self::$variant,)+ _ => Self::Other(text) }
            }
        }
    };
}

codes! {
    /// A parameter, field or body cannot be used.
    InvalidRequest = "invalid_request", 400, "The request cannot be used";
    /// A request that moves money needs the header `Idempotency-Key`.
    IdempotencyKeyMissing = "idempotency_key_missing", 400, "An idempotency key is needed";
    /// No credentials, or wrong ones.
    Unauthenticated = "unauthenticated", 401, "Who you are is not proven";
    /// The signature does not prove the wallet.
    WalletNotProven = "wallet_not_proven", 401, "The signature does not prove the wallet";
    /// The ledger has less than is needed.
    InsufficientFunds = "insufficient_funds", 402, "The balance is too small";
    /// Proven, but not allowed.
    Forbidden = "forbidden", 403, "You may not do this";
    /// More than is allowed in a time.
    OverLimit = "over_limit", 403, "A limit is reached";
    /// What was done looks like fraud, and somebody has to look first.
    UnderReview = "under_review", 403, "Somebody has to look at this first";
    /// There is no such thing.
    NotFound = "not_found", 404, "There is no such thing";
    /// The path is served, but not by this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not served here";
    /// The email address is registered.
    EmailTaken = "email_taken", 409, "The email address is registered";
    /// The name is taken.
    NameTaken = "name_taken", 409, "The name is taken";
    /// The thing is in no state that allows this.
    WrongState = "wrong_state", 409, "The state of things does not allow this";
    /// It costs more than the buyer would pay. Nothing was charged.
    PriceTooHigh = "price_too_high", 409, "The price is above the buyer's ceiling";
    /// Whoever the caller acts for has to agree first. Nothing was done.
    ApprovalNeeded = "approval_needed", 409, "Somebody has to agree first";
    /// The payment bought something else.
    PaymentUsed = "payment_used", 409, "The payment was used for another purchase";
    /// What is asked for was there, and is not kept any more.
    NotKept = "not_kept", 410, "It is not kept any more";
    /// Larger than allowed.
    TooLarge = "too_large", 413, "The body is too large";
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used for another request";
    /// Well-formed, but not consistent.
    Inconsistent = "inconsistent", 422, "The request contradicts what is known";
    /// Asked too often.
    TooManyRequests = "too_many_requests", 429, "Too many requests";
    /// Something unforeseen happened here.
    Internal = "internal", 500, "Something went wrong here";
    /// Something this depends on does not answer.
    Unavailable = "unavailable", 503, "Not possible right now";
    /// The payment was sent to the chain; repeat the request with the same payment.
    SettlementPending = "settlement_pending", 503, "The payment is under way";
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": Self::ALL.iter().map(Self::as_str).collect::<Vec<_>>()})
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refusal, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{title}: {detail} ({code})")]
pub struct Problem {
    /// A URN of the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem it is, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time and what to do about it.
    #[serde(default)]
    pub detail: String,
    /// What kind of problem it is, for programs.
    pub code: Code,
    /// Seconds after which to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of a kind, with what is wrong this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:florin:problem:{code}"),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            retry_after: None,
        }
    }
}
