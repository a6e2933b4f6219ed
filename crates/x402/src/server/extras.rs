use std::{fmt, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256, keccak256},
    providers::{DynProvider, Provider},
    signers::local::PrivateKeySigner,
    sol,
};
use http::HeaderMap;
use url::Url;

use super::{Offers, ReservationError, Reservations};
use crate::{
    BUILDER_CODE, BuilderCode, JsonMap, OFFER_RECEIPT, OfferPayload, PAYMENT_IDENTIFIER, PaymentId, ReceiptPayload,
    SIGN_IN_WITH_X, SealFormat, SettleResponse, SignIn, SignInError, SignInInfo, SignedOffer, SignedReceipt, TokenAmount, header,
};

/// How long a wallet that paid may come in again, unless told.
const ACCESS: Duration = Duration::from_secs(30 * 24 * 3600);
/// The answer of EIP-1271 that means yes.
const EIP1271_MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

sol! {
    #[sol(rpc)]
    interface Eip1271 {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }
}

/// What a route offers and accepts besides payments: the protocol's extensions.
#[derive(Clone, Default)]
pub struct Extras {
    declared: JsonMap,
    payment_id: Option<bool>,
    sign_in: Option<SignInRule>,
    issuer: Option<Issuer>,
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras").field("declared", &self.declared.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Issuer {
    origin: Url,
    signer: Arc<PrivateKeySigner>,
    format: SealFormat,
    with_transaction: bool,
}

/// Who may come in again without paying again: see [`Extras::sign_in`].
#[derive(Clone, Debug)]
pub struct SignInRule {
    origin: Url,
    statement: Option<String>,
    access: Duration,
    provider: Option<DynProvider>,
}

impl SignInRule {
    /// For a service that is known by `origin`, as in `https://shop.example`. It is never taken from a request: whoever passes requests on
    /// could otherwise collect signatures for this service under a name of their own.
    pub fn new(origin: Url) -> Self {
        Self { origin, statement: None, access: ACCESS, provider: None }
    }

    /// One line that a wallet shows to whoever signs.
    pub fn statement(mut self, statement: impl Into<String>) -> Self {
        self.statement = Some(statement.into());
        self
    }

    /// How long a payment lets its wallet in: 30 days unless told.
    pub fn access(mut self, access: Duration) -> Self {
        self.access = access;
        self
    }

    /// A node of the chain that is paid on: accounts with code sign in too, and are judged by it (EIP-1271).
    pub fn provider(mut self, provider: DynProvider) -> Self {
        self.provider = Some(provider);
        self
    }

    async fn check_signature(&self, sign_in: &SignIn) -> Result<Address, SignInError> {
        let Some(provider) = &self.provider else { return sign_in.check_key() };
        let address = sign_in.address()?;
        let (hash, signature) = (sign_in.signing_hash()?, sign_in.signature()?);
        let code = provider.get_code_at(address).await.map_err(|_| SignInError::VerifierError)?;
        if code.is_empty() {
            return sign_in.check_key();
        }
        match Eip1271::new(address, provider).isValidSignature(hash, signature).call().await {
            Ok(magic) if magic.0 == EIP1271_MAGIC => Ok(address),
            Err(alloy::contract::Error::TransportError(error)) if error.as_error_resp().is_none() => {
                Err(SignInError::VerifierError)
            }
            Ok(_) | Err(_) => Err(SignInError::Signature),
        }
    }
}

/// The address of a resource at the origin that is known, whatever name a request gave it.
fn at(origin: &Url, resource: &str) -> String {
    let mut address = origin.clone();
    if let Ok(resource) = resource.parse::<Url>() {
        address.set_path(resource.path());
        address.set_query(resource.query());
    }
    address.into()
}

impl Issuer {
    /// What is signed of a resource. Only those of the web take their name from a request.
    fn resource(&self, url: &str) -> String {
        if url.starts_with("http://") || url.starts_with("https://") { at(&self.origin, url) } else { url.to_owned() }
    }
}

impl Extras {
    fn declare(mut self, key: &str, extension: serde_json::Value) -> Self {
        self.declared.insert(key.to_owned(), extension);
        self
    }

    /// Lets clients name their purchases (`payment-identifier`): the same name with the same payment gets the kept answer again, with
    /// another payment or for another request it is refused with 409. If `required`, without a name it is 400.
    pub fn payment_identifier(mut self, required: bool) -> Self {
        self.payment_id = Some(required);
        self.declare(PAYMENT_IDENTIFIER, PaymentId::declaration(required))
    }

    /// Lets a wallet that paid for an address come in again by signing in (`sign-in-with-x`). Only for what is bought once.
    pub fn sign_in(mut self, rule: SignInRule) -> Self {
        self.sign_in = Some(rule);
        self
    }

    /// Signs offers, and receipts of what was paid (`offer-receipt`), with a key that owns nothing, for a service that is known by `origin`, as
    /// in `https://shop.example`: a request is not asked, or whoever sends one with another `Host` had offers signed in any name. A receipt
    /// names the transaction only if `with_transaction`.
    pub fn sign_offers(mut self, origin: Url, signer: PrivateKeySigner, format: SealFormat, with_transaction: bool) -> Self {
        self.issuer = Some(Issuer { origin, signer: Arc::new(signer), format, with_transaction });
        self
    }

