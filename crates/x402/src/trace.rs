//! One id from the first caller through every service: [W3C Trace Context](https://www.w3.org/TR/trace-context/).

use std::{fmt, str::FromStr};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// A longer one may be dropped.
const STATE_LEN_MAX_BYTES: usize = 512;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Where the work at hand stands in a trace. What is asked of a facilitator within [`TraceContext::scope`] carries it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// A trace that nobody began before.
    pub fn begin() -> Self {
        Self { trace_id: rand::random::<u128>().max(1), span_id: span_id(), flags: 0, state: None }
    }

    /// The part of a request's trace that is done here. A request without a trace, or with one that cannot be read, begins one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok().and_then(|text| text.parse::<Self>().ok()),
            _ => None,
        };
        let Some(parent) = parent else { return Self::begin() };
        let state: Vec<&[u8]> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
        let state = Some(state.join(&b","[..])).filter(|state| (1..=STATE_LEN_MAX_BYTES).contains(&state.len()));
        Self { span_id: span_id(), state: state.and_then(|state| HeaderValue::from_bytes(&state).ok()), ..parent }
    }

    /// That of the work at hand, within [`TraceContext::scope`].
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Does something as a part of this trace. What it spawns is outside again.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Takes the trace of the work at hand along into a task that is spawned.
    pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let current = Self::current();
        async move {
            match current {
                Some(current) => current.scope(work).await,
                None => work.await,
            }
        }
    }

    /// What names the trace, in logs as 32 hexadecimal digits (`{:032x}`).
    pub const fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The headers of a request that is made for the work at hand.
    pub(crate) fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(current) = Self::current() {
            let text = HeaderValue::try_from(current.to_string()).expect("hexadecimal digits");
            headers.insert(TRACEPARENT, text);
            headers.extend(current.state.map(|state| (TRACESTATE, state)));
        }
        headers
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// The text is no `traceparent` of any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("traceparent must be like 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, with ids that are not all zeros")]
pub struct InvalidTraceparent;

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// A later version is read as far as this one goes.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut parts = text.split('-');
        let mut part = |len: usize| {
            let part = parts.next().filter(|part| part.len() == len).ok_or(InvalidTraceparent)?;
            let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u128::from_str_radix(part, 16).ok().filter(|_| is_hex).ok_or(InvalidTraceparent)
        };
        let [version, trace_id, span_id, flags] = [part(2)?, part(32)?, part(16)?, part(2)?];
        let is_longer = parts.next().is_some();
        if version == 0xff || (version == 0 && is_longer) || trace_id == 0 || span_id == 0 {
            return Err(InvalidTraceparent);
        }
        let (span_id, flags) = (span_id as u64, flags as u8);
        // Of version 0, the one flag there is: whether the trace is recorded.
        Ok(Self { trace_id, span_id, flags: flags & 1, state: None })
    }
}

fn span_id() -> u64 {
    rand::random::<u64>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_what_the_standard_allows_is_read() {
        assert_eq!(PARENT.parse::<TraceContext>().map(|read| read.to_string()), Ok(PARENT.into()));
        let later = PARENT.replacen("00", "cc", 1);
        for good in [later.clone(), later + "-what-comes"] {
            assert_eq!(good.parse::<TraceContext>().map(|read| read.to_string()), Ok(PARENT.into()));
        }
        for bad in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &PARENT.replace("0af", "+af"),
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTraceparent), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_trace_goes_on_with_a_part_of_its_own_and_its_state() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let sent = TraceContext::of(&headers).scope(async { TraceContext::headers() }).await;
        let parent = sent[TRACEPARENT].to_str().unwrap_or_default();
        assert!(parent.starts_with(&PARENT[..36]) && parent.ends_with("-01") && parent != PARENT, "{parent}");
        assert_eq!(sent[TRACESTATE], "a=1,b=2");
        // Two of them are none.
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_ne!(TraceContext::of(&headers).trace_id, 0x0af7651916cd43dd8448eb211c80319c);
        assert!(TraceContext::current().is_none() && TraceContext::headers().is_empty());
    }
}
