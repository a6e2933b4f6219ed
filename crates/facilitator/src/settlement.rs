//! What the engine settles: a call that must have a certain effect once, whoever asks for it and how often.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::Log,
    sol_types::SolEvent,
};
use serde::{Deserialize, Serialize};
use x402::{Reason, TransferMethod};

use crate::token::{IToken, Transfer};

/// By what the chain tells two settlements of one payer apart: each method has ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// The nonce of an EIP-3009 authorization, which the token burns.
    Eip3009,
    /// The nonce of a Permit2 transfer, which Permit2 burns.
    Permit2,
    /// A call of the channels' contract, or of the escrow's by its operator: a hash of what it does.
    Channel,
    /// A gift of coin for the gas of a payer's approval: the nonce of that transaction. Its token is the zero address.
    Gas,
}

impl Method {
    const ALL: [Self; 4] = [Self::Eip3009, Self::Permit2, Self::Channel, Self::Gas];

    /// Name in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
            Self::Channel => "channel",
            Self::Gas => "gas",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

impl From<TransferMethod> for Method {
    fn from(method: TransferMethod) -> Self {
        match method {
            TransferMethod::Eip3009 => Self::Eip3009,
            TransferMethod::Permit2 => Self::Permit2,
        }
    }
}

/// What identifies a settlement: it happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) chain_id: u64,
    pub(crate) method: Method,
    pub(crate) token: Address,
    pub(crate) payer: Address,
    /// 32 bytes that are unique for this method, token and payer.
    pub(crate) nonce: B256,
}

/// What a transaction calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) to: Address,
    pub(crate) input: Bytes,
    /// Gas it gets.
    pub(crate) gas: u64,
    /// Coin that goes along, in wei: none but to a payer who needs gas.
    #[serde(default)]
    pub(crate) value: U256,
}

impl Call {
    /// One that takes no coin along.
    pub(crate) fn new(to: Address, input: impl Into<Bytes>, gas: u64) -> Self {
        Self { to, input: input.into(), gas, value: U256::ZERO }
    }
}

/// What the receipt of a settlement must show, besides that nothing reverted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expected {
    /// The token's `Transfer` of the amount from payer to payee.
    Transfer,
    /// A log of this contract whose topics begin with these.
    Log { address: Address, topics: Vec<B256> },
    /// Nothing.
    Success,
}

/// A settlement that is to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settlement {
    pub(crate) key: Key,
    /// Who is paid; for a call that pays nobody, whoever it is about.
    pub(crate) payee: Address,
    /// In the token's base units; zero for a call that moves nothing. In wei for [`Method::Gas`].
    pub(crate) amount: U256,
    pub(crate) call: Call,
    pub(crate) expected: Expected,
    /// The only signer whose transaction the chain accepts, if that matters.
    pub(crate) signer: Option<Address>,
    /// Whether it may share a transaction: a plain EIP-3009 call of the token by a payer without code, see [`crate::batch`]. Not kept in the
    /// journal: what is tried again after a restart goes alone.
    #[serde(skip)]
    pub(crate) batchable: bool,
    /// What the payer had when it was verified, if that was asked. Not kept in the journal either.
    #[serde(skip)]
    pub(crate) funds: Option<U256>,
}

impl Settlement {
    /// What it takes from its payer.
    pub(crate) fn draws(&self) -> U256 {
        match self.key.method {
            Method::Eip3009 | Method::Permit2 => self.amount,
            Method::Channel | Method::Gas => U256::ZERO,
        }
    }

    /// What it moves.
    pub(crate) fn transfer(&self) -> Transfer {
        Transfer { token: self.key.token, from: self.key.payer, to: self.payee, amount: self.amount }
    }

    /// Whether the logs of a transaction that succeeded show what they must.
    pub(crate) fn is_in(&self, logs: &[Log]) -> bool {
        match &self.expected {
            Expected::Transfer => self.transfer().is_in(logs),
            Expected::Log { address, topics } => {
                logs.iter().any(|log| log.address() == *address && log.topics().starts_with(topics))
            }
            Expected::Success => true,
        }
    }

    /// Whether the logs show that the token used this very EIP-3009 nonce.
    pub(crate) fn is_used_in(&self, logs: &[Log]) -> bool {
        let Key { token, payer, nonce, .. } = self.key;
        let topics = [IToken::AuthorizationUsed::SIGNATURE_HASH, payer.into_word(), nonce];
        logs.iter().any(|log| log.address() == token && log.topics() == topics)
    }
}

/// A place in a signer's order of transactions. All attempts at it share the nonce, so at most one of them is ever mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) chain_id: u64,
    pub(crate) signer: Address,
    pub(crate) nonce: u64,
}

/// How far a settlement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// May still be mined.
    Sent,
    /// On chain by this transaction.
    Settled(B256),
    /// It is not, and its attempts never will be.
    Failed,
    /// The same, by no fault of its own: it goes out again, if need be by the next start.
    Again,
}

impl State {
    /// Name in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Settled(_) => "settled",
            Self::Failed => "failed",
            Self::Again => "again",
        }
    }
}

/// A settlement in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) settlement: Settlement,
    pub(crate) slot: Slot,
    pub(crate) state: State,
    /// Why it failed, in the protocol's words.
    pub(crate) reason: Option<String>,
}

impl Entry {
    /// Whether it failed because nobody could tell what became of it: it may have happened.
    pub(crate) fn is_given_up(&self) -> bool {
        self.reason.as_deref() == Some(Reason::UnexpectedSettleError.as_str())
    }
}
