//! Byte ranges of content (RFC 9110, section 14). One range at a time: whoever asks for several gets the whole.

use std::ops::Range;

use axum::http::{HeaderMap, header};

use crate::etag;

/// What of the content is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing: the caller has it.
    Nothing,
    All,
    Part(Range<u64>),
    /// A part that does not exist.
    Beyond,
}

/// What these headers ask for, of content of `len` bytes with this tag.
pub(crate) fn wanted(headers: &HeaderMap, tag: &str, len: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if etag::is_known(headers, tag) {
        return Wanted::Nothing;
    }
    if text(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::All;
    }
    match text(header::RANGE).and_then(|text| text.strip_prefix("bytes=")) {
        Some(range) if !range.contains(',') => part(range.trim(), len),
        _ => Wanted::All,
    }
}

fn part(range: &str, len: u64) -> Wanted {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    // What is no range is ignored, as the standard asks.
    let Some((Some(first), Some(last))) = range.split_once('-').map(|(a, b)| (number_or(a, number), number_or(b, number))) else {
        return Wanted::All;
    };
    let range = match (first, last) {
        (None, None) => return Wanted::All,
        (Some(first), Some(last)) if last < first => return Wanted::All,
        (Some(first), last) => first..last.map_or(len, |last| last.saturating_add(1).min(len)),
        (None, Some(last)) => len.saturating_sub(last)..len,
    };
    if range.is_empty() { Wanted::Beyond } else { Wanted::Part(range) }
}

/// A number, nothing, or `None` for something else.
fn number_or(text: &str, number: impl Fn(&str) -> Option<u64>) -> Option<Option<u64>> {
    if text.is_empty() { Some(None) } else { number(text).map(Some) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ask(headers: &[(header::HeaderName, &str)]) -> Wanted {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        wanted(&headers, "\"tag\"", 100)
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (range, expected) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("bytes=-5", Wanted::Part(95..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=99-500", Wanted::Part(99..100)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-2", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=0-1,4-5", Wanted::All),
            ("lines=0-1", Wanted::All),
        ] {
            assert_eq!(ask(&[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(ask(&[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"other\"")]), Wanted::All);
        assert_eq!(ask(&[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"tag\"")]), Wanted::Part(0..10));
        assert_eq!(ask(&[(header::RANGE, "bytes=0-9"), (header::IF_NONE_MATCH, "\"a\", \"tag\"")]), Wanted::Nothing);
        assert_eq!(ask(&[]), Wanted::All);
    }
}
