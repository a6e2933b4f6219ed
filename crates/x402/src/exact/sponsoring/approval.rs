use alloy::{
    consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope},
    eips::eip2718::{Decodable2718, Encodable2718},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256},
    sol_types::SolCall,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ADDRESS, BYTES, Field, NUMBER, VERSION, add, added, declaration};
use crate::{
    JsonMap, PERMIT2, PayloadError, Reason, TokenAmount,
    signature::{S_MAX, recover},
};

/// Key of the extension by which the facilitator broadcasts the payer's own transaction that approves Permit2, and pays its gas.
pub const ERC20_APPROVAL_GAS_SPONSORING: &str = "erc20ApprovalGasSponsoring";
/// What the transaction may use, as the official clients have it.
const APPROVE_GAS: u64 = 70_000;
/// Longest transaction read; an approval has less than 200 bytes.
const TRANSACTION_LEN_MAX_BYTES: usize = 1_024;

const FIELDS: [Field; 6] = [
    ("from", ADDRESS),
    ("asset", ADDRESS),
    ("spender", ADDRESS),
    ("amount", NUMBER),
    ("signedTransaction", BYTES),
    ("version", VERSION),
];

alloy::sol! {
    function approve(address spender, uint256 amount) external returns (bool);
}

/// `info` of the extension `erc20ApprovalGasSponsoring`: for tokens without EIP-2612, a transaction by which the payer approves Permit2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erc20Approval {
    /// Who pays, and sends the transaction.
    pub from: Address,
    /// The token.
    pub asset: Address,
    /// Must be [`PERMIT2`].
    pub spender: Address,
    /// What is approved: everything, as in the official clients, because each approval costs the sponsor a transaction.
    pub amount: TokenAmount,
    /// The transaction (EIP-1559), as it is broadcast.
    pub signed_transaction: Bytes,
    /// Of the extension.
    pub version: String,
}

/// What the signed transaction says, and that its payer signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approve {
    /// Of the transaction.
    pub hash: B256,
    /// The only chain on which it is valid.
    pub chain_id: u64,
    /// The payer's nonce that it uses up.
    pub nonce: u64,
    /// The gas it gets.
    pub gas_limit: u64,
    /// In wei: the payer must have this for each unit of gas, or the nodes do not take the transaction.
    pub max_fee_per_gas: u128,
    /// Base units of the token that Permit2 may take.
    pub amount: U256,
    /// In wei: what it sends along, which an approval has no use for.
    pub value: U256,
}

impl Approve {
    /// What the payer must have, in wei.
    pub fn cost(&self) -> U256 {
        U256::from(self.gas_limit) * U256::from(self.max_fee_per_gas)
    }
}

impl Erc20Approval {
    /// The transaction to be signed by a payer with this nonce, who offers these wei per gas.
    pub fn unsigned(
        chain_id: u64,
        asset: Address,
        nonce: u64,
        max_fee_per_gas: u128,
        max_priority_fee_per_gas: u128,
    ) -> TxEip1559 {
        TxEip1559 {
            chain_id,
            nonce,
            gas_limit: APPROVE_GAS,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: TxKind::Call(asset),
            input: approveCall { spender: PERMIT2, amount: U256::MAX }.abi_encode().into(),
            ..TxEip1559::default()
        }
    }

    /// The extension with the transaction that `from` signed.
    pub fn signed(from: Address, transaction: TxEip1559, signature: Signature) -> Self {
        let asset = transaction.to.to().copied().unwrap_or_default();
        let signed_transaction = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into();
        Self { from, asset, spender: PERMIT2, amount: U256::MAX.into(), signed_transaction, version: "1".into() }
    }

    /// The approval among a payment's extensions; `None` when the client added none.
    ///
    /// # Errors
    /// [`PayloadError`] when there is one that cannot be read.
    pub fn of(extensions: Option<&JsonMap>) -> Result<Option<Self>, PayloadError> {
        let Some(info) = added(extensions, ERC20_APPROVAL_GAS_SPONSORING, &FIELDS) else { return Ok(None) };
        let approval = Self::deserialize(info).map_err(|e| PayloadError::malformed(&e))?;
        match approval.signed_transaction.len() {
            len if len > TRANSACTION_LEN_MAX_BYTES => {
                Err(PayloadError::Malformed(format!("the transaction has {len} bytes, at most {TRANSACTION_LEN_MAX_BYTES}")))
            }
            _ => Ok(Some(approval)),
        }
    }

    /// What is approved, when it is `payer`'s approval of Permit2 for `token` and nothing else: in the order of the official facilitator.
    /// Whether the chain takes the transaction is not judged here.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(&self, payer: Address, token: Address) -> Result<Approve, Reason> {
        let terms = [
            (self.from == payer, Reason::Erc20ApprovalFromMismatch),
            (self.asset == token, Reason::Erc20ApprovalAssetMismatch),
            (self.spender == PERMIT2, Reason::Erc20ApprovalSpenderNotPermit2),
        ];
        if let Some((_, reason)) = terms.into_iter().find(|(holds, _)| !holds) {
            return Err(reason);
        }
        let mut raw = self.signed_transaction.as_ref();
        let transaction = match TxEnvelope::decode_2718(&mut raw) {
            Ok(TxEnvelope::Eip1559(transaction)) if raw.is_empty() => transaction,
            _ => return Err(Reason::Erc20ApprovalTxParseFailed),
        };
        let unsigned = transaction.tx();
        if unsigned.to() != Some(token) {
            return Err(Reason::Erc20ApprovalTxWrongTarget);
        }
        if !unsigned.input.starts_with(&approveCall::SELECTOR) {
            return Err(Reason::Erc20ApprovalTxWrongSelector);
        }
        let call = approveCall::abi_decode_validate(&unsigned.input).map_err(|_| Reason::Erc20ApprovalTxInvalidCalldata)?;
        if call.spender != PERMIT2 {
            return Err(Reason::Erc20ApprovalTxWrongSpender);
        }
        let signature = Some(transaction.signature()).filter(|signature| signature.s() <= S_MAX);
        let signer = signature.and_then(|signature| recover(transaction.signature_hash(), signature));
        match signer {
            None => return Err(Reason::Erc20ApprovalTxInvalidSignature),
            Some(signer) if signer != payer => return Err(Reason::Erc20ApprovalTxSignerMismatch),
            Some(_) => {}
        }
        Ok(Approve {
            hash: *transaction.hash(),
            chain_id: unsigned.chain_id,
            nonce: unsigned.nonce,
            gas_limit: unsigned.gas_limit,
            max_fee_per_gas: unsigned.max_fee_per_gas,
            amount: call.amount,
            value: unsigned.value,
        })
    }

    /// Adds the approval to what the server said in the extension.
    pub fn add_to(&self, extensions: &mut JsonMap) {
        add(extensions, ERC20_APPROVAL_GAS_SPONSORING, self);
    }

    /// What a server declares under [`ERC20_APPROVAL_GAS_SPONSORING`] when its facilitator carries approvals.
    pub fn declaration() -> Value {
        declaration("The facilitator broadcasts a signed transaction that approves Permit2, and pays its gas.", &FIELDS)
    }
}
