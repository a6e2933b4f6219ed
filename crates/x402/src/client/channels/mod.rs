//! Paying through channels (scheme `batch-settlement`): money is deposited once, and each request signs how much of it may be claimed in all.

mod book;
mod hold;

pub use book::{ChannelRecord, VoucherUnderWay};
pub(crate) use hold::Hold;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    signers::Signer,
    sol_types::SolCall,
};
use money::Usdc;

use crate::{
    PaymentRequirements, Permit2Permitted, TokenAmount, TokenDomain, TransferMethod,
    batch::{
        BATCH_CONTRACT, Chain, ChannelConfig, DepositAuthorization, Erc3009Deposit, IBatchSettlement, PERMIT2_COLLECTOR,
        Permit2Deposit, Permit2DepositWitness, WITHDRAW_DELAY_MIN_SECS, withdraw_delay,
    },
};

/// How many requests a deposit pays for, unless the seller or the caller says otherwise.
const DEPOSIT_MULTIPLE: u32 = 5;
/// Longest withdraw delay agreed to, in seconds: so long a seller that is gone keeps the money.
const WITHDRAW_DELAY_MAX_SECS: u64 = 7 * 24 * 3600;

/// A payer's side of its channels. Clones share everything. Requests of one channel wait for each other: a voucher builds on the last.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    key: Arc<dyn Signer + Send + Sync>,
    book: book::Book,
    multiple: u32,
    salt: B256,
    node: Option<DynProvider>,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("key", &self.0.key.address()).finish_non_exhaustive()
    }
}

/// Why a channel cannot be used. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The folder of channels cannot be used.
    #[error("{}: {source}; channels are used only while they can be written down", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not a record.
    #[error("{} is not the record of a channel: restore it, or remove it and give `node`, from which it is found again", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// So many channels in memory that no more are begun.
    #[error("{0} channels are in use: keep them in a folder")]
    TooMany(usize),
    /// The offer lacks what a channel needs, or asks for more than is agreed to.
    #[error("the offer of a channel cannot be taken: {0}")]
    Offer(&'static str),
    /// More money would have to be deposited than the policy lets.
    #[error("{needed} base units would have to be deposited and at most {max} may: raise the price per payment or the multiple")]
    DepositTooHigh {
        /// Base units.
        needed: u128,
        /// Base units.
        max: u128,
    },
    /// The seller claims that more was charged than was ever signed.
    #[error(
        "the seller says that {said} base units were charged, and shows no voucher of ours for it: pay it no more through this channel"
    )]
    NotOurs {
        /// Base units.
        said: u128,
    },
    /// The voucher key did not sign.
    #[error("the voucher key did not sign: {0}")]
    Signer(#[from] alloy::signers::Error),
    /// The node did not answer.
    #[error("the channel could not be read from the chain: {0}")]
    Node(String),
}

/// Money that a payer is asked to put into a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositRequest {
    /// The contract and its chain.
    pub chain: Chain,
    /// The channel.
    pub channel: ChannelConfig,
    /// The token and its EIP-712 domain.
    pub token: TokenDomain,
    /// Base units.
    pub amount: u128,
    /// Unix seconds by which the authorization must have ended.
    pub valid_before: u64,
    /// How the token is to move.
    pub method: TransferMethod,
}

impl DepositRequest {
    /// What is signed to agree, and the authorization that then lacks only the signature. `nonce` must never be used twice.
    pub fn unsigned(&self, nonce: B256) -> (B256, DepositAuthorization) {
        let (id, valid_before) = (self.chain.channel_id(&self.channel), U256::from(self.valid_before).into());
        match self.method {
            TransferMethod::Eip3009 => {
                let (valid_after, signature) = (TokenAmount::ZERO, Bytes::new());
                let deposit = Erc3009Deposit { valid_after, valid_before, salt: nonce, signature };
                let hash = deposit.signing_hash(self.channel.payer, id, self.amount, &self.token);
                (hash, DepositAuthorization::Erc3009Authorization(deposit))
            }
            TransferMethod::Permit2 => {
                let deposit = Permit2Deposit {
                    from: self.channel.payer,
                    permitted: Permit2Permitted { token: self.token.asset, amount: U256::from(self.amount).into() },
                    spender: PERMIT2_COLLECTOR,
                    nonce: U256::from_be_bytes(nonce.0).into(),
                    deadline: valid_before,
                    witness: Permit2DepositWitness { channel_id: id },
                    signature: Bytes::new(),
                };
                (deposit.signing_hash(self.chain.id), DepositAuthorization::Permit2Authorization(deposit))
            }
        }
    }
}

impl Channels {
    /// Channels whose vouchers `key` signs (a hot key: it can spend what is deposited, for what sellers ask, and nothing else). Records
    /// are in memory: without a node they are lost with the process, and with them what is left in the channels.
    pub fn in_memory(key: impl Signer + Send + Sync + 'static) -> Self {
        Self::with(key, book::Book::default())
    }

