use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U48, U120},
        keccak256,
    },
    sol_types::{Eip712Domain, SolCall, SolStruct, SolValue},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::Deployment;
use crate::{Eip3009Authorization, TokenAmount, TokenDomain, typed::ReceiveWithAuthorization};

/// The contract's types, those that are signed included.
pub(super) mod sol {
    #![allow(missing_docs)]
    alloy::sol! {
        #![sol(all_derives)]

        struct PaymentInfo {
            address operator;
            address payer;
            address receiver;
            address token;
            uint120 maxAmount;
            uint48 preApprovalExpiry;
            uint48 authorizationExpiry;
            uint48 refundExpiry;
            uint16 minFeeBps;
            uint16 maxFeeBps;
            address feeReceiver;
            uint256 salt;
        }

        struct Capture {
            bytes32 paymentInfoHash;
            uint256 amount;
            uint256 feeAmount;
            address feeReceiver;
            uint256 expectedCapturableAmount;
            uint256 expectedRefundableAmount;
        }

        struct Void { bytes32 paymentInfoHash; }

        /// `AuthCaptureEscrow`: what is called of it, and how it refuses.
        interface IAuthCaptureEscrow {
            error InvalidSender(address sender, address expected);
            error ZeroAmount();
            error ExceedsMaxAmount(uint256 amount, uint256 maxAmount);
            error AfterPreApprovalExpiry(uint48 timestamp, uint48 expiry);
            error InvalidExpiries(uint48 preApproval, uint48 authorization, uint48 refund);
            error FeeBpsOverflow(uint16 feeBps);
            error InvalidFeeBpsRange(uint16 minFeeBps, uint16 maxFeeBps);
            error FeeAmountOutOfRange(uint256 feeAmount, uint256 min, uint256 max);
            error ZeroFeeReceiver();
            error InvalidFeeReceiver(address attempted, address expected);
            error TokenCollectionFailed();
            error PaymentAlreadyCollected(bytes32 paymentInfoHash);
            error AfterAuthorizationExpiry(uint48 timestamp, uint48 expiry);
            error InsufficientAuthorization(bytes32 paymentInfoHash, uint256 authorized, uint256 requested);
            error ZeroAuthorization(bytes32 paymentInfoHash);

            function authorize(PaymentInfo paymentInfo, uint256 amount, address tokenCollector, bytes collectorData) external;
            function capture(PaymentInfo paymentInfo, uint256 amount, uint256 feeAmount, address feeReceiver) external;
            function void(PaymentInfo paymentInfo) external;
            function reclaim(PaymentInfo paymentInfo) external;
            function paymentState(bytes32 paymentInfoHash) external view
                returns (bool hasCollectedPayment, uint120 capturableAmount, uint120 refundableAmount);
            function getHash(PaymentInfo paymentInfo) external view returns (bytes32);
        }
    }
}

use sol::IAuthCaptureEscrow;

/// All that the payer signs for, under the names the contract has for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentInfo {
    /// The only account that may capture and void.
    pub operator: Address,
    /// Whose money it is.
    pub payer: Address,
    /// Who is paid.
    pub receiver: Address,
    /// The token.
    pub token: Address,
    /// The most that may be captured, in base units.
    #[serde(deserialize_with = "uint120")]
    pub max_amount: TokenAmount,
    /// Unix seconds; the money must be in the escrow before.
    #[serde(deserialize_with = "uint48")]
    pub pre_approval_expiry: u64,
    /// Unix seconds; captured before, and from then on the payer may take it back by itself.
    #[serde(deserialize_with = "uint48")]
    pub authorization_expiry: u64,
    /// Unix seconds; refunds of what was captured are made before.
    #[serde(deserialize_with = "uint48")]
    pub refund_expiry: u64,
    /// Least fee, in hundredths of a percent of what is captured.
    pub min_fee_bps: u16,
    /// Greatest fee.
    pub max_fee_bps: u16,
    /// Who gets the fee.
    pub fee_receiver: Address,
    /// Tells payments of the same terms apart, and commits to the receiver's authorizer: see [`bound_salt`].
    pub salt: B256,
}

fn uint48<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds if seconds < 1 << 48 => Ok(seconds),
        _ => Err(D::Error::custom("a time is more than a uint48 holds")),
    }
}

fn uint120<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenAmount, D::Error> {
    let amount = TokenAmount::deserialize(deserializer)?;
    if amount.0.bit_len() <= 120 { Ok(amount) } else { Err(D::Error::custom("an amount is more than a uint120 holds")) }
}

/// The salt of a payment whose captures `receiver_authorizer` signs: nobody can be put in its place afterwards.
pub fn bound_salt(receiver_authorizer: Address, nonce: B256) -> B256 {
    let tag = keccak256("x402AuthCaptureSaltBinding(address receiverAuthorizer,address policy,uint256 saltNonce)");
    let no_policy = Address::ZERO;
    keccak256((tag, receiver_authorizer, no_policy, U256::from_be_bytes(nonce.0)).abi_encode())
}

