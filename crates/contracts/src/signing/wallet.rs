//! What is signed for an AgentWallet: an operator's payment, and its approval by the owner or approvers.
//!
//! Operator and approvers sign the same digest. Approvals go to the chain as [`Approvals::for_wallet`](super::Approvals::for_wallet).
//! What operators sign for x402 is in [`lane`](super::lane).

use alloy::{primitives::Address, sol_types::Eip712Domain};

use super::Message;
use crate::agent_wallet::IAgentWallet;

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// One payment, as operators order and approvers approve it, with the epochs that are current.
        ///
        /// `Payment(address wallet,address operator,address token,address to,uint256 amount,bytes32 paymentId,uint256 deadline,uint32
        /// operatorEpoch,uint32 approvalEpoch)`
        #[derive(Debug, PartialEq, Eq)]
        struct Payment {
            address wallet;
            address operator;
            address token;
            address to;
            uint256 amount;
            bytes32 paymentId;
            uint256 deadline;
            uint32 operatorEpoch;
            uint32 approvalEpoch;
        }
    }
}

pub use typed::Payment;

/// The two epochs that a payment is bound to. When one of them has moved on, signatures are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// `operatorOf(operator).epoch`.
    pub operator: u32,
    /// `approvalRule().approvalEpoch`.
    pub approval: u32,
}

/// The domain of a wallet.
pub fn domain(wallet: Address, chain_id: u64) -> Eip712Domain {
    super::domain("Florin Agent Wallet", wallet, chain_id)
}

/// What an operator signs to have a payment relayed, and approvers or the owner to approve it.
pub fn payment(payment: &IAgentWallet::Payment, epochs: Epochs, wallet: Address, chain_id: u64) -> Message<Payment> {
    let content = Payment {
        wallet,
        operator: payment.operator,
        token: payment.token,
        to: payment.to,
        amount: payment.amount,
        paymentId: payment.paymentId,
        deadline: payment.deadline,
        operatorEpoch: epochs.operator,
        approvalEpoch: epochs.approval,
    };
    Message { domain: domain(wallet, chain_id), content }
}
