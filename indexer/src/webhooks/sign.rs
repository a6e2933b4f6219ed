use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use rand::{TryRngCore, rngs::OsRng};
use sha2::Sha256;

const SECRET_BYTES: usize = 32;

/// A new key of signatures.
pub(super) fn secret() -> Result<[u8; SECRET_BYTES], rand::rand_core::OsError> {
    let mut secret = [0; SECRET_BYTES];
    OsRng.try_fill_bytes(&mut secret)?;
    Ok(secret)
}

/// As the receiver configures it.
pub(super) fn show(secret: &[u8]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(secret))
}

/// The header `webhook-signature` of a message.
pub(super) fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;

    /// The example that the reference implementations test themselves with.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
