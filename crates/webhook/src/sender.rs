use std::time::Duration;

use rand::Rng;
use reqwest::{Client, StatusCode, header};
use time::OffsetDateTime;
use url::Url;

use crate::{Guard, Secret};

/// Of what an endpoint answered, what is kept.
const ERROR_CHARS: usize = 200;

/// Posts messages.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    guard: Guard,
}

/// What is posted.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Names it: the same at every attempt, which is what the receiver tells repetitions by.
    pub id: &'a str,
    /// JSON.
    pub body: &'a str,
    /// What signs it. Two while one replaces the other.
    pub secrets: &'a [Secret],
    /// What the endpoint asks for as `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has it.
    Taken,
    /// The endpoint wants no more, now or later: 410.
    Gone,
    /// It has to be tried again.
    Failed(String),
}

impl Sender {
    /// A sender to whom this guard allows.
    ///
    /// # Errors
    /// When there is no TLS on this system.
    pub fn new(guard: Guard) -> reqwest::Result<Self> {
        Ok(Self { client: guard.client()?, guard })
    }

    /// Tries once.
    pub async fn post(&self, url: &str, message: Message<'_>) -> Outcome {
        match self.try_post(url, message).await {
            Ok(status) if status.is_success() => Outcome::Taken,
            Ok(StatusCode::GONE) => Outcome::Gone,
            Ok(status) => Outcome::Failed(format!("it answered {status}")),
            Err(error) => Outcome::Failed(error.chars().take(ERROR_CHARS).collect()),
        }
    }

    async fn try_post(&self, url: &str, Message { id, body, secrets, bearer }: Message<'_>) -> Result<StatusCode, String> {
        let url: Url = url.parse().map_err(|error| format!("{error}"))?;
        self.guard.check(&url).map_err(|error| error.to_string())?;
        let timestamp = OffsetDateTime::now_utc().unix_timestamp();
        let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
        let mut request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(body.to_owned());
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let response = request.send().await.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        })?;
        Ok(response.status())
    }
}

/// How long to wait after so many attempts, as a schedule in seconds says; `None` when there is no further one. Up to a tenth more, so that what
/// failed together does not come together again.
pub fn wait(schedule: &[u64], attempts: usize) -> Option<Duration> {
    let millis = schedule.get(attempts.checked_sub(1)?)? * 1_000;
    Some(Duration::from_millis(millis + rand::rng().random_range(0..=millis / 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_ends_after_its_last_wait() {
        let waits: Vec<_> = (1..=3).map(|attempts| wait(&[5, 300], attempts).map(|wait| wait.as_secs())).collect();
        assert!(matches!(waits[..], [Some(5), Some(300..=330), None]), "{waits:?}");
    }
}
