//! Compact JWS (RFC 7515) by ES256K, whose key id is the public key itself: a `did:key`.

use alloy::{
    primitives::{Address, B256, U512},
    signers::{SignerSync, local::PrivateKeySigner},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secp256k1::{Message, PublicKey, SECP256K1, ecdsa::Signature};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "ES256K";
/// In front of a compressed public key of secp256k1 in a `did:key` (multicodec, varint).
const SECP256K1_PUB: [u8; 2] = [0xe7, 0x01];
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// What a reader must understand; nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<Value>,
}

/// Signs `payload`, its members in order (RFC 8785).
pub(super) fn sign(mut payload: Value, key: &PrivateKeySigner) -> Result<String, alloy::signers::Error> {
    payload.sort_all_objects();
    let header = Header { alg: ALGORITHM.into(), kid: did(key), crit: None };
    let header = serde_json::to_string(&header).expect("texts serialize");
    let input = [header, payload.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = key.sign_hash_sync(&digest(&input))?.as_bytes();
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(&signature[..64])))
}

/// What is signed, by whomever.
pub(super) fn payload<T: DeserializeOwned>(token: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

/// The account of the key that signed. `None` if it did not, or is of another kind.
pub(super) fn signer(token: &str) -> Option<Address> {
    let (input, signature) = token.rsplit_once('.')?;
    let (header, payload) = input.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != ALGORITHM || header.crit.is_some() || payload.contains('.') {
        return None;
    }
    let key = public_key(&header.kid)?;
    let mut signature = Signature::from_compact(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    // JOSE takes either half; libsecp256k1 the lower one.
    signature.normalize_s();
    SECP256K1.verify_ecdsa(Message::from_digest(digest(input).0), &signature, &key).ok()?;
    Some(Address::from_raw_public_key(&key.serialize_uncompressed()[1..]))
}

fn digest(input: &str) -> B256 {
    B256::from_slice(&Sha256::digest(input))
}

fn did(key: &PrivateKeySigner) -> String {
    let point = key.public_key();
    let parity = [2 | (point[63] & 1)];
    let bytes = [&SECP256K1_PUB[..], &parity, &point[..32]].concat();
    let number = U512::from_be_slice(&bytes);
    let text: String = number.to_base_be(58).map(|digit| char::from(BASE58[digit as usize])).collect();
    format!("did:key:z{text}")
}

fn public_key(kid: &str) -> Option<PublicKey> {
    let text = kid.split('#').next()?.strip_prefix("did:key:z")?;
    let digits: Option<Vec<u64>> =
        text.bytes().map(|byte| BASE58.iter().position(|digit| *digit == byte).map(|digit| digit as u64)).collect();
    let bytes = U512::from_base_be(58, digits?).ok()?.to_be_bytes::<64>();
    let (zeros, key) = bytes.split_at(64 - 35);
    let key = key.strip_prefix(&SECP256K1_PUB).filter(|_| zeros.iter().all(|byte| *byte == 0))?;
    PublicKey::from_slice(key).ok()
}
