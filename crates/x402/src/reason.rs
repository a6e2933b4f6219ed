use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// Why a payment was not valid or not settled: the strings the official SDKs ship.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
            /// A string of another implementation, kept as it came.
            Other(String),
        }

        impl Reason {
            /// Every reason with a name here.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The string on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for Reason {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

reasons! {
    /// The asset's address has no code.
    AssetNotDeployed = "asset_not_deployed_contract",
    /// The scheme is not `exact`.
    InvalidScheme = "invalid_exact_evm_scheme",
    /// Payload and requirements name different networks.
    NetworkMismatch = "invalid_exact_evm_network_mismatch",
    /// `extra.name` or `extra.version` is missing.
    MissingEip712Domain = "invalid_exact_evm_missing_eip712_domain",
    /// Pays somebody else.
    RecipientMismatch = "invalid_exact_evm_recipient_mismatch",
    /// The payer did not sign this.
    InvalidSignature = "invalid_exact_evm_signature",
    /// Expired, or expires too soon to settle.
    ValidBefore = "invalid_exact_evm_payload_authorization_valid_before",
    /// Not yet valid.
    ValidAfter = "invalid_exact_evm_payload_authorization_valid_after",
    /// The value of the authorization is not a number this scheme allows.
    AuthorizationValue = "invalid_exact_evm_authorization_value",
    /// Pays another amount.
    ValueMismatch = "invalid_exact_evm_payload_authorization_value_mismatch",
    /// The payer's wallet has no code and brings no factory.
    UndeployedSmartWallet = "invalid_exact_evm_payload_undeployed_smart_wallet",
    /// The settlement reverted on chain.
    TransactionFailed = "invalid_exact_evm_transaction_failed",
    /// The settlement's receipt lacks the transfer.
    TransferEventMismatch = "invalid_exact_evm_transfer_event_mismatch",
    /// The token has another name.
    TokenNameMismatch = "invalid_exact_evm_token_name_mismatch",
    /// The token has another version.
    TokenVersionMismatch = "invalid_exact_evm_token_version_mismatch",
    /// The token cannot do EIP-3009.
    Eip3009NotSupported = "invalid_exact_evm_eip3009_not_supported",
    /// The authorization was used or cancelled.
    NonceAlreadyUsed = "invalid_exact_evm_nonce_already_used",
    /// The payer has too little.
    InsufficientBalance = "invalid_exact_evm_insufficient_balance",
    /// The settlement would revert.
    SimulationFailed = "invalid_exact_evm_transaction_simulation_failed",
    /// The signature cannot be parsed.
    FailedToParseSignature = "invalid_exact_evm_failed_to_parse_signature",
    /// Permit2: the spender is not the proxy.
    Permit2Spender = "invalid_permit2_spender",
    /// Permit2: pays somebody else.
    Permit2RecipientMismatch = "invalid_permit2_recipient_mismatch",
    /// Permit2: expired, or expires too soon to settle.
    Permit2DeadlineExpired = "permit2_deadline_expired",
    /// Permit2: not yet valid.
    Permit2NotYetValid = "permit2_not_yet_valid",
    /// Permit2: another amount.
    Permit2AmountMismatch = "permit2_amount_mismatch",
    /// Permit2: another token.
    Permit2TokenMismatch = "permit2_token_mismatch",
    /// Permit2: the payer did not sign this.
    Permit2Signature = "invalid_permit2_signature",
    /// Permit2: the payer has not approved Permit2 (HTTP 412).
    Permit2AllowanceRequired = "permit2_allowance_required",
    /// Permit2: the settlement would revert.
    Permit2SimulationFailed = "permit2_simulation_failed",
    /// Permit2: the payer has too little.
    Permit2InsufficientBalance = "permit2_insufficient_balance",
    /// Permit2: the proxy is not deployed on this chain.
    Permit2ProxyNotDeployed = "permit2_proxy_not_deployed",
    /// Permit2: the proxy refused the amount.
    Permit2InvalidAmount = "permit2_invalid_amount",
    /// Permit2: the proxy refused the destination.
    Permit2InvalidDestination = "permit2_invalid_destination",
    /// Permit2: the proxy refused the owner.
    Permit2InvalidOwner = "permit2_invalid_owner",
    /// Permit2: before `validAfter`.
    Permit2PaymentTooEarly = "permit2_payment_too_early",
    /// Permit2: the nonce was used.
    Permit2InvalidNonce = "permit2_invalid_nonce",
    /// Permit2: the EIP-2612 permit is for another amount.
    Permit2612AmountMismatch = "permit2_2612_amount_mismatch",
    /// The scheme is not `upto`.
    UptoScheme = "invalid_upto_evm_scheme",
    /// Scheme `upto`: payload and requirements name different networks.
    UptoNetworkMismatch = "invalid_upto_evm_network_mismatch",
    /// Scheme `upto`: the settlement reverted on chain.
    UptoTransactionFailed = "invalid_upto_evm_transaction_failed",
    /// Scheme `upto`: the server charges more than was signed.
    UptoSettlementExceedsAmount = "invalid_upto_evm_payload_settlement_exceeds_amount",
    /// Scheme `upto`: the proxy says that the amount exceeds what was signed.
    UptoAmountExceedsPermitted = "upto_amount_exceeds_permitted",
    /// Scheme `upto`: the proxy says that another facilitator was signed for.
    UptoUnauthorizedFacilitator = "upto_unauthorized_facilitator",
    /// Scheme `upto`: signed for a facilitator that is none of our signers.
    UptoFacilitatorMismatch = "upto_facilitator_mismatch",
    /// Approval extension: not in its form.
    Erc20ApprovalFormat = "invalid_erc20_approval_extension_format",
    /// Approval extension: from another account.
    Erc20ApprovalFromMismatch = "erc20_approval_from_mismatch",
    /// Approval extension: for another asset.
    Erc20ApprovalAssetMismatch = "erc20_approval_asset_mismatch",
    /// Approval extension: approves somebody else than Permit2.
    Erc20ApprovalSpenderNotPermit2 = "erc20_approval_spender_not_permit2",
    /// Approval transaction: calls another contract.
    Erc20ApprovalTxWrongTarget = "erc20_approval_tx_wrong_target",
    /// Approval transaction: calls another function.
    Erc20ApprovalTxWrongSelector = "erc20_approval_tx_wrong_selector",
    /// Approval transaction: approves somebody else.
    Erc20ApprovalTxWrongSpender = "erc20_approval_tx_wrong_spender",
    /// Approval transaction: bad calldata.
    Erc20ApprovalTxInvalidCalldata = "erc20_approval_tx_invalid_calldata",
    /// Approval transaction: signed by somebody else.
    Erc20ApprovalTxSignerMismatch = "erc20_approval_tx_signer_mismatch",
    /// Approval transaction: bad signature.
    Erc20ApprovalTxInvalidSignature = "erc20_approval_tx_invalid_signature",
    /// Approval transaction: cannot be parsed.
    Erc20ApprovalTxParseFailed = "erc20_approval_tx_parse_failed",
    /// Approval transaction: reverted.
    Erc20ApprovalTxFailed = "erc20_approval_tx_failed",
    /// Approval transaction: could not be sent.
    Erc20ApprovalBroadcastFailed = "erc20_approval_broadcast_failed",
    /// EIP-2612 extension: not in its form.
    Eip2612Format = "invalid_eip2612_extension_format",
    /// EIP-2612 extension: from another account.
    Eip2612FromMismatch = "eip2612_from_mismatch",
    /// EIP-2612 extension: for another asset.
    Eip2612AssetMismatch = "eip2612_asset_mismatch",
    /// EIP-2612 extension: the spender is not Permit2.
    Eip2612SpenderNotPermit2 = "eip2612_spender_not_permit2",
    /// EIP-2612 extension: expired.
    Eip2612DeadlineExpired = "eip2612_deadline_expired",
    /// The payload is neither EIP-3009 nor Permit2.
    UnsupportedPayloadType = "unsupported_payload_type",
    /// The transaction is in no state that allows this.
    InvalidTransactionState = "invalid_transaction_state",
    /// The wallet's factory is not on the facilitator's list.
    FactoryNotAllowed = "eip6492_factory_not_allowed",
    /// The wallet could not be deployed.
    SmartWalletDeploymentFailed = "smart_wallet_deployment_failed",
    /// Channels: the channel has no money.
    BatchChannelNotFound = "invalid_batch_settlement_evm_channel_not_found",
    /// Channels: the channel is in another token.
    BatchTokenMismatch = "invalid_batch_settlement_evm_token_mismatch",
    /// Channels: the channel's payer did not sign the voucher.
    BatchVoucherSignature = "invalid_batch_settlement_evm_voucher_signature",
    /// Channels: the voucher promises more than the channel holds.
    BatchCumulativeExceedsBalance = "invalid_batch_settlement_evm_cumulative_exceeds_balance",
    /// Channels: the voucher promises no more than was claimed.
    BatchCumulativeBelowClaimed = "invalid_batch_settlement_evm_cumulative_below_claimed",
    /// Channels: the payer does not have what it would deposit.
    BatchInsufficientBalance = "invalid_batch_settlement_evm_insufficient_balance",
    /// Channels: the deposit reverted on chain.
    BatchDepositFailed = "invalid_batch_settlement_evm_deposit_transaction_failed",
    /// Channels: the claim reverted on chain.
    BatchClaimFailed = "invalid_batch_settlement_evm_claim_transaction_failed",
    /// Channels: the payout reverted on chain.
    BatchSettleFailed = "invalid_batch_settlement_evm_settle_transaction_failed",
    /// Channels: the scheme is not `batch-settlement`.
    BatchInvalidScheme = "invalid_batch_settlement_evm_scheme",
    /// Channels: payload and requirements name different networks.
    BatchNetworkMismatch = "invalid_batch_settlement_evm_network_mismatch",
    /// Channels: `extra.name` or `extra.version` is missing.
    BatchMissingEip712Domain = "invalid_batch_settlement_evm_missing_eip712_domain",
    /// Channels: the deposit expired, or expires too soon.
    BatchValidBefore = "invalid_batch_settlement_evm_payload_authorization_valid_before",
    /// Channels: the deposit is not valid yet.
    BatchValidAfter = "invalid_batch_settlement_evm_payload_authorization_valid_after",
    /// Channels: the payer did not sign the deposit.
    BatchReceiveSignature = "invalid_batch_settlement_evm_receive_authorization_signature",
    /// Channels: the deposit must be by EIP-3009.
    BatchErc3009Required = "invalid_batch_settlement_evm_erc3009_authorization_required",
    /// Channels: the refund reverted on chain.
    BatchRefundFailed = "invalid_batch_settlement_evm_refund_transaction_failed",
    /// Channels: the payload is of no type of the scheme.
    BatchPayloadType = "invalid_batch_settlement_evm_payload_type",
    /// Channels: the withdraw delay is not one the contract allows.
    BatchWithdrawDelayOutOfRange = "invalid_batch_settlement_evm_withdraw_delay_out_of_range",
    /// Channels: the channel's id is not the hash of its configuration.
    BatchChannelIdMismatch = "invalid_batch_settlement_evm_channel_id_mismatch",
    /// Channels: the channel's id is not 32 bytes.
    BatchChannelIdInvalid = "invalid_batch_settlement_evm_channel_id_invalid",
    /// Channels: the channel pays somebody else.
    BatchReceiverMismatch = "invalid_batch_settlement_evm_receiver_mismatch",
    /// Channels: the channel has another receiver's authorizer.
    BatchReceiverAuthorizerMismatch = "invalid_batch_settlement_evm_receiver_authorizer_mismatch",
    /// Channels: the channel has another withdraw delay.
    BatchWithdrawDelayMismatch = "invalid_batch_settlement_evm_withdraw_delay_mismatch",
    /// Channels: the channel's authorizer is not the facilitator.
    BatchAuthorizerAddressMismatch = "invalid_batch_settlement_evm_authorizer_address_mismatch",
    /// Channels: a signature of the receiver's authorizer is missing and the facilitator has no key for it.
    BatchAuthorizerNotConfigured = "invalid_batch_settlement_evm_authorizer_not_configured",
    /// Channels: the deposit would revert.
    BatchDepositSimulationFailed = "invalid_batch_settlement_evm_deposit_simulation_failed",
    /// Channels: the deposit is below the server's minimum.
    BatchDepositBelowMin = "invalid_batch_settlement_evm_deposit_below_min_deposit",
    /// Channels: the wallet's factory is not on the facilitator's list.
    BatchFactoryNotAllowed = "invalid_batch_settlement_evm_eip6492_factory_not_allowed",
    /// Channels: the wallet could not be deployed.
    BatchSmartWalletDeploymentFailed = "invalid_batch_settlement_evm_smart_wallet_deployment_failed",
    /// Channels: the claim would revert.
    BatchClaimSimulationFailed = "invalid_batch_settlement_evm_claim_simulation_failed",
    /// Channels: the payout would revert.
    BatchSettleSimulationFailed = "invalid_batch_settlement_evm_settle_simulation_failed",
    /// Channels: nothing is claimed that was not paid out.
    BatchNothingToSettle = "invalid_batch_settlement_evm_nothing_to_settle",
    /// Channels: the refund cannot be read.
    BatchRefundPayload = "invalid_batch_settlement_evm_refund_payload",
    /// Channels: the refund would revert.
    BatchRefundSimulationFailed = "invalid_batch_settlement_evm_refund_simulation_failed",
    /// Channels: the chain could not be read.
    BatchRpcReadFailed = "invalid_batch_settlement_evm_rpc_read_failed",
    /// Channels: the deposit must be by Permit2.
    BatchPermit2Required = "invalid_batch_settlement_evm_permit2_authorization_required",
    /// Channels: Permit2 would let somebody else than the collector take the money.
    BatchPermit2InvalidSpender = "invalid_batch_settlement_evm_permit2_invalid_spender",
    /// Channels: Permit2 would let another amount be taken.
    BatchPermit2AmountMismatch = "invalid_batch_settlement_evm_permit2_amount_mismatch",
    /// Channels: the Permit2 deposit expired, or expires too soon.
    BatchPermit2DeadlineExpired = "invalid_batch_settlement_evm_permit2_deadline_expired",
    /// Channels: the payer did not sign the Permit2 deposit.
    BatchPermit2InvalidSignature = "invalid_batch_settlement_evm_permit2_invalid_signature",
    /// Channels: Permit2 has to be approved first.
    BatchPermit2AllowanceRequired = "invalid_batch_settlement_evm_permit2_allowance_required",
    /// Channels: the permit is not for what is deposited.
    BatchEip2612AmountMismatch = "invalid_batch_settlement_evm_eip2612_amount_mismatch",
    /// Channels: the facilitator carries no approvals.
    BatchErc20ApprovalUnavailable = "invalid_batch_settlement_evm_erc20_approval_unavailable",
    /// Channels: the voucher does not continue from what was charged; the 402 says from where to go on.
    BatchCumulativeMismatch = "invalid_batch_settlement_evm_cumulative_amount_mismatch",
    /// Channels: the channel is serving another request.
    BatchChannelBusy = "invalid_batch_settlement_evm_channel_busy",
    /// Channels: the channel's state could not be read.
    BatchStateUnavailable = "invalid_batch_settlement_evm_verification_state_unavailable",
    /// Channels: the charge is more than the voucher allows.
    BatchChargeExceedsCeiling = "invalid_batch_settlement_evm_charge_exceeds_signed_cumulative",
    /// Channels: the server does not know the channel.
    BatchMissingChannel = "invalid_batch_settlement_evm_missing_channel",
    /// Channels: nothing is left to give back.
    BatchRefundNoBalance = "invalid_batch_settlement_evm_refund_no_balance",
    /// Channels: the amount to give back is not a positive number.
    BatchRefundAmountInvalid = "invalid_batch_settlement_evm_refund_amount_invalid",
    /// Escrow: the scheme is not `auth-capture`.
    AuthCaptureScheme = "invalid_auth_capture_evm_scheme",
    /// Escrow: payload and requirements name different networks.
    AuthCaptureNetworkMismatch = "invalid_auth_capture_evm_network_mismatch",
    /// Escrow: the payload has not the fields of its type.
    AuthCapturePayloadFormat = "invalid_auth_capture_evm_payload_format",
    /// Escrow: the payload is of no type that can be settled, or of one that cannot be verified.
    AuthCapturePayloadType = "invalid_auth_capture_evm_payload_type",
    /// Escrow: a field of `extra` is missing, or the escrow or the fee is not one that is served.
    AuthCaptureExtra = "invalid_auth_capture_evm_extra",
    /// Escrow: the payment flow is not `escrow`.
    AuthCaptureUnsupportedPaymentFlow = "invalid_auth_capture_evm_unsupported_payment_flow",
    /// Escrow: the operator is not of a type that is served.
    AuthCaptureUnsupportedOperatorType = "invalid_auth_capture_evm_unsupported_operator_type",
    /// Escrow: a policy contract is named.
    AuthCapturePolicy = "invalid_auth_capture_evm_policy",
    /// Escrow: the money does not move by EIP-3009.
    AuthCaptureUnsupportedMethod = "invalid_auth_capture_evm_unsupported_asset_transfer_method",
    /// Escrow: nobody is named who would say when to capture.
    AuthCaptureMissingReceiverAuthorizer = "invalid_auth_capture_evm_missing_receiver_authorizer",
    /// Escrow: the operator is none of the facilitator's signers.
    AuthCaptureOperatorNotAdmitted = "invalid_auth_capture_evm_operator_not_admitted",
    /// Escrow: another operator than the offer names.
    AuthCaptureOperatorMismatch = "invalid_auth_capture_evm_operator_mismatch",
    /// Escrow: the salt does not commit to the receiver's authorizer.
    AuthCaptureSaltBindingMismatch = "invalid_auth_capture_evm_salt_binding_mismatch",
    /// Escrow: the receiver's authorizer did not sign the capture or the void.
    AuthCaptureAuthorizerSignature = "invalid_auth_capture_evm_authorizer_signature",
    /// Escrow: the receiver's authorizer did not sign that the rest is given back.
    AuthCaptureVoidAuthorizerSignature = "invalid_auth_capture_evm_void_authorizer_signature",
    /// Escrow: nothing would be left to give back.
    AuthCaptureVoidRemainder = "invalid_auth_capture_evm_void_remainder_full_capture",
    /// Escrow: the escrow holds, or paid out, something else than was signed for.
    AuthCaptureUnexpectedState = "invalid_auth_capture_evm_unexpected_payment_state",
    /// Escrow: the time to capture is over, or nearly.
    AuthCaptureDeadlineExpired = "invalid_auth_capture_evm_capture_deadline_expired",
    /// Escrow: the deadlines do not follow each other.
    AuthCaptureDeadlineOrdering = "invalid_auth_capture_evm_deadline_ordering",
    /// Escrow: the payment expired, or expires too soon.
    AuthCaptureAuthorizationExpired = "invalid_auth_capture_evm_authorization_expired",
    /// Escrow: the payment is not valid yet.
    AuthCaptureNotYetValid = "invalid_auth_capture_evm_authorization_not_yet_valid",
    /// Escrow: the payer did not sign this.
    AuthCaptureSignature = "invalid_auth_capture_evm_signature",
    /// Escrow: the payer's wallet has no code yet, and is not deployed here.
    AuthCaptureFactoryNotAllowed = "invalid_auth_capture_evm_erc6492_factory_not_allowed",
    /// Escrow: another amount.
    AuthCaptureAmountMismatch = "invalid_auth_capture_evm_amount_mismatch",
    /// Escrow: the money would not go to the escrow's collector.
    AuthCaptureCollectorMismatch = "invalid_auth_capture_evm_token_collector_mismatch",
    /// Escrow: the nonce is not the hash of these terms: another receiver, token, deadline, fee or operator was signed for.
    AuthCaptureNonceMismatch = "invalid_auth_capture_evm_nonce_mismatch",
    /// Escrow: the payer has too little.
    AuthCaptureInsufficientBalance = "invalid_auth_capture_evm_insufficient_balance",
    /// Escrow: the payment was put into the escrow before.
    AuthCaptureAlreadyCollected = "invalid_auth_capture_evm_payment_already_collected",
    /// Escrow: less is held than was to be captured.
    AuthCaptureInsufficientAuthorization = "invalid_auth_capture_evm_insufficient_authorization",
    /// Escrow: nothing is held.
    AuthCaptureZeroAuthorization = "invalid_auth_capture_evm_zero_authorization",
    /// Escrow: the call would revert.
    AuthCaptureSimulationFailed = "invalid_auth_capture_evm_simulation_failed",
    /// Escrow: the transaction reverted on chain.
    AuthCaptureTransactionReverted = "invalid_auth_capture_evm_transaction_reverted",
    /// Broadcast, outcome not known yet: ask again with the same payment, never with a new one.
    SettlementPending = "settlement_pending",
    /// The network is not served.
    InvalidNetwork = "invalid_network",
    /// The payload cannot be read.
    InvalidPayload = "invalid_payload",
    /// The requirements cannot be read.
    InvalidPaymentRequirements = "invalid_payment_requirements",
    /// The scheme is not served.
    UnsupportedScheme = "unsupported_scheme",
    /// The protocol version is not served.
    InvalidX402Version = "invalid_x402_version",
    /// Verification failed for a reason of the facilitator's own.
    UnexpectedVerifyError = "unexpected_verify_error",
    /// Settlement failed for a reason of the facilitator's own.
    UnexpectedSettleError = "unexpected_settle_error",
    /// Smaller than what the facilitator settles. Not one of the SDKs' strings, which have none for it.
    PaymentBelowMinimum = "payment_below_minimum",
    /// The client changed what the server said in an extension.
    ExtensionEchoMismatch = "extension_echo_mismatch",
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl FromStr for Reason {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Other(text) => text,
            known => known.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
