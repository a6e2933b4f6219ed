//! Access tokens: JSON Web Tokens of one algorithm, EdDSA (RFC 8037), whose keys replace themselves.
//!
//! A token names no algorithm that anybody has a choice about: what is not signed with Ed25519 by a key of ours is no token. Keys are derived from
//! the secret and the week, so instances that share the secret share the keys, and nothing is kept. The next week's key is published beforehand.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use api::Scope;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// How long an access token works.
pub(crate) const LIFE_SECONDS: i64 = 900;
/// How long a key signs. It verifies for as long again.
const PERIOD_SECONDS: u64 = 7 * 86_400;
/// How far apart the clocks of two instances may be.
const SKEW_SECONDS: i64 = 5;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    pub(crate) sub: Uuid,
    pub(crate) kind: Kind,
    iat: i64,
    pub(crate) exp: i64,
    jti: Uuid,
    /// Separated by spaces, as RFC 8693 has it.
    scope: String,
    /// The key or session that it was got with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<Uuid>,
}

/// Whom a token is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Agent,
    Creator,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: String,
}

impl Claims {
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        self.scope.split(' ').filter_map(|name| Scope::ALL.into_iter().find(|scope| scope.as_str() == name)).collect()
    }
}

/// Makes and reads access tokens.
pub(crate) struct Tokens {
    /// The first signs; those that it replaced are still believed.
    secrets: Vec<hmac::Key>,
    issuer: String,
    /// A week and its keys.
    derived: Mutex<(u64, Arc<[Key]>)>,
}

/// Leaves out the secrets.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

struct Key {
    pair: Ed25519KeyPair,
    id: String,
}

impl Key {
    fn from_seed(seed: &[u8]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
        let id = thumbprint(&BASE64.encode(pair.public_key()));
        Self { pair, id }
    }

    fn public(&self) -> Value {
        let x = BASE64.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id, "alg": "EdDSA", "use": "sig"})
    }

    fn sign(&self, claims: &[u8]) -> String {
        let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.id}).to_string();
        let signed = format!("{}.{}", BASE64.encode(head), BASE64.encode(claims));
        format!("{signed}.{}", BASE64.encode(self.pair.sign(signed.as_bytes())))
    }
}

