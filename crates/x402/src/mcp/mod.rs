//! Feature `mcp`: paid tools of the Model Context Protocol, on either side, over any MCP library.
//!
//! An unpaid call is answered with an error result that holds the offers; the client calls again with the payment in
//! `_meta["x402/payment"]`, and the result's `_meta["x402/payment-response"]` is the receipt. Requests' `params` and results are taken as JSON
//! objects, as every MCP library reads and writes them.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "client")]
pub use client::call_tool;
#[cfg(feature = "server")]
pub use server::PaidTool;

/// In `_meta` of a call: the payment.
pub const PAYMENT: &str = "x402/payment";
/// In `_meta` of a result: the receipt.
pub const PAYMENT_RESPONSE: &str = "x402/payment-response";

/// Longest offers read from a result, in bytes.
#[cfg(feature = "client")]
const OFFERS_LEN_MAX_BYTES: usize = 256 * 1024;
