//! What payers sign for the PaymentRouter: payments, batches and splits by funding them, and subscriptions.
//!
//! The router's calls `…WithAuthorization` take the payer's `ReceiveWithAuthorization` to the router, whose nonce is the digest of everything
//! else in the call: [`Payment`], [`Batch`], [`Split`], made by [`funding`].

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::{Eip712Domain, SolStruct},
};

use super::{Message, usdc};

mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        /// A recorded payment.
        ///
        /// `Payment(address payer,bytes32 paymentId,address token,address payee,uint256 amount)`
        #[derive(Debug, PartialEq, Eq)]
        struct Payment {
            address payer;
            bytes32 paymentId;
            address token;
            address payee;
            uint256 amount;
        }

        /// One payment of a [`Batch`].
        ///
        /// `Leg(address payee,uint96 amount)`
        #[derive(Debug, PartialEq, Eq)]
        struct Leg {
            address payee;
            uint96 amount;
        }

        /// Many payments in one.
        ///
        /// `Batch(address payer,bytes32 paymentRef,address token,Leg[] legs)Leg(address payee,uint96 amount)`
        #[derive(Debug, PartialEq, Eq)]
        struct Batch {
            address payer;
            bytes32 paymentRef;
            address token;
            Leg[] legs;
        }

        /// One part of a [`Split`], in basis points.
        ///
        /// `Share(address payee,uint16 bps)`
        #[derive(Debug, PartialEq, Eq)]
        struct Share {
            address payee;
            uint16 bps;
        }

        /// One amount for several payees.
        ///
        /// `Split(address payer,bytes32 paymentRef,address token,uint256 amount,Share[] shares)Share(address payee,uint16 bps)`
        #[derive(Debug, PartialEq, Eq)]
        struct Split {
            address payer;
            bytes32 paymentRef;
            address token;
            uint256 amount;
            Share[] shares;
        }

        /// What payer and payee of a subscription agree on. Its digest is the subscription's id.
        ///
        /// `SubscriptionTerms(address payer,address payee,address token,uint96 amount,uint96 totalMax,uint40 start,uint32 trial,uint32
        /// period,uint16 catchUpMax,bytes32 salt)`
        #[derive(Debug, PartialEq, Eq)]
        struct SubscriptionTerms {
            address payer;
            address payee;
            address token;
            uint96 amount;
            uint96 totalMax;
            uint40 start;
            uint32 trial;
            uint32 period;
            uint16 catchUpMax;
            bytes32 salt;
        }

        /// The payer's word that a subscription begins.
        ///
        /// `Subscribe(SubscriptionTerms terms,uint256 nonce,uint256 deadline)SubscriptionTerms(address payer,address payee,address token,uint96
        /// amount,uint96 totalMax,uint40 start,uint32 trial,uint32 period,uint16 catchUpMax,bytes32 salt)`
        #[derive(Debug, PartialEq, Eq)]
        struct Subscribe {
            SubscriptionTerms terms;
            uint256 nonce;
            uint256 deadline;
        }

        /// The payer's word that a subscription ends.
        ///
        /// `Cancel(bytes32 subscription,bool atPeriodEnd,uint256 nonce,uint256 deadline)`
        #[derive(Debug, PartialEq, Eq)]
        struct Cancel {
            bytes32 subscription;
            bool atPeriodEnd;
            uint256 nonce;
            uint256 deadline;
        }

        /// The payer's consent to a higher price.
        ///
        /// `PriceChange(bytes32 subscription,uint96 price,uint256 nonce,uint256 deadline)`
        #[derive(Debug, PartialEq, Eq)]
        struct PriceChange {
            bytes32 subscription;
            uint96 price;
            uint256 nonce;
            uint256 deadline;
        }
    }
}

pub use typed::{Batch, Cancel, Leg, Payment, PriceChange, Share, Split, Subscribe, SubscriptionTerms};

/// What a payer funds in one call of the router: a [`Payment`], a [`Batch`] or a [`Split`].
pub trait Funded: SolStruct {
    /// Payer, token and the sum.
    fn funds(&self) -> (Address, Address, U256);
}

impl Funded for Payment {
    fn funds(&self) -> (Address, Address, U256) {
        (self.payer, self.token, self.amount)
    }
}

impl Funded for Batch {
    fn funds(&self) -> (Address, Address, U256) {
        (self.payer, self.token, self.legs.iter().map(|leg| U256::from(leg.amount)).sum())
    }
}

impl Funded for Split {
    fn funds(&self) -> (Address, Address, U256) {
        (self.payer, self.token, self.amount)
    }
}

/// The domain of a router.
pub fn domain(router: Address, chain_id: u64) -> Eip712Domain {
    super::domain("Florin PaymentRouter", router, chain_id)
}

/// The nonce of [`funding`], as the router's `paymentNonce`, `batchNonce` and `splitNonce` compute it.
pub fn nonce(call: &impl Funded, router: Address, chain_id: u64) -> B256 {
    call.eip712_signing_hash(&domain(router, chain_id))
}

/// What the payer signs: USDC goes to the router, in this one call and for nothing else. Unix seconds; valid strictly between the two.
pub fn funding(
    call: &impl Funded,
    valid_after: u64,
    valid_before: u64,
    router: Address,
    chain_id: u64,
) -> Message<usdc::ReceiveWithAuthorization> {
    let (from, token, value) = call.funds();
    let authorization = usdc::ReceiveWithAuthorization {
        from,
        to: router,
        value,
        validAfter: U256::from(valid_after),
        validBefore: U256::from(valid_before),
        nonce: nonce(call, router, chain_id),
    };
    usdc::receive(authorization, token, chain_id)
}

/// The id of the subscription on `terms`.
pub fn subscription_id(terms: &SubscriptionTerms, router: Address, chain_id: u64) -> B256 {
    terms.eip712_signing_hash(&domain(router, chain_id))
}

/// What the payer signs to have a subscription begun.
pub fn subscribe(subscribe: Subscribe, router: Address, chain_id: u64) -> Message<Subscribe> {
    Message { domain: domain(router, chain_id), content: subscribe }
}

/// What the payer signs to have a subscription ended.
pub fn cancel(cancel: Cancel, router: Address, chain_id: u64) -> Message<Cancel> {
    Message { domain: domain(router, chain_id), content: cancel }
}

/// What the payer signs to have the price of a subscription raised.
pub fn price_change(change: PriceChange, router: Address, chain_id: u64) -> Message<PriceChange> {
    Message { domain: domain(router, chain_id), content: change }
}
