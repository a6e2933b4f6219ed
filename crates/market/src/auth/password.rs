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

/// Words that most passwords of people who do not think of one are made of.
const COMMON: [&str; 40] = [
    "abc",
    "abcdefgh",
    "abcdefghij",
    "abcdefghijkl",
    "admin",
    "administrator",
    "asdf",
    "asdfgh",
    "asdfghjkl",
    "changeme",
    "dragon",
    "football",
    "florin",
    "hello",
    "iloveyou",
    "letmein",
    "login",
    "market",
    "master",
    "monkey",
    "pass",
    "passw",
    "passwd",
    "password",
    "passwort",
    "princess",
    "qazwsx",
    "qwer",
    "qwert",
    "qwerty",
    "qwertyuiop",
    "qwertz",
    "secret",
    "sunshine",
    "superman",
    "test",
    "user",
    "welcome",
    "zxcvbn",
    "zxcvbnm",
];
/// Different characters, at least.
const DIFFERENT_MIN: usize = 5;
/// What must be left of a password without the name and address of who has it.
const OWN_LEN_MIN_CHARS: usize = 8;

/// Refuses passwords that are too short, or so long that they cost time to hash, and those that whoever guesses tries first (NIST SP 800-63B): made of
/// the name or address, of one common word with digits around it, of few characters, or of a row of them.
pub(crate) fn check(field: &str, password: &str, email: &str, name: &str) -> Result<(), Problem> {
    input::text(field, password, LEN_CHARS)?;
    match weakness(&password.to_lowercase(), &email.to_lowercase(), &name.to_lowercase()) {
        Some(why) => Err(Problem::invalid(format!("{field} {why}: take several words that do not belong together"))),
        None => Ok(()),
    }
}

fn weakness(password: &str, email: &str, name: &str) -> Option<&'static str> {
    let own = [email, email.split('@').next().unwrap_or_default()].into_iter().chain(name.split_whitespace());
    let rest = own.filter(|word| word.chars().count() >= 4).fold(password.to_owned(), |rest, word| rest.replace(word, ""));
    if rest.len() < password.len() && rest.chars().count() < OWN_LEN_MIN_CHARS {
        return Some("is little more than the name or address");
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    let codes: Vec<i64> = password.chars().map(|c| i64::from(u32::from(c))).collect();
    let steps = codes.windows(2).filter(|pair| (pair[1] - pair[0]).abs() <= 1).count();
    if different.len() < DIFFERENT_MIN || steps * 3 > codes.len() * 2 {
        return Some("has too few different characters, or they stand in a row");
    }
    let letters: String = password.chars().filter(|c| c.is_alphabetic()).collect();
    let is_common = |word: &&str| !letters.is_empty() && letters.replace(*word, "").is_empty();
    COMMON.iter().any(is_common).then_some("is one common word")
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
    fn what_is_guessed_first_is_no_password() {
        let check = |password: &str| check("password", password, "rosalind@example.com", "Rosalind Franklin").is_ok();
        for good in [
            "correct horse battery",
            "another good password",
            "8271-0394-5566-1",
            "rosalind likes the rain",
            "пароль из трёх слов",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "short",
            "password1234",
            "Password-2026!",
            "passwordpassword",
            "qwertyuiop123",
            "123456789012",
            "aaaaaaaaaaaaaaa",
            "abcabcabcabc",
            "abcdefghijklmnop",
            "rosalind@example.com",
            "Rosalind-1234",
            "franklinrosalind",
            "Letmein!!2026",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let hash = Argon2::default().hash_password(b"correct horse battery").unwrap().to_string();
        let (somebody, nobody) = (PasswordHash::new(&hash).unwrap(), PasswordHash::new(NOBODY).unwrap());
        assert_eq!((somebody.algorithm, somebody.version, &somebody.params), (nobody.algorithm, nobody.version, &nobody.params));
        assert!(Argon2::default().verify_password(b"correct horse battery", &somebody).is_ok());
        assert!(Argon2::default().verify_password(b"", &nobody).is_err());
    }
}
