//! Kept answers as bytes: one line of JSON, then the body as it is.
#![cfg(any(feature = "postgres", feature = "redis"))]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Claim, Kept, Lease, ReservationError, Served, Work};
use crate::{SettleResponse, TokenAmount};

#[derive(Serialize, Deserialize)]
struct Head {
    receipt: Option<SettleResponse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charge: Option<TokenAmount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deposit: Option<SettleResponse>,
    work: Option<WorkHead>,
}

#[derive(Serialize, Deserialize)]
struct WorkHead {
    status: u16,
    /// Values may be any bytes, so they are base64.
    headers: Vec<(String, String)>,
}

pub(super) fn encode(kept: &Kept) -> Vec<u8> {
    let work = kept.work.as_ref();
    let head = |work: &Work| WorkHead {
        status: work.status.as_u16(),
        headers: work.headers.iter().map(|(name, value)| (name.to_string(), STANDARD.encode(value))).collect(),
    };
    let (receipt, deposit) = (kept.receipt.clone(), kept.deposit.clone());
    let head = Head { receipt, charge: kept.charge, deposit, work: work.map(head) };
    let mut bytes = serde_json::to_vec(&head).expect("texts and numbers serialize");
    bytes.push(b'\n');
    bytes.extend_from_slice(work.map_or(&[], |work| &work.body));
    bytes
}

/// What a row of a store says to who asks for it.
pub(super) fn claim(lease: Option<Lease>, kept: Option<&[u8]>, spent: bool) -> Result<Claim, ReservationError> {
    let kept = kept.map(|bytes| decode(bytes).ok_or_else(|| store("a kept answer cannot be read"))).transpose()?;
    Ok(match (lease, kept) {
        (Some(lease), None) => Claim::New(lease),
        (Some(lease), Some(kept)) => Claim::Resume(lease, Box::new(kept)),
        (None, Some(Kept { receipt: Some(receipt), work, .. })) if spent => Claim::Spent(Box::new(Served { receipt, work })),
        (None, _) if spent => return Err(store("a spent payment has no receipt")),
        (None, _) => Claim::Busy,
    })
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    let body = Bytes::copy_from_slice(&bytes[end + 1..]);
    let work = match head.work {
        None => None,
        Some(WorkHead { status, headers }) => {
            let pair = |(name, value): (String, String)| {
                let value = STANDARD.decode(value).ok()?;
                Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(&value).ok()?))
            };
            let headers: Vec<_> = headers.into_iter().map(pair).collect::<Option<_>>()?;
            let mut map = HeaderMap::with_capacity(headers.len());
            for (name, value) in headers {
                map.append(name, value);
            }
            Some(Work { status: StatusCode::from_u16(status).ok()?, headers: map, body })
        }
    };
    Some(Kept { receipt: head.receipt, charge: head.charge, deposit: head.deposit, work })
}

pub(super) fn store(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReservationError {
    ReservationError::Store(error.into())
}