/// RFC 7638.
fn thumbprint(x: &str) -> String {
    BASE64.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

impl Tokens {
    /// Tokens of this issuer. The first secret signs, those after it are believed.
    pub(crate) fn new(issuer: &str, secrets: &[[u8; 32]]) -> Self {
        let secrets = secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)).collect();
        Self { secrets, issuer: issuer.into(), derived: Mutex::default() }
    }

    /// All keys that are believed now. The first signs.
    fn keys(&self, now: OffsetDateTime) -> Arc<[Key]> {
        let period = now.unix_timestamp().unsigned_abs() / PERIOD_SECONDS;
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if derived.0 != period || derived.1.is_empty() {
            // One that was signed by a clock ahead of ours, at the turn of a week, is of the next one.
            let periods = [period, period.saturating_sub(1), period + 1];
            let keys = self.secrets.iter().flat_map(|secret| periods.map(|period| Self::key(secret, period)));
            *derived = (period, keys.collect());
        }
        Arc::clone(&derived.1)
    }

    fn key(secret: &hmac::Key, period: u64) -> Key {
        let mut context = hmac::Context::with_key(secret);
        context.update(b"florin market access token");
        context.update(&period.to_be_bytes());
        Key::from_seed(context.sign().as_ref())
    }

    /// A token for `sub`, and how long it works.
    pub(crate) fn issue(
        &self,
        sub: Uuid,
        kind: Kind,
        scopes: &[Scope],
        sid: Option<Uuid>,
        now: OffsetDateTime,
    ) -> api::AccessToken {
        let scope = scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
        let (iat, issuer) = (now.unix_timestamp(), &self.issuer);
        let claims = Claims {
            iss: issuer.clone(),
            aud: issuer.clone(),
            sub,
            kind,
            iat,
            exp: iat + LIFE_SECONDS,
            jti: Uuid::now_v7(),
            scope: scope.clone(),
            sid,
        };
        let claims = serde_json::to_vec(&claims).expect("claims are written as JSON");
        api::AccessToken {
            access_token: self.keys(now).first().expect("there is a secret, or one was made up").sign(&claims),
            token_type: "Bearer".into(),
            expires_in: LIFE_SECONDS.unsigned_abs(),
            scope,
        }
    }

    /// A seal on what is handed out and comes back, which nobody without a secret can make. `purpose` tells seals of one thing from those of another.
    pub(crate) fn seal(&self, purpose: &str, sealed: &[u8]) -> String {
        let key = self.seal_keys(purpose).next().expect("there is a secret, or one was made up");
        BASE64.encode(hmac::sign(&key, sealed))
    }

    /// Whether a seal is on this, by any secret that is believed.
    pub(crate) fn is_sealed(&self, purpose: &str, sealed: &[u8], seal: &str) -> bool {
        let Ok(seal) = BASE64.decode(seal) else { return false };
        self.seal_keys(purpose).any(|key| hmac::verify(&key, sealed, &seal).is_ok())
    }

    fn seal_keys(&self, purpose: &str) -> impl Iterator<Item = hmac::Key> {
        let purpose = format!("florin market seal {purpose}");
        self.secrets.iter().map(move |secret| {
            let key = hmac::sign(secret, purpose.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
        })
    }

    /// What a token says, if it is one of ours and works at `now`.
    pub(crate) fn read(&self, token: &str, now: OffsetDateTime) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let head: Head = serde_json::from_slice(&BASE64.decode(head).ok()?).ok()?;
        if head.alg != "EdDSA" {
            return None;
        }
        let keys = self.keys(now);
        let key = keys.iter().find(|key| key.id == head.kid)?;
        let signature = BASE64.decode(signature).ok()?;
        UnparsedPublicKey::new(&ED25519, key.pair.public_key()).verify(signed.as_bytes(), &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let now = now.unix_timestamp();
        let ours = claims.iss == self.issuer && claims.aud == self.issuer;
        (ours && claims.iat <= now + SKEW_SECONDS && now < claims.exp).then_some(claims)
    }

    /// The JSON Web Key Set (RFC 7517) by which others read our tokens.
    pub(crate) fn key_set(&self, now: OffsetDateTime) -> Value {
        json!({"keys": self.keys(now).iter().map(Key::public).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-03-01 12:00 UTC);

    fn tokens(secrets: &[u8]) -> Tokens {
        Tokens::new("https://market.example/", &secrets.iter().map(|byte| [*byte; 32]).collect::<Vec<_>>())
    }

    /// RFC 8037, appendix A.
    #[test]
    fn keys_and_signatures_are_those_of_the_standard() {
        let seed = BASE64.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let key = Key::from_seed(&seed);
        assert_eq!(key.public()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(BASE64.encode(key.pair.sign(signed.as_bytes())), signature);
    }

    #[test]
    fn a_token_works_for_its_time_also_over_the_turn_of_a_key_and_of_a_secret() {
        let (old, id) = (tokens(&[1]), Uuid::now_v7());
        let token = old.issue(id, Kind::Agent, &[Scope::Read, Scope::Buy], None, NOW).access_token;
        let claims = old.read(&token, NOW + Duration::seconds(LIFE_SECONDS - 1)).unwrap();
        assert_eq!((claims.sub, claims.scopes()), (id, vec![Scope::Read, Scope::Buy]));
        assert!(tokens(&[2, 1]).read(&token, NOW).is_some(), "a secret that was replaced is believed");
        for (reader, now) in
            [(&old, NOW + Duration::seconds(LIFE_SECONDS)), (&old, NOW - Duration::minutes(1)), (&tokens(&[2]), NOW)]
        {
            assert!(reader.read(&token, now).is_none());
        }
        let turn = OffsetDateTime::from_unix_timestamp((PERIOD_SECONDS * 2_950) as i64).unwrap();
        let before = old.issue(id, Kind::Agent, &[], None, turn - Duration::seconds(1)).access_token;
        assert!(old.read(&before, turn + Duration::seconds(60)).is_some());
        let other = Tokens::new("https://other.example/", &[[1; 32]]).issue(id, Kind::Agent, &[], None, NOW).access_token;
        assert!(old.read(&other, NOW).is_none(), "a token of another market that shares the secret");
        let published = old.key_set(turn - Duration::days(1));
        let next = old.issue(id, Kind::Agent, &[], None, turn).access_token;
        let head: Value = serde_json::from_slice(&BASE64.decode(next.split('.').next().unwrap()).unwrap()).unwrap();
        assert!(
            published["keys"].as_array().unwrap().iter().any(|key| key["kid"] == head["kid"]),
            "the next key is known before"
        );
    }

    #[test]
    fn a_token_that_was_touched_is_none() {
        let tokens = tokens(&[1]);
        let good = tokens.issue(Uuid::now_v7(), Kind::Agent, &Scope::ALL, None, NOW).access_token;
        let parts: Vec<_> = good.split('.').collect();
        let kid = tokens.keys(NOW)[0].id.clone();
        let unsigned = BASE64.encode(json!({"alg": "none", "kid": kid}).to_string());
        let claims = BASE64.encode(String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap().replace("agent", "creator"));
        let bad = [
            format!("{unsigned}.{}.", parts[1]),
            format!("{}.{claims}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{good}A"),
            String::new(),
            "..".into(),
        ];
        for token in bad {
            assert!(tokens.read(&token, NOW).is_none(), "{token}");
        }
        assert!(tokens.read(&good, NOW).is_some());
    }
}
