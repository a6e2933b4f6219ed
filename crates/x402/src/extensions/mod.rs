//! Extensions of the protocol: what they say on the wire, without HTTP.

mod bazaar;
mod builder_code;
mod jws;
mod offer_receipt;
mod payment_identifier;
mod sign_in;

pub use bazaar::{BAZAAR, BodyType, Discovery};
pub(crate) use builder_code::SERVICES_MAX;
pub use builder_code::{BUILDER_CODE, BuilderCode, InvalidBuilderCode};
pub use offer_receipt::{
    OFFER_RECEIPT, OfferPayload, ReceiptMismatch, ReceiptPayload, Seal, SealFormat, Signed, SignedOffer, SignedReceipt, Statement,
};
pub use payment_identifier::{InvalidPaymentId, PAYMENT_IDENTIFIER, PaymentId};
pub use sign_in::{SIGN_IN_WITH_X, SignIn, SignInError, SignInInfo};
