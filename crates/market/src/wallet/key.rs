use alloy::primitives::{B256, keccak256};
use api::Code;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{ledger::Key, problem::Problem};

/// Longest key.
const KEY_LEN_MAX_BYTES: usize = 255;

/// The header `Idempotency-Key`.
#[derive(Clone, Debug)]
pub(crate) struct Idempotency(String);

impl Idempotency {
    /// As the ledger keeps it: a key is the caller's own, for one path; the request is what was understood of it.
    pub(crate) fn of(&self, caller: Uuid, path: &str, request: &impl Serialize) -> Key {
        let key =
            Sha256::new_with_prefix(caller.as_bytes()).chain_update(path).chain_update([0]).chain_update(&self.0).finalize();
        let request = serde_json::to_vec(request).expect("what was read from JSON is written as JSON");
        Key { key: B256::from_slice(&key), fingerprint: B256::from_slice(&Sha256::digest(request)) }
    }
}

/// The key of one of several things that a request asks for: theirs, with the place in it.
pub(crate) fn part(whole: Key, at: usize) -> Key {
    let digest = Sha256::new_with_prefix(whole.key).chain_update((at as u64).to_be_bytes()).finalize();
    Key { key: B256::from_slice(&digest), ..whole }
}

/// The key of what is done once whoever asks for it.
pub(crate) fn once(what: &str, whose: &[u8], when: &str) -> Key {
    let digest = keccak256([what.as_bytes(), whose, when.as_bytes()].concat());
    Key { key: digest, fingerprint: digest }
}

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = "Send the header Idempotency-Key, a new one for each new request and the same one when you repeat it";
        let found = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        found.ok_or_else(|| Problem::new(Code::IdempotencyKeyMissing, missing))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let Some(value) = parts.headers.get(api::header::IDEMPOTENCY_KEY) else { return Ok(None) };
        let bad = || Problem::invalid(format!("Idempotency-Key must be 1 to {KEY_LEN_MAX_BYTES} visible ASCII characters"));
        let text = value.to_str().map_err(|_| bad())?;
        if text.is_empty() || text.len() > KEY_LEN_MAX_BYTES {
            return Err(bad());
        }
        Ok(Some(Self(text.to_owned())))
    }
}
