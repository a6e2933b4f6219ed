use alloy::primitives::Address;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Deployment, PaymentInfo};
use crate::{JsonMap, PaymentRequirements, Reason, Scheme, TokenAmount, TransferMethod};

/// What `extra` of an offer says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The escrow. Here it must be named: what a missing one means differs between versions of the official packages.
    pub auth_capture_escrow: Address,
    /// The operator: the only account that may capture and void.
    pub capture_authorizer: Address,
    /// The key of the server's that signs captures and voids.
    #[serde(default)]
    pub receiver_authorizer: Option<Address>,
    /// A contract that would judge captures as well; none is known here.
    #[serde(default)]
    pub policy: Option<Address>,
    /// What the operator is.
    #[serde(default)]
    pub operator_type: Option<String>,
    /// Unix seconds.
    pub capture_deadline: u64,
    /// Unix seconds.
    pub refund_deadline: u64,
    /// Who gets the fee.
    pub fee_recipient: Address,
    /// Hundredths of a percent.
    pub min_fee_bps: u16,
    /// Hundredths of a percent.
    pub max_fee_bps: u16,
}

/// Times are `uint48` on chain.
const TIME_MAX: u64 = (1 << 48) - 1;

impl Terms {
    /// The terms of an offer of this scheme.
    ///
    /// # Errors
    /// The reason to give when it has none that can be paid here.
    pub fn of(offer: &PaymentRequirements) -> Result<Self, Reason> {
        let extra = offer.extra.clone().unwrap_or_default();
        let terms: Self = serde_json::from_value(Value::Object(extra)).map_err(|_| Reason::AuthCaptureExtra)?;
        if offer.payment_flow() != Some(crate::PaymentFlow::Escrow) {
            return Err(Reason::AuthCaptureUnsupportedPaymentFlow);
        }
        if !matches!(terms.operator_type.as_deref(), None | Some("delegated")) {
            return Err(Reason::AuthCaptureUnsupportedOperatorType);
        }
        if terms.policy.is_some_and(|policy| !policy.is_zero()) {
            return Err(Reason::AuthCapturePolicy);
        }
        if TransferMethod::of(offer) != Some(TransferMethod::Eip3009) {
            return Err(Reason::AuthCaptureUnsupportedMethod);
        }
        if terms.capture_deadline > terms.refund_deadline || terms.refund_deadline > TIME_MAX {
            return Err(Reason::AuthCaptureDeadlineOrdering);
        }
        let is_fee_fixed = terms.min_fee_bps == terms.max_fee_bps;
        if terms.max_fee_bps > 10_000 || !is_fee_fixed || (terms.fee_recipient.is_zero() && terms.max_fee_bps > 0) {
            return Err(Reason::AuthCaptureExtra);
        }
        Ok(terms)
    }

    /// The key that signs captures and voids. Without one nobody could say when to capture.
    ///
    /// # Errors
    /// [`Reason::AuthCaptureMissingReceiverAuthorizer`].
    pub fn authorizer(&self) -> Result<Address, Reason> {
        let named = self.receiver_authorizer.filter(|authorizer| !authorizer.is_zero());
        named.ok_or(Reason::AuthCaptureMissingReceiverAuthorizer)
    }

    /// The payment of `offer` by `payer`.
    ///
    /// # Errors
    /// [`Reason::InvalidPaymentRequirements`] when token or payee are not EVM addresses, or the amount is greater than the escrow counts.
    pub fn payment(
        &self,
        offer: &PaymentRequirements,
        payer: Address,
        pre_approval_expiry: u64,
        salt: alloy::primitives::B256,
    ) -> Result<PaymentInfo, Reason> {
        let (Some(receiver), Some(token)) = (offer.pay_to_address(), offer.asset_address()) else {
            return Err(Reason::InvalidPaymentRequirements);
        };
        if offer.amount.0.bit_len() > 120 || pre_approval_expiry > TIME_MAX {
            return Err(Reason::InvalidPaymentRequirements);
        }
        Ok(PaymentInfo {
            operator: self.capture_authorizer,
            payer,
            receiver,
            token,
            max_amount: offer.amount,
            pre_approval_expiry,
            authorization_expiry: self.capture_deadline,
            refund_expiry: self.refund_deadline,
            min_fee_bps: self.min_fee_bps,
            max_fee_bps: self.max_fee_bps,
            fee_receiver: self.fee_recipient,
            salt,
        })
    }

    /// The fee of a capture: it is fixed, and rounded down as the escrow does.
    pub fn fee(&self, amount: TokenAmount) -> TokenAmount {
        let bps = alloy::primitives::U256::from(self.min_fee_bps);
        // An amount has at most 120 bits.
        TokenAmount(amount.0.saturating_mul(bps) / alloy::primitives::U256::from(10_000))
    }
}

/// `extra` of the kind `auth-capture` in `/supported`: where the escrow is, and the signer that will capture.
pub fn extra(deployment: &Deployment, operator: Address) -> JsonMap {
    let extra = json!({
        "authCaptureEscrow": deployment.escrow.to_checksum(None),
        "captureAuthorizer": operator.to_checksum(None),
    });
    extra.as_object().cloned().unwrap_or_default()
}

impl PaymentRequirements {
    /// The same offer, held in an escrow while the work is done: at most its amount is captured, when `receiver_authorizer` says so.
    /// `supported` is the `extra` of the facilitator's kind ([`extra`]). When the money may be taken back is not in it yet: the server's gate
    /// adds that to each answer.
    pub fn held(mut self, supported: &JsonMap, receiver_authorizer: Address) -> Self {
        self.scheme = Scheme::AuthCapture.as_str().into();
        let fields = json!({
            "receiverAuthorizer": receiver_authorizer.to_checksum(None),
            "paymentFlow": "escrow",
            "feeRecipient": Address::ZERO.to_string(),
            "minFeeBps": 0,
            "maxFeeBps": 0,
        });
        let fee_terms = ["authCaptureEscrow", "captureAuthorizer", "feeRecipient", "minFeeBps", "maxFeeBps"];
        let extra = self.extra.get_or_insert_default();
        extra.extend(fields.as_object().cloned().unwrap_or_default());
        extra.extend(supported.iter().filter(|(key, _)| fee_terms.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())));
        self
    }
}
