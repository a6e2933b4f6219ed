//! Funding agreements.

use std::path::PathBuf;

use anyhow::{Result, bail};
use contracts::{
    escrow::Escrow as Contract,
    signing::{
        escrow as signing,
        usdc::{self, ReceiveWithAuthorization},
    },
};
use money::Usdc;
use serde_json::json;

use super::terms::{Terms, find_terms};
use crate::{
    chain::{ChainOptions, SignedPermit},
    document,
    values::{self, When},
};

/// How the escrow gets the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Funding {
    /// A signed permit of exactly the amount, in the same transaction
    Permit,
    /// An allowance, given by a transaction of its own
    Allowance,
    /// A signed EIP-3009 authorization that somebody else carries to the chain
    Authorization,
}

/// Open an agreement as its buyer, and fund it
///
/// With `--fund authorization` nothing is sent: the signature is printed, and whoever relays it (`florin escrow fund`) pays the gas and can
/// alter nothing.
///
/// Example: florin escrow open --seller 0xSELLER --amount 50 --deliver-by 7d --arbiter 0xARBITER --bond 1
#[derive(clap::Args, Debug)]
pub(super) struct Open {
    #[command(flatten)]
    terms: Terms,

    /// How the escrow gets the money
    #[arg(long, value_name = "HOW", default_value = "permit")]
    fund: Funding,

    /// Until when the permit or authorization can be used: a duration or a time
    #[arg(long, value_name = "WHEN", default_value = "1h")]
    valid: When,

    /// File to write the authorization to, for whoever relays it
    #[arg(long, value_name = "FILE", default_value = "authorization.json")]
    out: PathBuf,
}

impl Open {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        if self.fund == Funding::Authorization {
            return self.authorize(options).await;
        }
        let sender = options.sender().await?;
        let terms = self.terms.agree(&sender.chain, sender.address())?;
        let (escrow, amount) = (sender.chain.deployment.escrow, values::usdc(terms.amount));
        let id = signing::agreement_id(&terms, escrow, sender.chain.id());
        eprintln!("agreement {id}");
        if self.fund == Funding::Permit && !sender.prints_calldata() {
            let SignedPermit { deadline, v, r, s } = sender.permit(escrow, amount, self.valid.from(sender.chain.now)).await?;
            sender.send(escrow, &Contract::fundWithPermitCall { terms, deadline, v, r, s }).await?;
        } else if sender.allow(escrow, amount).await? {
            sender.send(escrow, &Contract::fundCall { terms }).await?;
        }
        options.answer(&json!({ "agreement": id }), &format!("agreement {id}"));
        Ok(())
    }

    /// Signs for a relayer.
    async fn authorize(&self, options: &ChainOptions) -> Result<()> {
        let signer = options.key.signer()?;
        let chain = options.connect().await?;
        let terms = self.terms.agree(&chain, signer.address())?;
        let valid_before = self.valid.from(chain.now);
        let message = signing::funding(&terms, 0, valid_before, chain.deployment.escrow, chain.id());
        document::write(&message, &self.out)?;
        eprintln!("authorization written to {}, valid until {}", self.out.display(), values::utc(valid_before));
        eprintln!("agreement {}", message.content.nonce);
        document::give(&message.sign(&signer)?, None)
    }
}

/// Fund an agreement for its buyer, who signed an authorization; anybody can
///
/// Example: florin escrow fund terms.json --authorization authorization.json --signature buyer.sig
#[derive(clap::Args, Debug)]
pub(super) struct Fund {
    /// File with the terms
    terms: String,

    /// File with the authorization
    #[arg(long, value_name = "FILE", default_value = "authorization.json")]
    authorization: PathBuf,

    /// The buyer's signature, or a file with it
    #[arg(long, value_name = "SIGNATURE")]
    signature: String,
}

impl Fund {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let deployment = &sender.chain.deployment;
        let message = find_terms(&self.terms, &sender.chain).await?;
        let domain = usdc::domain(deployment.usdc, sender.chain.id());
        let read = document::read::<ReceiveWithAuthorization>(&document::load(&self.authorization)?, domain)?;
        let (terms, authorization) = (&message.content, &read.content);
        let expected = signing::funding(
            terms,
            authorization.validAfter.saturating_to(),
            authorization.validBefore.saturating_to(),
            deployment.escrow,
            sender.chain.id(),
        );
        if expected != read {
            bail!("the authorization in {} is not for these terms", self.authorization.display());
        }
        let signature = values::signature(&self.signature)?;
        if signature.recover_address_from_prehash(&read.digest()).ok() != Some(terms.buyer) {
            bail!("that is no signature of the buyer {} over this authorization", terms.buyer);
        }
        let call = Contract::fundWithAuthorizationCall {
            terms: terms.clone(),
            validAfter: authorization.validAfter,
            validBefore: authorization.validBefore,
            signature: signature.as_bytes().into(),
        };
        sender.send(deployment.escrow, &call).await?;
        let id = message.digest();
        options.answer(&json!({ "agreement": id }), &format!("agreement {id}"));
        Ok(())
    }
}

/// Add money to an agreement, as its buyer
///
/// Example: florin escrow top-up 0xID --amount 10
#[derive(clap::Args, Debug)]
pub(super) struct TopUp {
    /// The agreement's id, or the file with its terms
    agreement: String,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,
}

impl TopUp {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let sender = options.sender().await?;
        let terms = find_terms(&self.agreement, &sender.chain).await?.content;
        let escrow = sender.chain.deployment.escrow;
        if sender.allow(escrow, self.amount).await? {
            sender.send(escrow, &Contract::topUpCall { terms, amount: self.amount.into() }).await?;
        }
        Ok(())
    }
}
