//! Feature `a2a`: payments between agents that talk A2A, on either side, over any A2A library.
//!
//! An agent that wants to be paid answers with a task in state `input-required` whose message carries the offers in its metadata; the
//! client sends a message to the same task that carries the payment, and the finished task carries the receipts. Messages and tasks are
//! taken as JSON objects, of A2A 1.0 or 0.3: an answer is written as the message was. The extension is activated with a header,
//! [`EXTENSIONS_HEADER`].

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod server;

use serde::{Deserialize, Serialize};
#[cfg(any(feature = "client", feature = "server"))]
use serde_json::Value;

#[cfg(feature = "client")]
pub use client::send_message;
#[cfg(feature = "server")]
pub use server::PaidSkill;

/// Names this extension in an agent's card and in [`EXTENSIONS_HEADER`].
pub const EXTENSION_URI: &str = "https://github.com/google-a2a/a2a-x402/v0.1";
/// Lists the extensions a client activates, in A2A 1.0.
pub const EXTENSIONS_HEADER: &str = "A2A-Extensions";
/// Lists the extensions a client activates, in A2A 0.3.
pub const EXTENSIONS_HEADER_0_3: &str = "X-A2A-Extensions";

/// In a message's metadata: where the payment stands, a [`PaymentStatus`].
pub const STATUS: &str = "x402.payment.status";
/// In a message's metadata: the offers, a [`crate::PaymentRequired`].
pub const REQUIRED: &str = "x402.payment.required";
/// In a message's metadata: the payment, a [`crate::PaymentPayload`].
pub const PAYLOAD: &str = "x402.payment.payload";
/// In a message's metadata: the receipts so far, a list of [`crate::SettleResponse`].
pub const RECEIPTS: &str = "x402.payment.receipts";
/// In a message's metadata: why a payment failed.
pub const ERROR: &str = "x402.payment.error";

/// Where the payment of a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentStatus {
    /// The agent wants to be paid.
    PaymentRequired,
    /// The client sent a payment.
    PaymentSubmitted,
    /// The client does not pay.
    PaymentRejected,
    /// The payment is good and the agent works.
    PaymentVerified,
    /// The payment settled.
    PaymentCompleted,
    /// The payment is not good, or did not settle.
    PaymentFailed,
}

/// The state of a task, as A2A 0.3 writes it (`input-required`); 1.0 writes `TASK_STATE_INPUT_REQUIRED`.
#[cfg(any(feature = "client", feature = "server"))]
fn state(task: &crate::JsonMap) -> Option<String> {
    let state = task.get("status")?.get("state").and_then(Value::as_str)?;
    Some(state.strip_prefix("TASK_STATE_").map_or_else(|| state.to_owned(), |name| name.to_lowercase().replace('_', "-")))
}
