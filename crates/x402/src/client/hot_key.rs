use alloy::signers::{
    k256::ecdsa::{
        self, RecoveryId,
        signature::{Error, hazmat::PrehashSigner},
    },
    local::{LocalSigner, PrivateKeySigner},
};
use secp256k1::{Message, SECP256K1, SecretKey};

/// A key in memory that signs with libsecp256k1, as [`hot_key`] makes it. A signer like alloy's other ones.
pub type HotKey = LocalSigner<Libsecp256k1>;

/// The secret of a [`HotKey`].
#[derive(Clone)]
pub struct Libsecp256k1(SecretKey);

impl Drop for Libsecp256k1 {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl std::fmt::Debug for Libsecp256k1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Libsecp256k1")
    }
}

/// The same key and the same signatures, made in a third of the time: for vouchers, one of which is signed for each request.
pub fn hot_key(key: &PrivateKeySigner) -> HotKey {
    let secret = SecretKey::from_byte_array(key.to_bytes().0).expect("every key of alloy's is between 0 and the order");
    LocalSigner::new_with_credential(Libsecp256k1(secret), key.address(), None)
}

impl PrehashSigner<(ecdsa::Signature, RecoveryId)> for Libsecp256k1 {
    fn sign_prehash(&self, hash: &[u8]) -> Result<(ecdsa::Signature, RecoveryId), Error> {
        let hash = hash.try_into().map_err(Error::from_source)?;
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(hash), &self.0);
        let (id, bytes) = signature.serialize_compact();
        let id = RecoveryId::from_byte(i32::from(id).to_le_bytes()[0]).ok_or_else(Error::new)?;
        Ok((ecdsa::Signature::from_slice(&bytes)?, id))
    }
}

#[cfg(test)]
mod tests {
    use alloy::{primitives::U256, signers::SignerSync};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Both take the nonce of RFC 6979 and the lower half of `s`: no voucher differs by who signed it.
        #[test]
        fn two_libraries_sign_the_same(hash: [u8; 32], key in 1_u128..) {
            let key = PrivateKeySigner::from_bytes(&U256::from(key).into()).expect("below the order");
            let (slow, fast) = (key.sign_hash_sync(&hash.into()), hot_key(&key).sign_hash_sync(&hash.into()));
            prop_assert_eq!(slow.expect("a key signs"), fast.expect("a key signs"));
        }
    }
}