    /// The same, with records in a local folder that outlives the process and may be shared with others. A voucher is written down before
    /// it is sent, and its channel is locked until its outcome is known.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn in_folder(key: impl Signer + Send + Sync + 'static, folder: impl AsRef<Path>) -> Result<Self, ChannelError> {
        Ok(Self::with(key, book::Book::in_folder(folder.as_ref())?))
    }

    fn with(key: impl Signer + Send + Sync + 'static, book: book::Book) -> Self {
        Self(Arc::new(Inner { key: Arc::new(key), book, multiple: DEPOSIT_MULTIPLE, salt: B256::ZERO, node: None }))
    }

    /// How many times the price is deposited when the seller does not say, and how many times the policy's `max_per_payment` a deposit may
    /// be at most. 5 unless told. Like the next two, to be called before the first clone.
    pub fn deposit_multiple(self, multiple: u32) -> Self {
        self.change(|inner| inner.multiple = multiple.max(1))
    }

    /// Asks `node` for channels that are not on record, and for the balance when a deposit's outcome is not known.
    pub fn node(self, node: DynProvider) -> Self {
        self.change(|inner| inner.node = Some(node))
    }

    /// Tells channels of the same parties apart.
    pub fn salt(self, salt: B256) -> Self {
        self.change(|inner| inner.salt = salt)
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Every channel on record: what is in it, and with what a withdrawal is made.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn records(&self) -> Result<Vec<ChannelRecord>, ChannelError> {
        self.0.book.all().await
    }

    /// The channel through which `payer` pays `offer`.
    pub(super) fn config(&self, payer: Address, offer: &PaymentRequirements) -> Result<ChannelConfig, ChannelError> {
        let missing = |what| ChannelError::Offer(what);
        let authorizer = offer.extra_str("receiverAuthorizer").and_then(|text| text.parse::<Address>().ok());
        let withdraw_delay = withdraw_delay(offer).unwrap_or(WITHDRAW_DELAY_MIN_SECS);
        if !(WITHDRAW_DELAY_MIN_SECS..=WITHDRAW_DELAY_MAX_SECS).contains(&withdraw_delay) {
            return Err(missing("its withdraw delay is below 15 minutes or above 7 days"));
        }
        Ok(ChannelConfig {
            payer,
            payer_authorizer: self.0.key.address(),
            receiver: offer.pay_to_address().ok_or(missing("its payee is not an address"))?,
            receiver_authorizer: authorizer.filter(|a| !a.is_zero()).ok_or(missing("it names no receiverAuthorizer"))?,
            token: offer.asset_address().ok_or(missing("its asset is not an address"))?,
            withdraw_delay,
            salt: self.0.salt,
        })
    }

    /// Waits for the channel and reads its record.
    pub(super) async fn hold(&self, payer: Address, offer: &PaymentRequirements) -> Result<Hold, ChannelError> {
        let config = self.config(payer, offer)?;
        let chain = Chain::of(offer).ok_or(ChannelError::Offer("its network is not an EVM chain"))?;
        let id = chain.channel_id(&config);
        let turn = self.0.book.take(id).await?;
        let mut record = match self.0.book.read(id).await? {
            Some(record) => record,
            None => {
                let mut record = ChannelRecord::new(id, chain.id, config);
                self.look(&mut record).await?;
                record.charged = record.charged.max(record.ceiling);
                record
            }
        };
        if record.unconfirmed > 0 && self.look(&mut record).await? {
            record.unconfirmed = 0;
        }
        Ok(Hold::new(self.clone(), chain, record, turn))
    }

    /// Takes balance and claims from the chain; false without a node.
    pub(super) async fn look(&self, record: &mut ChannelRecord) -> Result<bool, ChannelError> {
        let Some(node) = &self.0.node else { return Ok(false) };
        let failed = |error: String| ChannelError::Node(error);
        if node.get_chain_id().await.map_err(|e| failed(e.to_string()))? != record.chain_id {
            return Ok(false);
        }
        let input = IBatchSettlement::channelsCall { channelId: record.id }.abi_encode();
        let request = TransactionRequest::default().to(BATCH_CONTRACT).input(Bytes::from(input).into());
        let answer = node.call(request).await.map_err(|e| failed(e.to_string()))?;
        let state = IBatchSettlement::channelsCall::abi_decode_returns(&answer).map_err(|e| failed(e.to_string()))?;
        record.balance = state.balance;
        record.charged = record.charged.max(state.totalClaimed);
        record.ceiling = record.ceiling.max(state.totalClaimed);
        Ok(true)
    }

    /// The most that one deposit may be.
    pub(super) fn deposit_max(&self, per_payment: Usdc) -> u128 {
        u128::from(per_payment.base_units()).saturating_mul(u128::from(self.0.multiple))
    }

    pub(super) async fn sign(&self, hash: B256) -> Result<Bytes, ChannelError> {
        Ok(self.0.key.sign_hash(&hash).await?.as_bytes().into())
    }
}
