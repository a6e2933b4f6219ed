//! Payments by many payers, signed before they are needed.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, Signature, keccak256},
    providers::ext::AnvilApi,
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::{Context, Result};
use money::Usdc;
use stack::{Chain, USDC_PER_ACCOUNT};
use x402::{
    Eip3009Authorization, Eip3009Payload, ExactPayload, Network, PaymentPayload, PaymentRequest, PaymentRequirements, Token,
    TokenDomain, V2,
};

const PRICE: Usdc = Usdc::from_base_units(10_000);
const VALID_SECONDS: u64 = 3_600;
/// x402-rs starts only where these have code; payments by EIP-3009 call none of them.
const NEEDED_BY_X402_RS: [&str; 2] = ["0xdAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B", "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"];

/// Payers with money.
pub(crate) struct Payments {
    payers: Vec<PrivateKeySigner>,
    requirements: PaymentRequirements,
    salt: Address,
    payments: AtomicUsize,
}

impl Payments {
    /// Makes `payers` accounts and gives each money.
    pub(crate) async fn prepare(chain: &Chain, payers: usize) -> Result<Self> {
        for address in NEEDED_BY_X402_RS {
            let address: Address = address.parse()?;
            if alloy::providers::Provider::get_code_at(chain.provider(), address).await?.is_empty() {
                chain.provider().anvil_set_code(address, [0].into()).await?;
            }
        }
        let payers: Vec<PrivateKeySigner> = (0..payers).map(|_| PrivateKeySigner::random()).collect();
        // One at a time: the node gives two transactions of one sender that come together the same nonce.
        for payer in &payers {
            chain.mint(payer.address(), USDC_PER_ACCOUNT).await?;
        }
        let network = Network::evm(stack::CHAIN_ID);
        let payee = PrivateKeySigner::random().address();
        let requirements = PaymentRequirements::exact(&Token::usdc(&network)?, PRICE, payee, 60);
        let salt = PrivateKeySigner::random().address();
        Ok(Self { payers, requirements, salt, payments: AtomicUsize::new(0) })
    }

    pub(crate) fn payer(&self, index: usize) -> Option<&PrivateKeySigner> {
        self.payers.get(index)
    }

    pub(crate) fn payee(&self) -> Option<Address> {
        self.requirements.pay_to_address()
    }

    /// One that no payment has had.
    pub(crate) fn nonce(&self) -> B256 {
        keccak256(format!("{}{}", self.salt, self.payments.fetch_add(1, Ordering::Relaxed)))
    }

    /// As many different payments, each the body of a request.
    pub(crate) fn sign(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let body = |(_, payer): (usize, &PrivateKeySigner)| {
            let sign = |hash: &_| Ok(payer.sign_hash_sync(hash)?);
            let payment_payload = payment(&self.requirements, payer.address(), self.nonce(), sign)?;
            let payment_requirements = self.requirements.clone();
            Ok(serde_json::to_vec(&PaymentRequest { x402_version: V2, payment_payload, payment_requirements })?)
        };
        (0..count).zip(self.payers.iter().cycle()).map(body).collect()
    }
}

/// Pays what `offer` asks.
pub(crate) fn payment(
    offer: &PaymentRequirements,
    from: Address,
    nonce: B256,
    sign: impl Fn(&B256) -> Result<Signature>,
) -> Result<PaymentPayload> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let authorization = Eip3009Authorization {
        from,
        to: offer.pay_to_address().context("the payee is an address")?,
        value: offer.amount,
        valid_after: 0.into(),
        valid_before: (now + VALID_SECONDS).into(),
        nonce,
    };
    let domain = TokenDomain::of(offer).context("USDC has a domain")?;
    let signature = sign(&authorization.signing_hash(&domain))?.as_bytes().into();
    let payload = ExactPayload::Eip3009(Eip3009Payload { signature, authorization }).to_json();
    Ok(PaymentPayload { x402_version: V2, resource: None, accepted: offer.clone(), payload, extensions: None })
}
