use std::{io::Write, process::ExitCode};

use alloy::{
    primitives::Address,
    providers::{Provider, ProviderBuilder},
};
use anyhow::{Context, Result};
use money::Usdc;
use reqwest::{Method, Request, header};
use serde_json::json;
use url::Url;
use x402::client::{Answer, Client, KeyPayer, Paid, PayError, Payer, PayerError, Policy};

use crate::key::KeyOptions;

/// Refused by the buyer's own limits; nothing was signed.
const EXIT_OWN_LIMIT: u8 = 3;
/// The server or the facilitator refused the payment.
const EXIT_REFUSED: u8 = 4;
/// The payment was sent and nobody said what became of it.
const EXIT_UNKNOWN: u8 = 5;

/// Buy one HTTP resource. Pays what a 402 asks for, if it is within --max, and prints the body on stdout and the receipt on stderr.
///
/// The key comes from FLORIN_KEY or a keystore file; with --wallet it is the operator key of an AgentWallet, which pays within the limits
/// its owner set on chain.
///
/// Example: FLORIN_KEY=0x... florin pay http://127.0.0.1:8402/report --max 0.10
#[derive(clap::Args, Debug)]
pub(crate) struct Pay {
    /// What to buy
    url: Url,

    /// Most that this purchase may cost, in USDC; nothing is signed for a higher price
    #[arg(long, env = "FLORIN_PAY_MAX", value_name = "USDC", value_parser = Usdc::parse_price)]
    max: Usdc,

    /// HTTP method
    #[arg(short = 'X', long, default_value = "GET")]
    method: Method,

    /// Request body; the method becomes POST unless one is given
    #[arg(short, long, value_name = "TEXT")]
    data: Option<String>,

    /// Request header, e.g. 'Accept: text/csv'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(header::HeaderName, header::HeaderValue)>,

    /// Write the receipt as one JSON object
    #[arg(long)]
    json: bool,

    /// Pay from this AgentWallet with its operator's key; needs --rpc-url
    #[arg(long, env = "FLORIN_WALLET", value_name = "ADDRESS", requires = "rpc_url")]
    wallet: Option<Address>,

    /// Node to read the wallet's limits from, and whether Permit2 may take what is paid by it
    #[arg(long, env = "FLORIN_RPC_URL", value_name = "URL")]
    rpc_url: Option<Url>,

    #[command(flatten)]
    key: KeyOptions,
}

#[derive(Debug, thiserror::Error)]
#[error("a header is written as 'Name: value'")]
struct BadHeader;

fn parse_header(text: &str) -> Result<(header::HeaderName, header::HeaderValue), BadHeader> {
    let (name, value) = text.split_once(':').ok_or(BadHeader)?;
    Ok((name.trim().parse().map_err(|_| BadHeader)?, value.trim().parse().map_err(|_| BadHeader)?))
}

impl Pay {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let signer = self.key.signer()?;
        match (self.wallet, &self.rpc_url) {
            (Some(wallet), Some(rpc_url)) => {
                let payer = agent::WalletPayer::connect(rpc_url.clone(), wallet, signer).await?;
                self.buy(payer).await
            }
            (None, Some(rpc_url)) => {
                let node = ProviderBuilder::new().connect_http(rpc_url.clone()).erased();
                self.buy(KeyPayer::new(signer).node(node)).await
            }
            _ => self.buy(KeyPayer::new(signer)).await,
        }
    }

    async fn buy<P: Payer>(&self, payer: P) -> Result<ExitCode> {
        let policy = Policy::default().max_per_payment(self.max).budget(self.max);
        let client = Client::new(payer, policy).context("cannot set up TLS")?;
        match client.execute(self.request()).await {
            Ok(answer) => self.show(answer).await,
            Err(error) => {
                eprintln!("error: {error}");
                Ok(ExitCode::from(exit_code(&error)))
            }
        }
    }

    fn request(&self) -> Request {
        let plain_get = self.method == Method::GET;
        let method = if self.data.is_some() && plain_get { Method::POST } else { self.method.clone() };
        let mut request = Request::new(method, self.url.clone());
        request.headers_mut().extend(self.headers.iter().cloned());
        *request.body_mut() = self.data.clone().map(Into::into);
        request
    }

    async fn show(&self, answer: Answer) -> Result<ExitCode> {
        self.show_receipt(answer.paid());
        let mut response = answer.into_response();
        let status = response.status();
        let mut stdout = std::io::stdout().lock();
        while let Some(chunk) = response.chunk().await.context("the body broke off")? {
            stdout.write_all(&chunk).context("cannot write the body")?;
        }
        stdout.flush().context("cannot write the body")?;
        if status.is_success() {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("error: the server answered {status}");
        Ok(ExitCode::FAILURE)
    }

    fn show_receipt(&self, paid: Option<&Paid>) {
        let Some(Paid { receipt, requirement, .. }) = paid else {
            let free = if self.json { json!({ "paid": false }).to_string() } else { "free: nothing was asked for".into() };
            return eprintln!("{free}");
        };
        let settled = receipt.as_ref().is_some_and(|receipt| receipt.success);
        if self.json {
            return eprintln!("{}", json!({ "paid": settled, "requirement": requirement, "receipt": receipt }));
        }
        let amount = requirement.amount.to_usdc().unwrap_or(Usdc::MAX);
        let transaction = receipt.as_ref().map_or("", |receipt| &receipt.transaction);
        if settled {
            eprintln!("paid {amount} USDC to {} on {}, transaction {transaction}", requirement.pay_to, requirement.network);
        } else {
            eprintln!("not charged: the server did not settle the payment of {amount} USDC");
        }
    }
}

fn exit_code(error: &PayError) -> u8 {
    match error {
        PayError::Refused(_) | PayError::Payer(PayerError::Refused(_)) => EXIT_OWN_LIMIT,
        PayError::PaymentRejected { .. } | PayError::AlreadyUsed { .. } => EXIT_REFUSED,
        PayError::Indeterminate { .. } => EXIT_UNKNOWN,
        _ => 1,
    }
}
