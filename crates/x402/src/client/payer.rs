use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, Bytes, U256},
    signers::Signer,
};

use crate::{Eip3009Authorization, TokenAmount, TokenDomain};

/// What a payer is asked to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// The token and its EIP-712 domain, chain included.
    pub token: TokenDomain,
    /// Who is paid.
    pub to: Address,
    /// Base units of the token.
    pub value: TokenAmount,
    /// Unix seconds by which the authorization must have ended; the payer may choose an earlier end.
    pub valid_before_max: u64,
    /// Unix seconds until which it must last at least, or the server would refuse it as too late.
    pub valid_before_min: u64,
}

/// A complete transfer, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAuthorization {
    /// What is signed.
    pub authorization: Eip3009Authorization,
    /// 65 bytes of a key, or whatever the payer's contract judges.
    pub signature: Bytes,
}

/// Why a payer did not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayerError {
    /// The payer's own rules or its wallet's limits forbid it. Retrying changes nothing.
    #[error("the payer refuses: {0}")]
    Refused(String),
    /// The signer failed: a device, a remote key, a node.
    #[error("the signer failed: {0}")]
    Signer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Somebody whose USDC can be spent.
///
/// The payer chooses nonce and end, because a contract wallet keeps meaning in them (a limit, a lane). It must never sign the same nonce
/// for two transfers.
pub trait Payer: Send + Sync {
    /// The account that pays.
    fn address(&self) -> Address;

    /// Signs one transfer. Implement it as `async fn`.
    fn authorize(&self, transfer: &TransferRequest) -> impl Future<Output = Result<SignedAuthorization, PayerError>> + Send;
}

impl<P: Payer + ?Sized> Payer for Arc<P> {
    fn address(&self) -> Address {
        (**self).address()
    }

    fn authorize(&self, transfer: &TransferRequest) -> impl Future<Output = Result<SignedAuthorization, PayerError>> + Send {
        (**self).authorize(transfer)
    }
}

/// A payer that is a key: any alloy signer. Nonces are random.
#[derive(Clone)]
pub struct KeyPayer<S>(S);

impl<S> KeyPayer<S> {
    /// Pays from the signer's own address.
    pub fn new(signer: S) -> Self {
        Self(signer)
    }
}

impl<S: Signer> std::fmt::Debug for KeyPayer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPayer").field(&self.0.address()).finish()
    }
}

impl<S: Signer + Send + Sync> Payer for KeyPayer<S> {
    fn address(&self) -> Address {
        self.0.address()
    }

    async fn authorize(&self, transfer: &TransferRequest) -> Result<SignedAuthorization, PayerError> {
        let authorization = Eip3009Authorization {
            from: self.0.address(),
            to: transfer.to,
            value: transfer.value,
            valid_after: TokenAmount::ZERO,
            valid_before: U256::from(transfer.valid_before_max).into(),
            nonce: rand::random::<[u8; 32]>().into(),
        };
        let hash = authorization.signing_hash(&transfer.token);
        let signature = self.0.sign_hash(&hash).await.map_err(|e| PayerError::Signer(e.into()))?;
        Ok(SignedAuthorization { authorization, signature: signature.as_bytes().into() })
    }
}

/// Unix seconds.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