    /// Whose software this is (`builder-code`).
    pub fn builder_code(self, code: &BuilderCode) -> Self {
        self.declare(BUILDER_CODE, code.declaration())
    }

    /// What every 402 declares, and every payment repeats.
    pub(super) fn declared(&self) -> &JsonMap {
        &self.declared
    }

    pub(super) fn names_purchases(&self) -> bool {
        self.payment_id.is_some()
    }

    /// What is declared anew with every 402: nonces and signatures. Payments need not repeat it.
    pub(super) fn fresh(&self, offers: &Offers) -> JsonMap {
        let mut fresh = JsonMap::new();
        if let Some(rule) = &self.sign_in {
            let mut networks: Vec<_> = offers.accepts.iter().map(|offer| offer.network.clone()).collect();
            networks.retain(|network| network.chain_id().is_some());
            networks.dedup();
            let info = SignInInfo::now(&rule.origin, at(&rule.origin, &offers.resource.url), rule.statement.clone());
            fresh.insert(SIGN_IN_WITH_X.into(), info.declaration(&networks));
        }
        if let Some(issuer) = &self.issuer {
            let resource = issuer.resource(&offers.resource.url);
            let signed = offers.accepts.iter().enumerate().filter_map(|(index, offer)| {
                let payload = OfferPayload::new(&resource, offer, now_secs().saturating_add(offer.max_timeout_seconds));
                SignedOffer::new(payload, Some(index), issuer.format, &issuer.signer).ok()
            });
            fresh.insert(OFFER_RECEIPT.into(), SignedOffer::extension(&signed.collect::<Vec<_>>()));
        }
        fresh
    }

    /// Signs what was paid, and remembers who paid for what, before the client hears of it.
    pub(super) async fn settled(&self, receipt: &mut SettleResponse, payer: Address, offers: &Offers, store: &dyn Reservations) {
        if let Some(issuer) = &self.issuer {
            let resource = issuer.resource(&offers.resource.url);
            let payload = ReceiptPayload::new(&resource, receipt, payer, now_secs(), issuer.with_transaction);
            match SignedReceipt::new(payload, None, issuer.format, &issuer.signer) {
                Ok(signed) => signed.add_to(receipt),
                Err(error) => tracing::error!(%error, "a receipt could not be signed"),
            }
        }
        // What cost nothing opens nothing.
        let charged = receipt.amount.is_none_or(|amount| amount != TokenAmount::ZERO);
        if let Some(rule) = self.sign_in.as_ref().filter(|_| charged) {
            let name = paid_name(payer, &at(&rule.origin, &offers.resource.url));
            if let Err(error) = store.remember(name, B256::with_last_byte(1), rule.access).await {
                tracing::error!(%error, "who paid could not be remembered: the wallet cannot sign in");
            }
        }
    }

    /// The purchase a payment names.
    pub(super) fn payment_id(&self, extensions: Option<&JsonMap>) -> Result<Option<PaymentId>, &'static str> {
        let Some(required) = self.payment_id else { return Ok(None) };
        match PaymentId::of(extensions) {
            Ok(None) if required => Err("payment_identifier_required"),
            Ok(id) => Ok(id),
            Err(_) => Err("invalid_payment_identifier"),
        }
    }

    /// Who signs in, if anybody does: a wallet that paid for this before.
    pub(super) async fn signed_in(
        &self,
        headers: &HeaderMap,
        offers: &Offers,
        store: &dyn Reservations,
    ) -> Result<Option<Address>, SignInFailure> {
        let (Some(rule), Some(value)) = (&self.sign_in, headers.get(SIGN_IN_WITH_X)) else { return Ok(None) };
        let sign_in: SignIn = header::decode(value.as_bytes()).map_err(|_| SignInError::Header)?;
        sign_in.check(&rule.origin, now_secs())?;
        let wallet = rule.check_signature(&sign_in).await?;
        if store.recall(paid_name(wallet, &at(&rule.origin, &offers.resource.url))).await?.is_none() {
            return Ok(None);
        }
        // Whoever remembers the nonce first comes in.
        let (nonce, mine) =
            (keccak256(format!("sign-in-with-x/nonce/{wallet}/{}", sign_in.info.nonce)), B256::from(rand::random::<[u8; 32]>()));
        let first = store.remember(nonce, mine, Duration::from_secs(SignIn::NONCE_LIFE_SECS)).await?;
        if first == mine { Ok(Some(wallet)) } else { Err(SignInError::Nonce.into()) }
    }

    /// Who signs offers and receipts, if anybody does.
    pub fn issuer(&self) -> Option<Address> {
        self.issuer.as_ref().map(|issuer| issuer.signer.address())
    }
}

/// Why a wallet that signs in is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignInFailure {
    #[error(transparent)]
    Invalid(#[from] SignInError),
    #[error(transparent)]
    Store(#[from] ReservationError),
}

fn paid_name(wallet: Address, uri: &str) -> B256 {
    keccak256(format!("sign-in-with-x/paid/{wallet}/{uri}"))
}

pub(super) fn now_secs() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
