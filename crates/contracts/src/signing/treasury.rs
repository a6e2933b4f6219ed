//! What the owners of a Treasury sign: orders, changes and their cancellation; and the top-up that a payer authorizes.
//!
//! The digest is the id that `approve`, `execute` and `scheduleChange` know. Owners' signatures of it go to the chain as
//! [`Approvals::for_treasury`](super::Approvals::for_treasury). Every struct names the treasury besides its domain doing so.

use alloy::{
    primitives::{Address, B256},
    sol_types::Eip712Domain,
};

use super::{Message, usdc};
use crate::treasury::ITreasury;

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// One payee of an [`Order`].
        ///
        /// `Payment(address to,uint256 amount,bytes32 paymentRef)`
        #[derive(Debug, PartialEq, Eq)]
        struct Payment {
            address to;
            uint256 amount;
            bytes32 paymentRef;
        }

        /// A request to spend within a policy, as owners sign it.
        ///
        /// `Order(address treasury,address spender,address token,uint8 operation,bytes32 category,Payment[] payments,bytes details,uint256
        /// nonce,uint64 validUntil,uint32 policyEpoch,uint32 ownerEpoch)Payment(address to,uint256 amount,bytes32 paymentRef)`
        #[derive(Debug, PartialEq, Eq)]
        struct Order {
            address treasury;
            address spender;
            address token;
            uint8 operation;
            bytes32 category;
            Payment[] payments;
            bytes details;
            uint256 nonce;
            uint64 validUntil;
            uint32 policyEpoch;
            uint32 ownerEpoch;
        }

        /// A request to alter the treasury, as owners sign it.
        ///
        /// `Change(address treasury,bytes[] calls,uint256 nonce,uint64 validUntil,uint32 ownerEpoch)`
        #[derive(Debug, PartialEq, Eq)]
        struct Change {
            address treasury;
            bytes[] calls;
            uint256 nonce;
            uint64 validUntil;
            uint32 ownerEpoch;
        }

        /// The end of a scheduled change, as owners sign it.
        ///
        /// `Cancellation(address treasury,bytes32 change)`
        #[derive(Debug, PartialEq, Eq)]
        struct Cancellation {
            address treasury;
            bytes32 change;
        }

        /// The terms of a top-up. Nobody signs them as such: their digest is the nonce of the payer's authorization.
        ///
        /// `TopUp(address treasury,address token,address from,uint256 amount,uint256 validAfter,uint256 validBefore,bytes32 category,bytes32
        /// paymentRef,uint256 salt)`
        #[derive(Debug, PartialEq, Eq)]
        struct TopUp {
            address treasury;
            address token;
            address from;
            uint256 amount;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 category;
            bytes32 paymentRef;
            uint256 salt;
        }
    }
}

pub use typed::{Cancellation, Change, Order, Payment, TopUp};

/// The domain of a treasury.
pub fn domain(treasury: Address, chain_id: u64) -> Eip712Domain {
    super::domain("Florin Treasury", treasury, chain_id)
}

/// What owners sign to have an order executed.
pub fn order(order: &ITreasury::Order, treasury: Address, chain_id: u64) -> Message<Order> {
    let payments = order.payments.iter();
    let content = Order {
        treasury,
        spender: order.spender,
        token: order.token,
        operation: order.operation,
        category: order.category,
        payments: payments.map(|p| Payment { to: p.to, amount: p.amount, paymentRef: p.paymentRef }).collect(),
        details: order.details.clone(),
        nonce: order.nonce,
        validUntil: order.validUntil,
        policyEpoch: order.policyEpoch,
        ownerEpoch: order.ownerEpoch,
    };
    Message { domain: domain(treasury, chain_id), content }
}

/// What owners sign to have a change scheduled: of owners, threshold, guardians, delays or policies, or a call of another contract.
pub fn change(change: &ITreasury::Change, treasury: Address, chain_id: u64) -> Message<Change> {
    let content = Change {
        treasury,
        calls: change.calls.clone(),
        nonce: change.nonce,
        validUntil: change.validUntil,
        ownerEpoch: change.ownerEpoch,
    };
    Message { domain: domain(treasury, chain_id), content }
}

/// What owners sign to end the scheduled change with the id `change`.
pub fn cancellation(change: B256, treasury: Address, chain_id: u64) -> Message<Cancellation> {
    Message { domain: domain(treasury, chain_id), content: Cancellation { treasury, change } }
}

/// The terms of a top-up, whose digest is the nonce of [`top_up_authorization`].
pub fn top_up(terms: &ITreasury::TopUp, treasury: Address, chain_id: u64) -> Message<TopUp> {
    let content = TopUp {
        treasury,
        token: terms.token,
        from: terms.from,
        amount: terms.amount,
        validAfter: terms.validAfter,
        validBefore: terms.validBefore,
        category: terms.category,
        paymentRef: terms.paymentRef,
        salt: terms.salt,
    };
    Message { domain: domain(treasury, chain_id), content }
}

/// What the payer of a top-up signs: USDC goes to the treasury and nowhere else, booked as the terms say.
pub fn top_up_authorization(
    terms: &ITreasury::TopUp,
    treasury: Address,
    chain_id: u64,
) -> Message<usdc::ReceiveWithAuthorization> {
    let authorization = usdc::ReceiveWithAuthorization {
        from: terms.from,
        to: treasury,
        value: terms.amount,
        validAfter: terms.validAfter,
        validBefore: terms.validBefore,
        nonce: top_up(terms, treasury, chain_id).digest(),
    };
    usdc::receive(authorization, terms.token, chain_id)
}
