use serde_json::{Value, json};

/// Key of the extension that says whose software took part in a payment.
pub const BUILDER_CODE: &str = "builder-code";

const LEN_MAX: usize = 32;
/// Services a server may name.
const SERVER_SERVICES_MAX: usize = 5;
/// Services a payment names in the end: the server's and the client's.
pub(crate) const SERVICES_MAX: usize = 10;

/// Whose software a server is, for the facilitator to write behind the settlement's calldata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderCode {
    app: String,
    services: Vec<String>,
}

/// Not a builder code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBuilderCode {
    /// Wrong letters or length.
    #[error("{0:?} is no builder code: 1 to {LEN_MAX} of a-z, 0-9 and _")]
    Text(String),
    /// Too many services.
    #[error("{0} services: a server names at most {SERVER_SERVICES_MAX}")]
    TooMany(usize),
}

impl BuilderCode {
    /// The code of the application, and of the services it is made with.
    ///
    /// # Errors
    /// [`InvalidBuilderCode`].
    pub fn new(app: &str, services: &[&str]) -> Result<Self, InvalidBuilderCode> {
        if services.len() > SERVER_SERVICES_MAX {
            return Err(InvalidBuilderCode::TooMany(services.len()));
        }
        let valid = |code: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            (1..=LEN_MAX).contains(&code.len()) && code.bytes().all(allowed)
        };
        match std::iter::once(&app).chain(services).find(|code| !valid(code)) {
            Some(code) => Err(InvalidBuilderCode::Text(code.chars().take(64).collect())),
            None => Ok(Self { app: app.to_owned(), services: services.iter().map(|code| (*code).to_owned()).collect() }),
        }
    }

    /// What a server declares under [`BUILDER_CODE`].
    pub fn declaration(&self) -> Value {
        let code = json!({ "type": "string", "pattern": "^[a-z0-9_]{1,32}$" });
        let mut info = json!({ "a": self.app });
        if !self.services.is_empty() {
            info["s"] = json!(self.services);
        }
        json!({
            "info": info,
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": { "a": code, "w": code, "s": { "type": "array", "maxItems": SERVICES_MAX + 1, "items": code } },
                "additionalProperties": false,
            },
        })
    }
}
