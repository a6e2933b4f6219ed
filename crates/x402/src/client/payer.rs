use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    signers::Signer,
};

use super::DepositRequest;
use crate::{
    Eip2612Permit, Eip3009Authorization, PERMIT2, Permit2Authorization, Permit2Permitted, TokenAmount, TokenDomain,
    TransferMethod, Witness, batch::DepositAuthorization,
};

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

/// A complete transfer by Permit2, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPermit2<W> {
    /// What is signed.
    pub authorization: Permit2Authorization<W>,
    /// 65 bytes of a key, or whatever the payer's contract judges.
    pub signature: Bytes,
    /// Lets Permit2 take the amount, when it may not yet and the server's facilitator carries the permit.
    pub permit: Option<Eip2612Permit>,
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

    /// Signs one transfer by EIP-3009. Implement it as `async fn`.
    fn authorize(&self, transfer: &TransferRequest) -> impl Future<Output = Result<SignedAuthorization, PayerError>> + Send;

    /// The ways in which this payer can pay.
    fn methods(&self) -> &[TransferMethod] {
        &[TransferMethod::Eip3009]
    }

    /// Signs one transfer by Permit2 to the proxy of the scheme, which enforces `witness`. With `sponsored` the server's facilitator also
    /// carries an EIP-2612 permit.
    fn authorize_permit2<W: Witness>(
        &self,
        _transfer: &TransferRequest,
        _witness: W,
        _sponsored: bool,
    ) -> impl Future<Output = Result<SignedPermit2<W>, PayerError>> + Send {
        std::future::ready(Err(PayerError::Refused("it does not pay by Permit2".into())))
    }

    /// Signs a deposit into a payment channel.
    fn authorize_deposit(
        &self,
        _deposit: &DepositRequest,
    ) -> impl Future<Output = Result<DepositAuthorization, PayerError>> + Send {
        std::future::ready(Err(PayerError::Refused("it does not pay through channels".into())))
    }
}

impl<P: Payer + ?Sized> Payer for Arc<P> {
    fn address(&self) -> Address {
        (**self).address()
    }

    fn authorize(&self, transfer: &TransferRequest) -> impl Future<Output = Result<SignedAuthorization, PayerError>> + Send {
        (**self).authorize(transfer)
    }

    fn methods(&self) -> &[TransferMethod] {
        (**self).methods()
    }

    fn authorize_permit2<W: Witness>(
        &self,
        transfer: &TransferRequest,
        witness: W,
        sponsored: bool,
    ) -> impl Future<Output = Result<SignedPermit2<W>, PayerError>> + Send {
        (**self).authorize_permit2(transfer, witness, sponsored)
    }

    fn authorize_deposit(
        &self,
        deposit: &DepositRequest,
    ) -> impl Future<Output = Result<DepositAuthorization, PayerError>> + Send {
        (**self).authorize_deposit(deposit)
    }
}

/// A payer that is a key: any alloy signer. Nonces are random.
#[derive(Clone)]
pub struct KeyPayer<S> {
    signer: S,
    node: Option<DynProvider>,
}

impl<S> KeyPayer<S> {
    /// Pays from the signer's own address.
    pub fn new(signer: S) -> Self {
        Self { signer, node: None }
    }

    /// Asks `node` whether Permit2 may take what is paid by it, and adds a permit when it may not and the server's facilitator carries
    /// one. Without a node the allowance must be there already.
    pub fn node(mut self, node: DynProvider) -> Self {
        self.node = Some(node);
        self
    }
}

impl<S: Signer + Send + Sync> KeyPayer<S> {
    async fn sign(&self, hash: B256) -> Result<Bytes, PayerError> {
        let signature = self.signer.sign_hash(&hash).await.map_err(|e| PayerError::Signer(e.into()))?;
        Ok(signature.as_bytes().into())
    }

    /// A permit for exactly this payment; `None` when Permit2 may take as much already, or nobody knows.
    async fn permit(&self, transfer: &TransferRequest, deadline: TokenAmount) -> Result<Option<Eip2612Permit>, PayerError> {
        let Some(node) = &self.node else { return Ok(None) };
        let (token, owner) = (IPermit::new(transfer.token.asset, node), self.signer.address());
        let chain_id = node.get_chain_id().await.map_err(|e| PayerError::Signer(e.into()))?;
        if chain_id != transfer.token.chain_id {
            return Ok(None);
        }
        let (allowed, nonce) = (token.allowance(owner, PERMIT2), token.nonces(owner));
        let (allowed, nonce) = tokio::try_join!(allowed.call().into_future(), nonce.call().into_future())
            .map_err(|e| PayerError::Signer(e.into()))?;
        if allowed >= transfer.value.0 {
            return Ok(None);
        }
        let unsigned = Eip2612Permit::unsigned(&transfer.token, owner, transfer.value, nonce.into(), deadline);
        let signature = self.sign(unsigned.signing_hash(&transfer.token)).await?;
        Ok(Some(Eip2612Permit { signature, ..unsigned }))
    }
}

alloy::sol! {
    #[sol(rpc)]
    interface IPermit {
        function allowance(address owner, address spender) external view returns (uint256);
        function nonces(address owner) external view returns (uint256);
    }
}

impl<S: Signer> std::fmt::Debug for KeyPayer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPayer").field(&self.signer.address()).finish()
    }
}

impl<S: Signer + Send + Sync> Payer for KeyPayer<S> {
    fn address(&self) -> Address {
        self.signer.address()
    }

    async fn authorize(&self, transfer: &TransferRequest) -> Result<SignedAuthorization, PayerError> {
        let authorization = Eip3009Authorization {
            from: self.signer.address(),
            to: transfer.to,
            value: transfer.value,
            valid_after: TokenAmount::ZERO,
            valid_before: U256::from(transfer.valid_before_max).into(),
            nonce: rand::random::<[u8; 32]>().into(),
        };
        let signature = self.sign(authorization.signing_hash(&transfer.token)).await?;
        Ok(SignedAuthorization { authorization, signature })
    }

    fn methods(&self) -> &[TransferMethod] {
        &[TransferMethod::Eip3009, TransferMethod::Permit2]
    }

    async fn authorize_permit2<W: Witness>(
        &self,
        transfer: &TransferRequest,
        witness: W,
        sponsored: bool,
    ) -> Result<SignedPermit2<W>, PayerError> {
        let deadline = U256::from(transfer.valid_before_max).into();
        let authorization = Permit2Authorization {
            permitted: Permit2Permitted { token: transfer.token.asset, amount: transfer.value },
            from: self.signer.address(),
            spender: W::PROXY,
            nonce: U256::from_be_bytes(rand::random::<[u8; 32]>()).into(),
            deadline,
            witness,
        };
        let permit = if sponsored { self.permit(transfer, deadline).await? } else { None };
        let signature = self.sign(authorization.signing_hash(transfer.token.chain_id)).await?;
        Ok(SignedPermit2 { authorization, signature, permit })
    }

    async fn authorize_deposit(&self, deposit: &DepositRequest) -> Result<DepositAuthorization, PayerError> {
        let (hash, authorization) = deposit.unsigned(rand::random::<[u8; 32]>().into());
        Ok(authorization.signed(self.sign(hash).await?))
    }
}

/// Unix seconds.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
