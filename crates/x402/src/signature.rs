use alloy::{
    primitives::{Address, B256, Bytes, Signature, U256, b256, uint},
    sol_types::SolValue,
};
use secp256k1::{
    Message, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};

/// The last 32 bytes of a signature wrapped as ERC-6492.
pub const ERC6492_MAGIC: B256 = b256!("6492649264926492649264926492649264926492649264926492649264926492");

/// Half the order of secp256k1: tokens refuse the upper half, where a second signature of the same message lives.
pub(crate) const S_MAX: U256 = uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);

/// Who signed `hash`, judged as the token does on chain: 65 bytes, `v` 27 or 28, low `s`. `None` for anything else.
pub fn recover_strict(hash: B256, signature: &[u8]) -> Option<Address> {
    let bytes: &[u8; 65] = signature.try_into().ok()?;
    if !matches!(bytes[64], 27 | 28) {
        return None;
    }
    let signature = Signature::from_raw_array(bytes).ok()?;
    if signature.s() > S_MAX {
        return None;
    }
    recover(hash, &signature)
}

/// Who signed `hash`, judged as Permit2 does on chain: 65 bytes with `v` 27 or 28, or the 64 of EIP-2098, `s` high or low.
pub fn recover_permit2(hash: B256, signature: &[u8]) -> Option<Address> {
    let signature = match signature.len() {
        64 => Signature::from_erc2098(signature),
        65 if matches!(signature[64], 27 | 28) => Signature::from_raw(signature).ok()?,
        _ => return None,
    };
    recover(hash, &signature)
}

/// With libsecp256k1: this is most of what a verification costs, and alloy's own takes four times as long.
pub(crate) fn recover(hash: B256, signature: &Signature) -> Option<Address> {
    let id = if signature.v() { RecoveryId::One } else { RecoveryId::Zero };
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    let address = Address::from_raw_public_key(&key.serialize_uncompressed()[1..]);
    Some(address).filter(|signer| !signer.is_zero())
}

/// A signature of a contract wallet that is not deployed yet, with the call that deploys it (ERC-6492).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erc6492Signature {
    /// The contract that deploys the wallet. Call it only when it is on an allow-list.
    pub factory: Address,
    /// What to call it with.
    pub factory_calldata: Bytes,
    /// The signature the deployed wallet judges.
    pub inner: Bytes,
}

/// Ends like an ERC-6492 signature, but what precedes is not `(address, bytes, bytes)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature ends with the ERC-6492 suffix but does not decode as (address factory, bytes calldata, bytes signature)")]
pub struct InvalidErc6492;

impl Erc6492Signature {
    /// Unwraps `signature`; `Ok(None)` when it is not wrapped at all.
    ///
    /// # Errors
    /// [`InvalidErc6492`] when it claims to be and is not.
    pub fn parse(signature: &[u8]) -> Result<Option<Self>, InvalidErc6492> {
        let Some(wrapped) = signature.strip_suffix(ERC6492_MAGIC.as_slice()) else { return Ok(None) };
        let (factory, factory_calldata, inner) =
            <(Address, Bytes, Bytes)>::abi_decode_params(wrapped).map_err(|_| InvalidErc6492)?;
        Ok(Some(Self { factory, factory_calldata, inner }))
    }

    /// The wrapped form.
    pub fn encode(&self) -> Bytes {
        let mut bytes = (self.factory, self.factory_calldata.clone(), self.inner.clone()).abi_encode_params();
        bytes.extend_from_slice(ERC6492_MAGIC.as_slice());
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The chain's precompile is the judge; alloy's recovery is another that agrees with it.
        #[test]
        fn two_libraries_recover_the_same_signer(hash: [u8; 32], key in 1_u128.., flip: bool, noise in 0_usize..130) {
            let key = k256_key(key);
            let signature = alloy::signers::SignerSync::sign_hash_sync(&key, &hash.into()).expect("a key signs");
            let mut bytes = signature.as_bytes();
            if flip {
                bytes[noise % 65] ^= 1 << (noise % 8);
            }
            if let (27 | 28, Ok(signature)) = (bytes[64], Signature::from_raw(&bytes)) {
                let expected = signature.recover_address_from_prehash(&hash.into()).ok();
                prop_assert_eq!(recover_permit2(hash.into(), &bytes), expected);
            }
        }
    }

    fn k256_key(key: u128) -> alloy::signers::local::PrivateKeySigner {
        alloy::signers::local::PrivateKeySigner::from_bytes(&U256::from(key).into()).expect("below the order")
    }
}
