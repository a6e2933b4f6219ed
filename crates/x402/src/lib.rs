#![doc = include_str!("../README.md")]

#[cfg(feature = "a2a")]
pub mod a2a;
mod amount;
mod assets;
pub mod auth_capture;
pub mod batch;
#[cfg(all(any(feature = "a2a", feature = "mcp"), any(feature = "client", feature = "server")))]
mod call;
mod charge;
#[cfg(feature = "client")]
pub mod client;
mod exact;
mod extensions;
#[cfg(feature = "facilitator-client")]
mod facilitator_client;
pub mod header;
#[cfg(feature = "mcp")]
pub mod mcp;
mod network;
mod reason;
mod scheme;
#[cfg(feature = "server")]
pub mod server;
mod signature;
#[cfg(feature = "facilitator-client")]
mod trace;
mod upto;
pub mod v1;
mod wire;

pub use amount::{ParseAmountError, TokenAmount};
pub use assets::{Token, UnknownAsset};
pub use charge::{Charge, ChargeError};
pub use exact::{
    Approve, EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, Eip2612Permit, Eip3009Authorization, Eip3009Payload,
    Erc20Approval, ExactPayload, PERMIT2, PERMIT2_EXACT_PROXY, PayloadError, Permit2Authorization, Permit2Payload,
    Permit2Permitted, Permit2Witness, TokenDomain, TransferMethod, Witness, typed,
};
pub use extensions::{
    BAZAAR, BUILDER_CODE, BodyType, BuilderCode, Discovery, InvalidBuilderCode, InvalidPaymentId, OFFER_RECEIPT, OfferPayload,
    PAYMENT_IDENTIFIER, PaymentId, ReceiptMismatch, ReceiptPayload, SIGN_IN_WITH_X, Seal, SealFormat, SignIn, SignInError,
    SignInInfo, Signed, SignedOffer, SignedReceipt, Statement,
};
#[cfg(feature = "facilitator-client")]
pub use facilitator_client::{FacilitatorClient, FacilitatorError};
pub use network::{Network, ParseNetworkError};
pub use reason::Reason;
pub use scheme::Scheme;
pub use signature::{ERC6492_MAGIC, Erc6492Signature, InvalidErc6492, recover_permit2, recover_strict};
#[cfg(feature = "facilitator-client")]
pub use trace::{InvalidTraceparent, TraceContext};
pub use upto::{PERMIT2_UPTO_PROXY, UptoPayload, UptoWitness, typed as upto_typed, upto_extra};
pub use wire::{
    AnyPaymentRequest, DecodeError, ExtensionEchoMismatch, JsonMap, PaymentFlow, PaymentKey, PaymentPayload, PaymentRequest,
    PaymentRequired, PaymentRequirements, ResourceInfo, SettleRequest, SettleResponse, SupportedKind, SupportedResponse, V1, V2,
    VerifyRequest, VerifyResponse, check_extension_echo, find_matching,
};
