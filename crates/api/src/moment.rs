//! Times that somebody names.

use serde::{Deserializer, de::Error};
use time::{OffsetDateTime, UtcOffset, serde::rfc3339};

/// RFC 3339, as a time in UTC: the last hours of the year 9999 may be in a year there that cannot be written.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    in_utc(rfc3339::deserialize(deserializer)?)
}

/// The same, when there is one.
pub(crate) fn read_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OffsetDateTime>, D::Error> {
    rfc3339::option::deserialize(deserializer)?.map(in_utc).transpose()
}

fn in_utc<E: Error>(at: OffsetDateTime) -> Result<OffsetDateTime, E> {
    at.checked_to_offset(UtcOffset::UTC).ok_or_else(|| E::custom("a time must be before the year 10000 in UTC"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::ledger::{PastQuery, StatementQuery};

    #[test]
    fn a_time_beyond_all_years_is_refused() {
        let at = |time: &str| serde_json::from_str::<PastQuery>(&format!("{{\"at\": {time:?}}}")).map(|past| past.at);
        assert_eq!(at("2026-11-22T12:00:00+02:00").unwrap(), at("2026-11-22T10:00:00Z").unwrap());
        assert_eq!(at("2026-11-22T12:00:00+02:00").unwrap().hour(), 10);
        assert!(at("9999-12-31T23:59:59-00:01").unwrap_err().to_string().contains("10000"));
        let until = |time: &str| serde_json::from_str::<StatementQuery>(&format!("{{\"asset\": \"ARD\", \"until\": {time:?}}}"));
        assert!(until("9999-12-31T23:59:59Z").is_ok() && until("9999-12-31T23:59:59-00:01").is_err());
    }
}
