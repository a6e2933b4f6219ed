//! The headers: their names, and base64 (standard alphabet, padded) of JSON with a limit on size.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, de::DeserializeOwned};

use crate::DecodeError;

/// On a 402: base64 of [`crate::PaymentRequired`].
pub const PAYMENT_REQUIRED: &str = "payment-required";
/// On a request: base64 of [`crate::PaymentPayload`].
pub const PAYMENT_SIGNATURE: &str = "payment-signature";
/// On the answer to a paid request: base64 of [`crate::SettleResponse`].
pub const PAYMENT_RESPONSE: &str = "payment-response";
/// From a facilitator to the seller: base64 of a JSON object, what it did about each extension.
pub const EXTENSION_RESPONSES: &str = "extension-responses";
/// From a handler to the server layer, never sent: JSON `{"amount": "1500" | "12.5%" | "$0.05"}`, see [`crate::Charge`].
pub const SETTLEMENT_OVERRIDES: &str = "settlement-overrides";
/// Version 1, on a request: base64 of [`crate::v1::PaymentPayload`].
pub const X_PAYMENT: &str = "x-payment";
/// Version 1, on the answer: base64 of [`crate::v1::SettleResponse`].
pub const X_PAYMENT_RESPONSE: &str = "x-payment-response";

/// Longest header value read or written, before decoding. Servers commonly refuse more than 16 KiB anyway.
pub const VALUE_LEN_MAX_BYTES: usize = 32 * 1024;

/// Encodes `value` for a header. The result is ASCII.
///
/// # Errors
/// [`DecodeError::TooLarge`] when no peer would read it: shorten descriptions and extensions.
pub fn encode<T: Serialize>(value: &T) -> Result<String, DecodeError> {
    let text = STANDARD.encode(serde_json::to_vec(value).map_err(|e| DecodeError::json(&e))?);
    within_limit(text.len())?;
    Ok(text)
}

/// Decodes a header value. Never panics, whatever the bytes.
///
/// # Errors
/// [`DecodeError`], which says what is wrong with it.
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, DecodeError> {
    within_limit(value.len())?;
    let json = STANDARD.decode(value).map_err(|_| DecodeError::NotBase64)?;
    serde_json::from_slice(&json).map_err(|e| DecodeError::json(&e))
}

fn within_limit(len: usize) -> Result<(), DecodeError> {
    if len > VALUE_LEN_MAX_BYTES { Err(DecodeError::TooLarge { len, max: VALUE_LEN_MAX_BYTES }) } else { Ok(()) }
}
