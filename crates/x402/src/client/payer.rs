use std::{
    future::Future,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    consensus::SignableTransaction,
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    signers::Signer,
};

use super::DepositRequest;
use crate::{
    Eip2612Permit, Eip3009Authorization, Erc20Approval, JsonMap, PERMIT2, Permit2Authorization, Permit2Permitted, TokenAmount,
    TokenDomain, TransferMethod, Witness,
    auth_capture::{Deployment, PaymentInfo},
    batch::DepositAuthorization,
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

/// Money that a payer is asked to have held while a seller works (scheme `auth-capture`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// The token and its EIP-712 domain, chain included.
    pub token: TokenDomain,
    /// Who may have how much of it, and until when. Its salt makes it unlike all before.
    pub payment: PaymentInfo,
    /// Where it is held.
    pub deployment: Deployment,
}

impl HoldRequest {
    /// What is signed to agree, and its hash.
    pub fn unsigned(&self) -> (Eip3009Authorization, B256) {
        self.payment.authorization(&self.token, &self.deployment)
    }
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
    /// Lets Permit2 take the amount, when it may not yet and the server's facilitator carries it.
    pub allowance: Option<Allowance>,
}

/// What of the payer's the server's facilitator carries to the chain, and pays the gas of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sponsored {
    /// An EIP-2612 permit.
    pub permits: bool,
    /// A signed transaction that approves Permit2.
    pub approvals: bool,
}

/// Lets Permit2 take a payer's money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// For this payment.
    Permit(Eip2612Permit),
    /// From now on, for tokens that know no permits.
    Approval(Erc20Approval),
}

impl Allowance {
    pub(super) fn add_to(&self, extensions: &mut JsonMap) {
        match self {
            Self::Permit(permit) => permit.add_to(extensions),
            Self::Approval(approval) => approval.add_to(extensions),
        }
    }
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

    /// Signs one transfer by Permit2 to the proxy of the scheme, which enforces `witness`, and, if Permit2 may not take as much yet, what of
    /// `sponsored` lets it.
    fn authorize_permit2<W: Witness>(
        &self,
        _transfer: &TransferRequest,
        _witness: W,
        _sponsored: Sponsored,
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

    /// Signs that money is held while a seller works.
    fn authorize_hold(&self, _hold: &HoldRequest) -> impl Future<Output = Result<Bytes, PayerError>> + Send {
        std::future::ready(Err(PayerError::Refused("it has no money held".into())))
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
        sponsored: Sponsored,
    ) -> impl Future<Output = Result<SignedPermit2<W>, PayerError>> + Send {
        (**self).authorize_permit2(transfer, witness, sponsored)
    }

    fn authorize_deposit(
        &self,
        deposit: &DepositRequest,
    ) -> impl Future<Output = Result<DepositAuthorization, PayerError>> + Send {
        (**self).authorize_deposit(deposit)
    }

    fn authorize_hold(&self, hold: &HoldRequest) -> impl Future<Output = Result<Bytes, PayerError>> + Send {
        (**self).authorize_hold(hold)
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

    /// Asks `node` whether Permit2 may take what is paid by it, and adds a permit or an approval when it may not and the server's
    /// facilitator carries one. Without a node the allowance must be there already.
    pub fn node(mut self, node: DynProvider) -> Self {
        self.node = Some(node);
        self
    }
}

impl<S: Signer + Send + Sync> KeyPayer<S> {
    async fn sign(&self, hash: B256) -> Result<Bytes, PayerError> {
        let signature = self.signer.sign_hash(&hash).await.map_err(failed)?;
        Ok(signature.as_bytes().into())
    }

    /// What lets Permit2 take this payment; `None` when it may already, or nobody knows.
    async fn allowance(
        &self,
        transfer: &TransferRequest,
        deadline: TokenAmount,
        sponsored: Sponsored,
    ) -> Result<Option<Allowance>, PayerError> {
        let Some(node) = self.node.as_ref().filter(|_| sponsored != Sponsored::default()) else { return Ok(None) };
        if node.get_chain_id().await.map_err(failed)? != transfer.token.chain_id {
            return Ok(None);
        }
        let (token, owner) = (IPermit::new(transfer.token.asset, node), self.signer.address());
        if token.allowance(owner, PERMIT2).call().await.map_err(failed)? >= transfer.value.0 {
            return Ok(None);
        }
        // A token without EIP-2612 has no such nonces.
        let nonce = match sponsored.permits {
            true => token.nonces(owner).call().await.map(Some),
            false => Ok(None),
        };
        match nonce {
            Ok(Some(nonce)) => self.permit(transfer, nonce, deadline).await.map(Some),
            Err(error) if !sponsored.approvals => Err(failed(error)),
            Ok(None) | Err(_) => self.approve(transfer, node).await.map(Some),
        }
    }

    /// A permit for exactly this payment.
    async fn permit(&self, transfer: &TransferRequest, nonce: U256, deadline: TokenAmount) -> Result<Allowance, PayerError> {
        let unsigned = Eip2612Permit::unsigned(&transfer.token, self.signer.address(), transfer.value, nonce.into(), deadline);
        let signature = self.sign(unsigned.signing_hash(&transfer.token)).await?;
        Ok(Allowance::Permit(Eip2612Permit { signature, ..unsigned }))
    }

    /// The payer's next transaction, at what gas costs now.
    async fn approve(&self, transfer: &TransferRequest, node: &DynProvider) -> Result<Allowance, PayerError> {
        let TokenDomain { asset, chain_id, .. } = transfer.token;
        let owner = self.signer.address();
        let nonce = node.get_transaction_count(owner).await.map_err(failed)?;
        let fees = node.estimate_eip1559_fees().await.map_err(failed)?;
        let unsigned = Erc20Approval::unsigned(chain_id, asset, nonce, fees.max_fee_per_gas, fees.max_priority_fee_per_gas);
        let signature = self.signer.sign_hash(&unsigned.signature_hash()).await.map_err(failed)?;
        Ok(Allowance::Approval(Erc20Approval::signed(owner, unsigned, signature)))
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PayerError {
    PayerError::Signer(error.into())
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
        sponsored: Sponsored,
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
        let allowance = self.allowance(transfer, deadline, sponsored).await?;
        let signature = self.sign(authorization.signing_hash(transfer.token.chain_id)).await?;
        Ok(SignedPermit2 { authorization, signature, allowance })
    }

    async fn authorize_deposit(&self, deposit: &DepositRequest) -> Result<DepositAuthorization, PayerError> {
        let (hash, authorization) = deposit.unsigned(rand::random::<[u8; 32]>().into());
        Ok(authorization.signed(self.sign(hash).await?))
    }

    async fn authorize_hold(&self, hold: &HoldRequest) -> Result<Bytes, PayerError> {
        self.sign(hold.unsigned().1).await
    }
}

/// Unix seconds.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
