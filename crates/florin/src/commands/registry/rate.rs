use alloy::primitives::{B256, Bytes};
use anyhow::Result;
use contracts::{
    escrow::IEscrow,
    service_registry::{IEscrow as RegistryEscrow, IServiceRegistry, ServiceRegistry as Contract},
};
use money::Usdc;

use super::sender;
use crate::{
    chain::ChainOptions,
    commands::escrow::find_terms,
    values::{self, reencode},
};

/// Rate a service that you paid, once per agreement or payment
///
/// Example: florin registry rate 0xSERVICE --agreement 0xID --score 95
#[derive(clap::Args, Debug)]
pub(super) struct Rate {
    /// The service's id
    service: B256,

    /// From 0, the worst, to 100
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    score: u8,

    /// The agreement of the escrow that was paid: its id, or the file with its terms
    #[arg(long, value_name = "AGREEMENT", required_unless_present = "payment", conflicts_with = "payment")]
    agreement: Option<String>,

    /// The id of a payment through the router
    #[arg(long, value_name = "ID", value_parser = values::reference, requires = "amount")]
    payment: Option<B256>,

    /// What that payment was, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price, requires = "payment")]
    amount: Option<Usdc>,

    /// Where you explain yourself, at most 256 bytes
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    uri: String,

    /// keccak256 of what is there
    #[arg(long, value_name = "HASH", default_value_t = B256::ZERO, hide_default_value = true)]
    content_hash: B256,
}

impl Rate {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let (sender, registry) = sender(options).await?;
        let feedback = IServiceRegistry::Feedback {
            service: self.service,
            score: self.score,
            uri: self.uri,
            contentHash: self.content_hash,
            // Only a signature has one.
            deadline: 0,
        };
        let signature = Bytes::new();
        if let Some(agreement) = &self.agreement {
            let terms = find_terms(agreement, &sender.chain).await?.content;
            let terms = reencode::<IEscrow::Terms, RegistryEscrow::Terms>(&terms)?;
            return sender.send(registry, &Contract::rateAgreementCall { feedback, terms, signature }).await.map(drop);
        }
        let (payer, payment, amount) = (sender.address(), self.payment.unwrap_or_default(), self.amount.unwrap_or_default());
        let call = Contract::ratePaymentCall { feedback, payer, paymentId: payment, amount: amount.into(), signature };
        sender.send(registry, &call).await.map(drop)
    }
}
