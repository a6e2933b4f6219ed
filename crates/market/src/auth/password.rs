//! Passwords, by Argon2id with the parameters that OWASP recommends (19 MiB, two passes).

use std::time::Duration;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{input, problem::Problem};

/// Passwords hashed at a time: each takes 19 MiB and a core for some tens of milliseconds.
static ROOM: Semaphore = Semaphore::const_new(4);
/// How long anybody waits for that.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Checked when there is no such account, so that the answer takes as long. Of a random password.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IG9mIG91cnM$Wc2tqPbCWvfFTTwVlVmKNm6ctxWTkqrEfBvHOBOa2cE";
const LEN_CHARS: std::ops::RangeInclusive<usize> = 12..=128;

/// Refuses passwords that are too short, or so long that they cost time to hash.
pub(crate) fn check(field: &str, password: &str) -> Result<(), Problem> {
    input::text(field, password, LEN_CHARS)
}

/// What is kept of a password.
pub(crate) async fn hash(password: String) -> Result<String, Problem> {
    work(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok())
        .await?
        .ok_or_else(|| Problem::new(api::Code::Internal, "The password could not be hashed"))
}

/// Whether this is the password. Takes as long when there is no account.
pub(crate) async fn is_right(password: String, hash: Option<String>) -> Result<bool, Problem> {
    if password.chars().count() > *LEN_CHARS.end() {
        return Ok(false);
    }
    work(move || {
        let parsed = PasswordHash::new(hash.as_deref().unwrap_or(NOBODY));
        let right = parsed.is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
        right && hash.is_some()
    })
    .await
}

async fn work<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let busy = |_| Problem::new(api::Code::Unavailable, "Too many sign in at once: try again");
    let place = tokio::time::timeout(WAIT_MAX, ROOM.acquire()).await.map_err(busy)?.map_err(|e| Problem::internal(&e))?;
    // The work goes on when its caller hangs up, and so does its place.
    let job = move || {
        let _place = place;
        job()
    };
    tokio::task::spawn_blocking(job).await.map_err(|e| Problem::internal(&e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let hash = Argon2::default().hash_password(b"correct horse battery").unwrap().to_string();
        let (somebody, nobody) = (PasswordHash::new(&hash).unwrap(), PasswordHash::new(NOBODY).unwrap());
        assert_eq!((somebody.algorithm, somebody.version, &somebody.params), (nobody.algorithm, nobody.version, &nobody.params));
        assert!(Argon2::default().verify_password(b"correct horse battery", &somebody).is_ok());
        assert!(Argon2::default().verify_password(b"", &nobody).is_err());
    }
}