impl PaymentInfo {
    /// As the contract takes it. A greater number than it holds, which no way of reading one leaves, makes another payment.
    pub fn to_typed(&self) -> sol::PaymentInfo {
        sol::PaymentInfo {
            operator: self.operator,
            payer: self.payer,
            receiver: self.receiver,
            token: self.token,
            maxAmount: U120::saturating_from(self.max_amount.0),
            preApprovalExpiry: U48::saturating_from(self.pre_approval_expiry),
            authorizationExpiry: U48::saturating_from(self.authorization_expiry),
            refundExpiry: U48::saturating_from(self.refund_expiry),
            minFeeBps: self.min_fee_bps,
            maxFeeBps: self.max_fee_bps,
            feeReceiver: self.fee_receiver,
            salt: U256::from_be_bytes(self.salt.0),
        }
    }

    /// The payment's id in the escrow.
    pub fn hash(&self, chain_id: u64, escrow: Address) -> B256 {
        keccak256((U256::from(chain_id), escrow, self.to_typed().eip712_hash_struct()).abi_encode())
    }

    /// The nonce of what the payer signs: the same of a payment by nobody, so that a server can name it before it knows the payer.
    pub fn nonce(&self, chain_id: u64, escrow: Address) -> B256 {
        Self { payer: Address::ZERO, ..self.clone() }.hash(chain_id, escrow)
    }

    /// What the payer signs to let the escrow take the money, and its hash.
    pub fn authorization(&self, token: &TokenDomain, deployment: &Deployment) -> (Eip3009Authorization, B256) {
        let authorization = Eip3009Authorization {
            from: self.payer,
            to: deployment.collector,
            value: self.max_amount,
            valid_after: TokenAmount::ZERO,
            valid_before: U256::from(self.pre_approval_expiry).into(),
            nonce: self.nonce(token.chain_id, deployment.escrow),
        };
        let hash = receive_hash(&authorization, token);
        (authorization, hash)
    }

    fn operator_domain(&self, chain_id: u64) -> Eip712Domain {
        let (name, version) = ("x402 Auth Capture Operator".into(), "1".into());
        Eip712Domain::new(Some(name), Some(version), Some(U256::from(chain_id)), Some(self.operator), None)
    }

    /// What the receiver's authorizer signs to have `amount` captured of a payment of which nothing was captured before.
    pub fn capture_hash(&self, chain_id: u64, escrow: Address, capture: &super::CapturePayload) -> B256 {
        let message = sol::Capture {
            paymentInfoHash: self.hash(chain_id, escrow),
            amount: capture.amount.0,
            feeAmount: capture.fee_amount.0,
            feeReceiver: capture.fee_receiver,
            expectedCapturableAmount: capture.expected_capturable_amount.0,
            expectedRefundableAmount: capture.expected_refundable_amount.0,
        };
        message.eip712_signing_hash(&self.operator_domain(chain_id))
    }

    /// What the receiver's authorizer signs to have the rest given back.
    pub fn void_hash(&self, chain_id: u64, escrow: Address) -> B256 {
        sol::Void { paymentInfoHash: self.hash(chain_id, escrow) }.eip712_signing_hash(&self.operator_domain(chain_id))
    }

    /// Input of the call that puts all of it into the escrow. Only the operator may make it, and the next two.
    pub fn authorize_call(&self, collector: Address, signature: Bytes) -> Bytes {
        let (info, amount) = (self.to_typed(), self.max_amount.0);
        let call =
            IAuthCaptureEscrow::authorizeCall { paymentInfo: info, amount, tokenCollector: collector, collectorData: signature };
        call.abi_encode().into()
    }

    /// Input of the call that pays the receiver.
    pub fn capture_call(&self, amount: TokenAmount, fee_amount: TokenAmount, fee_receiver: Address) -> Bytes {
        let call = IAuthCaptureEscrow::captureCall {
            paymentInfo: self.to_typed(),
            amount: amount.0,
            feeAmount: fee_amount.0,
            feeReceiver: fee_receiver,
        };
        call.abi_encode().into()
    }

    /// Input of the call that gives the payer what was not captured.
    pub fn void_call(&self) -> Bytes {
        IAuthCaptureEscrow::voidCall { paymentInfo: self.to_typed() }.abi_encode().into()
    }

    /// Input of the call by which the payer takes back what is held, once `authorization_expiry` has come.
    pub fn reclaim_call(&self) -> Bytes {
        IAuthCaptureEscrow::reclaimCall { paymentInfo: self.to_typed() }.abi_encode().into()
    }
}

/// The hash that is signed for `receiveWithAuthorization`.
pub(super) fn receive_hash(authorization: &Eip3009Authorization, token: &TokenDomain) -> B256 {
    let message = ReceiveWithAuthorization {
        from: authorization.from,
        to: authorization.to,
        value: authorization.value.0,
        validAfter: authorization.valid_after.0,
        validBefore: authorization.valid_before.0,
        nonce: authorization.nonce,
    };
    message.eip712_signing_hash(&token.eip712())
}
