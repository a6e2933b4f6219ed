//! What people type: amounts, durations, times, references, signatures.

use std::{fmt, path::Path, str::FromStr};

use alloy::{
    primitives::{
        Address, B256, Bytes, Signature, U256,
        aliases::{U40, U56},
        hex,
    },
    sol_types::{SolType, SolValue},
};
use anyhow::{Context, Result, anyhow};
use money::Usdc;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

/// Why a text is not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("a duration is a whole number and s, m, h or d: 90s, 15m, 24h, 30d")]
    Duration,
    #[error("a time is a duration from now (24h), in UTC as 2026-12-31T23:59:59Z, or `never`")]
    When,
    #[error("a reference is up to 32 characters of text, or 0x and 64 hex digits")]
    Reference,
    #[error("no amount that a policy can hold: at most 72057594037.927935 USDC")]
    Limit,
}

/// A length of time: `90s`, `15m`, `24h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u32);

impl FromStr for Span {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let unit = match text.bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            _ => return Err(ValueError::Duration),
        };
        let count: u32 = text[..text.len() - 1].parse().map_err(|_| ValueError::Duration)?;
        count.checked_mul(unit).map(Self).ok_or(ValueError::Duration)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
        let found = units.into_iter().find(|(seconds, _)| self.0 >= *seconds && self.0.is_multiple_of(*seconds));
        let (seconds, unit) = found.unwrap_or((1, 's'));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

/// A point in time, absolute or from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    In(Span),
    At(u64),
}

impl When {
    /// Unix seconds, where now is `now`.
    pub(crate) fn from(self, now: u64) -> u64 {
        match self {
            Self::In(span) => now.saturating_add(span.0.into()),
            Self::At(seconds) => seconds,
        }
    }
}

impl FromStr for When {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Ok(span) = text.parse() {
            return Ok(Self::In(span));
        }
        if text == "never" {
            return Ok(Self::At(u64::MAX));
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ValueError::When)?;
        u64::try_from(time.unix_timestamp()).map(Self::At).map_err(|_| ValueError::When)
    }
}

/// Unix seconds as people read them, in UTC.
pub(crate) fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let shown = time.and_then(|time| time.to_offset(UtcOffset::UTC).format(format).ok());
    // Further away than a calendar goes is how contracts say never.
    shown.unwrap_or_else(|| "never".to_owned())
}

/// 32 bytes for the books: hex as it is, text padded with zeros.
pub(crate) fn reference(text: &str) -> Result<B256, ValueError> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits.parse().map_err(|_| ValueError::Reference);
    }
    if text.len() > 32 {
        return Err(ValueError::Reference);
    }
    Ok(B256::right_padding_from(text.as_bytes()))
}

/// A reference as it was typed, if it was text.
pub(crate) fn shown_reference(reference: B256) -> String {
    let end = reference.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match std::str::from_utf8(&reference[..end]) {
        Ok(text) if end > 0 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => text.to_owned(),
        _ if end == 0 => "none".to_owned(),
        _ => reference.to_string(),
    }
}

/// An amount of a policy.
pub(crate) fn limit(amount: Usdc) -> Result<U56, ValueError> {
    U56::checked_from_limbs_slice(&[amount.base_units()]).ok_or(ValueError::Limit)
}

/// The seconds of a policy's end.
pub(crate) fn until(when: Option<When>, now: u64) -> U40 {
    when.map_or(U40::MAX, |when| U40::saturating_from(when.from(now)))
}

/// An amount of the chain.
pub(crate) fn usdc(amount: impl TryInto<u64>) -> Usdc {
    amount.try_into().map_or(Usdc::MAX, Usdc::from_base_units)
}

/// A number that nobody else chooses.
pub(crate) fn fresh() -> U256 {
    B256::random().into()
}

/// A fresh payment id, told to the person, who needs it to repeat the payment.
pub(crate) fn fresh_id() -> B256 {
    let id = B256::random();
    eprintln!("payment id {id}: repeat with --id {id}, and it is paid once at most");
    id
}

/// The same struct as another contract's binding has it.
pub(crate) fn reencode<A: SolValue, B: SolValue + From<<B::SolType as SolType>::RustType>>(struct_: &A) -> Result<B> {
    Ok(B::abi_decode(&struct_.abi_encode())?)
}

/// A signature: hex, or a file that contains it.
pub(crate) fn signature(text: &str) -> Result<Signature> {
    let malformed = || anyhow!("{text:?} is no signature: 0x and 130 hex digits, or a file that contains them");
    let digits = match hex::decode(text.trim()) {
        Ok(bytes) => bytes,
        Err(_) => {
            let file = Path::new(text);
            let content = std::fs::read_to_string(file).with_context(|| format!("cannot read the signature file {text}"))?;
            hex::decode(content.trim()).map_err(|_| malformed())?
        }
    };
    Signature::from_raw(&digits).map_err(|_| malformed())
}

/// `SIGNER:SIGNATURE`, for a signer that is a contract.
pub(crate) fn contract_signature(text: &str) -> Option<(Address, Result<Bytes>)> {
    let (signer, signature) = text.split_once(':')?;
    let signature = hex::decode(signature).map(Bytes::from).with_context(|| format!("{signature:?} is no signature in hex"));
    Some((signer.parse().ok()?, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read_as_they_are_written() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(Span(seconds)));
        }
        assert_eq!(Span(86_400).to_string(), "1d");
        assert_eq!(Span(5_400).to_string(), "90m");
        for wrong in ["", "h", "24", "-1h", "1.5h", "99999999d", "24H"] {
            assert_eq!(wrong.parse::<Span>(), Err(ValueError::Duration), "{wrong}");
        }
        assert_eq!("24h".parse::<When>().unwrap().from(1_000), 87_400);
        assert_eq!("2026-12-31T23:59:59Z".parse::<When>().unwrap().from(1_000), 1_798_761_599);
        assert_eq!("2027-01-01T00:59:59+01:00".parse::<When>().unwrap().from(1_000), 1_798_761_599);
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59:59 UTC");
        assert_eq!(utc("never".parse::<When>().unwrap().from(1_000)), "never");
    }

    #[test]
    fn a_reference_comes_back_as_it_was_typed() {
        for text in ["invoice 2026-17", "x"] {
            assert_eq!(shown_reference(reference(text).unwrap()), text);
        }
        let hash = B256::repeat_byte(0xab);
        assert_eq!(reference(&hash.to_string()), Ok(hash));
        assert_eq!(shown_reference(hash), hash.to_string());
        assert_eq!(reference("0x12"), Err(ValueError::Reference));
        assert_eq!(reference(&"x".repeat(33)), Err(ValueError::Reference));
    }
}
