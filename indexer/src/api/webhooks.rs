//! Webhooks are registered by whoever has the administrator's token.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;
use uuid::Uuid;

use super::{ApiState, Chain, problem::Problem, stream::Filter};
use crate::webhooks::{self, Dead, RegisterError, Registered, Shown};

/// Longest URL.
const URL_BYTES_MAX: usize = 2_000;
/// Most confirmations waited for.
const CONFIRMATIONS_MAX: u64 = 100_000;

/// Who is to be told of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    /// Where deliveries are posted to: https, a host on the public internet.
    url: String,
    /// What to tell of, as the parameters of `/stream`; `from_block` or nothing says where to begin.
    #[serde(default)]
    filter: Filter,
}

/// What to tell again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// Everything from this block on; without it, only what was given up.
    from_block: Option<u64>,
}

/// The chain, for the administrator only.
fn admitted<'a>(api: &'a ApiState, headers: &HeaderMap, chain: &str) -> Result<&'a Chain, Problem> {
    let Some(token) = &api.admin_token else {
        return Err(Problem::forbidden("Start the indexer with --admin-token to register webhooks"));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Of hashes: their comparison takes as long whatever the token's length is.
    let same = Sha256::digest(given).ct_eq(&Sha256::digest(token.as_bytes()));
    if !bool::from(same) {
        return Err(Problem::unauthorized("Send Authorization: Bearer with the administrator's token"));
    }
    api.chain(chain).map(|chain| &**chain)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid_parameter(error.to_string()))
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TooMany => Self::conflict(error.to_string()),
            RegisterError::Feed(error) => error.into(),
            RegisterError::Database(error) => error.into(),
            RegisterError::Random(_) => Self::internal(),
        }
    }
}

/// `POST .../webhooks`
pub(super) async fn register(
    State(api): State<ApiState>,
    Path(chain): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let chain = admitted(&api, &headers, &chain)?;
    let Registration { url, filter } = read(&body)?;
    let parsed: Url = url.parse().map_err(|error| Problem::invalid_parameter(format!("url: {error}")))?;
    if url.len() > URL_BYTES_MAX {
        return Err(Problem::invalid_parameter(format!("url: at most {URL_BYTES_MAX} bytes")));
    }
    api.guard.check(&parsed).map_err(|error| Problem::invalid_parameter(format!("url: {error}")))?;
    let wish = filter.wish()?;
    if wish.confirmations > CONFIRMATIONS_MAX {
        return Err(Problem::invalid_parameter(format!("confirmations: at most {CONFIRMATIONS_MAX}")));
    }
    let registered = webhooks::register(&chain.writing, parsed.as_str(), &wish, filter.first_block()).await?;
    Ok((StatusCode::CREATED, Json(registered)))
}

/// `GET .../webhooks`
pub(super) async fn list(
    State(api): State<ApiState>,
    Path(chain): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<Shown>>, Problem> {
    Ok(Json(webhooks::list(&admitted(&api, &headers, &chain)?.writing).await?))
}

/// `DELETE .../webhooks/{id}`
pub(super) async fn remove(
    State(api): State<ApiState>,
    Path((chain, id)): Path<(String, Uuid)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let gone = webhooks::remove(&admitted(&api, &headers, &chain)?.writing, id).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(id)) }
}

/// `GET .../webhooks/{id}/dead-letters`
pub(super) async fn dead_letters(
    State(api): State<ApiState>,
    Path((chain, id)): Path<(String, Uuid)>,
    headers: HeaderMap,
) -> Result<Json<Vec<Dead>>, Problem> {
    Ok(Json(webhooks::dead_letters(&admitted(&api, &headers, &chain)?.writing, id).await?))
}

/// `POST .../webhooks/{id}/replay`
pub(super) async fn replay(
    State(api): State<ApiState>,
    Path((chain, id)): Path<(String, Uuid)>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<StatusCode, Problem> {
    let chain = admitted(&api, &headers, &chain)?;
    let Replay { from_block } = if body.is_empty() { Replay::default() } else { read(&body)? };
    let found = webhooks::replay(&chain.writing, id, from_block).await?;
    if found { Ok(StatusCode::ACCEPTED) } else { Err(unknown(id)) }
}

fn unknown(id: Uuid) -> Problem {
    Problem::not_found(format!("There is no webhook {id}"))
}
