use std::{fmt, sync::Arc};

use alloy::signers::Signer;
use serde::Deserialize;
use url::Url;

use super::offer::Demand;
use crate::{SIGN_IN_WITH_X, SignIn, SignInInfo, header};

/// A wallet that says who it is.
#[derive(Clone)]
pub(super) struct Wallet(Arc<dyn Signer + Send + Sync>);

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wallet").field(&self.0.address()).finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Challenge {
    info: SignInInfo,
    supported_chains: Vec<Chain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    chain_id: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Wallet {
    pub(super) fn new(signer: impl Signer + Send + Sync + 'static) -> Self {
        Self(Arc::new(signer))
    }

    /// The header by which `wallet` signs in at `url`. `None` when there is no wallet, the server offers no signing in, or asks to sign in
    /// somewhere else: then there is still the payment.
    pub(super) async fn sign(wallet: Option<&Self>, demand: &Demand, url: &Url) -> Option<String> {
        let signer = &wallet?.0;
        let challenge = Challenge::deserialize(demand.extension(SIGN_IN_WITH_X)?).ok()?;
        let chain = challenge
            .supported_chains
            .into_iter()
            .find(|chain| chain.kind == "eip191" && chain.chain_id.starts_with("eip155:"))?;
        if !challenge.info.is_of(url) {
            tracing::warn!(%url, domain = challenge.info.domain, "asked to sign in somewhere else: not signed");
            return None;
        }
        let mut sign_in = SignIn {
            info: challenge.info,
            address: signer.address().to_checksum(None),
            chain_id: chain.chain_id,
            kind: chain.kind,
            signature_scheme: None,
            signature: String::new(),
        };
        let signature = signer.sign_hash(&sign_in.signing_hash().ok()?).await;
        let signature = signature.inspect_err(|error| tracing::warn!(%error, "the wallet did not sign in")).ok()?;
        sign_in.signature = alloy::primitives::hex::encode_prefixed(signature.as_bytes());
        header::encode(&sign_in).ok()
    }
}
