use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use crate::JsonMap;

/// Key of the extension by which a client names one purchase, so that no retry of it pays twice.
pub const PAYMENT_IDENTIFIER: &str = "payment-identifier";

const LEN_MIN: usize = 16;
const LEN_MAX: usize = 128;

/// The name of one purchase: 16 to 128 letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PaymentId(String);

/// Not the name of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payment identifier has {LEN_MIN} to {LEN_MAX} letters, digits, `_` or `-`")]
pub struct InvalidPaymentId;

impl PaymentId {
    /// A new one, which nobody can guess.
    #[cfg(any(feature = "client", feature = "server"))]
    pub fn random() -> Self {
        Self(format!("pay_{:032x}", rand::random::<u128>()))
    }

    /// The one in a payment's extensions; `None` when the client gave none.
    ///
    /// # Errors
    /// [`InvalidPaymentId`] when there is one that breaks the rules.
    pub fn of(extensions: Option<&JsonMap>) -> Result<Option<Self>, InvalidPaymentId> {
        match extensions.and_then(|extensions| extensions.get(PAYMENT_IDENTIFIER)?.get("info")?.get("id")) {
            None | Some(Value::Null) => Ok(None),
            Some(id) => id.as_str().ok_or(InvalidPaymentId)?.parse().map(Some),
        }
    }

    /// Adds it to what a server said in the extension; false when the server did not speak of it.
    pub fn add_to(&self, extensions: &mut JsonMap) -> bool {
        let info = extensions.get_mut(PAYMENT_IDENTIFIER).and_then(|extension| extension.get_mut("info")?.as_object_mut());
        info.map(|info| info.insert("id".into(), self.0.clone().into())).is_some()
    }

    /// What a server declares under [`PAYMENT_IDENTIFIER`].
    pub fn declaration(required: bool) -> Value {
        json!({
            "info": { "required": required },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "required": { "type": "boolean" },
                    "id": { "type": "string", "minLength": LEN_MIN, "maxLength": LEN_MAX, "pattern": "^[a-zA-Z0-9_-]+$" },
                },
                "required": ["required"],
            },
        })
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PaymentId {
    type Err = InvalidPaymentId;

    fn from_str(text: &str) -> Result<Self, InvalidPaymentId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let valid = (LEN_MIN..=LEN_MAX).contains(&text.len()) && text.bytes().all(allowed);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidPaymentId) }
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
