mod kept;
pub(super) mod limits;

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use money::Usdc;
use reqwest::{Method, Request, header};
use serde_json::json;
use url::Url;
use x402::client::{Answer, Client, KeyPayer, Paid, PayError, Payer, PayerError, Purse};

use self::{kept::Kept, limits::Limits};
use crate::{
    chain::node,
    key::KeyOptions,
    words::{printable, without_secrets},
};

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
/// A purchase whose outcome is not known can be repeated as it was: it sends the same payment again, also after a crash, and never signs a
/// second one while the first may still settle.
///
/// Exit codes: 0 bought, or free; 1 failed before or after payment, the message says which; 2 wrong usage; 3 refused by your own limits,
/// nothing was signed; 4 the seller refused the payment; 5 paid and the outcome is not known yet, repeat the same command.
///
/// Example: FLORIN_KEY=0x... florin pay http://127.0.0.1:8402/report --max 0.10 --daily-budget 5 --approve-above 1
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Pay {
    #[command(subcommand)]
    kept: Option<Kept>,

    /// What to buy
    #[arg(required = true)]
    url: Option<Url>,

    /// Most that this purchase may cost, in USDC; nothing is signed for a higher price
    #[arg(long, required = true, env = "FLORIN_PAY_MAX", value_name = "USDC", value_parser = Usdc::parse_price)]
    max: Option<Usdc>,

    /// Show the offers and what your limits say of each; sign nothing, pay nothing
    #[arg(long)]
    dry_run: bool,

    /// Also write the receipt to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,

    /// Folder that keeps payments, receipts and what was spent today [default: florin in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, env = "FLORIN_STATE", value_name = "FOLDER", global = true)]
    state: Option<PathBuf>,

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
    #[arg(long, env = "FLORIN_WALLET", value_name = "ADDRESS")]
    wallet: Option<Address>,

    /// Node to read the wallet's limits from, and whether Permit2 may take what is paid by it
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true, value_name = "URL")]
    rpc_url: Option<Url>,

    #[command(flatten)]
    limits: Limits,

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
        if let Some(kept) = &self.kept {
            return kept.run(limits::journal(self.state.as_ref())?);
        }
        let signer = self.key.signer()?;
        match (self.wallet, &self.rpc_url) {
            (Some(wallet), Some(rpc_url)) => {
                let payer = agent::WalletPayer::connect(rpc_url.clone(), wallet, signer).await?;
                self.buy(payer).await
            }
            (None, Some(rpc_url)) => self.buy(KeyPayer::new(signer).node(node(rpc_url.clone()))).await,
            (Some(wallet), None) => {
                bail!("the wallet {wallet} is on a chain: name its node with --rpc-url (or set FLORIN_RPC_URL)")
            }
            (None, None) => self.buy(KeyPayer::new(signer)).await,
        }
    }

    async fn buy<P: Payer>(&self, payer: P) -> Result<ExitCode> {
        let (url, max) = self.url.clone().zip(self.max).context("a purchase needs a URL and --max")?;
        let journal = limits::journal(self.state.as_ref())?;
        let purse = Purse::new(payer, self.limits.policy(max, journal.as_ref())?);
        let purse = match journal {
            Some(journal) => purse.journal(journal),
            None => purse,
        };
        let client = Client::with(purse, |builder| builder).context("cannot set up TLS")?;
        let request = self.request(url);
        let bought = match self.dry_run {
            true => self.show_offers(&client, request).await,
            false => {
                // Before anything is paid: a file that cannot be written must cost nothing.
                let receipt = self.receipt.as_deref().map(receipt_file).transpose()?;
                match client.execute(request).await {
                    Ok(answer) => return self.show(answer, receipt).await,
                    Err(error) => Err(error),
                }
            }
        };
        bought.or_else(|error| {
            eprintln!("error: {}", printable(&without_secrets(&error.to_string())));
            Ok(ExitCode::from(exit_code(&error)))
        })
    }

    #[allow(clippy::print_stdout)]
    async fn show_offers<P: Payer>(&self, client: &Client<P>, request: Request) -> Result<ExitCode, PayError> {
        let (url, offers) = client.offers(request).await?;
        if offers.is_empty() {
            println!("free: nothing is asked for");
            return Ok(ExitCode::SUCCESS);
        }
        let judged = client.purse().judge(&url, &offers).await;
        let mut table = kept::table(["scheme", "network", "payee", "usdc", "your limits"]);
        for (offer, verdict) in offers.iter().zip(&judged) {
            let (price, verdict) = match verdict {
                Ok(price) if self.limits.asks(*price) => (price.to_string(), "you would be asked".into()),
                Ok(price) => (price.to_string(), "would be paid".into()),
                Err(error) => {
                    (offer.amount.to_usdc().map_or_else(|| offer.amount.to_string(), |p| p.to_string()), error.to_string())
                }
            };
            table.add_row([&shown(&offer.scheme), offer.network.as_str(), &shown(&offer.pay_to), &price, &verdict]);
        }
        println!("{table}");
        let payable = judged.iter().any(Result::is_ok);
        Ok(if payable { ExitCode::SUCCESS } else { ExitCode::from(EXIT_OWN_LIMIT) })
    }

    fn request(&self, url: Url) -> Request {
        let plain_get = self.method == Method::GET;
        let method = if self.data.is_some() && plain_get { Method::POST } else { self.method.clone() };
        let mut request = Request::new(method, url);
        request.headers_mut().extend(self.headers.iter().cloned());
        *request.body_mut() = self.data.clone().map(Into::into);
        request
    }

    async fn show(&self, answer: Answer, receipt: Option<File>) -> Result<ExitCode> {
        self.show_receipt(answer.paid());
        let written = receipt.map_or(Ok(()), |file| write_receipt(file, answer.paid()));
        let mut response = answer.into_response();
        let status = response.status();
        let mut stdout = std::io::stdout().lock();
        while let Some(chunk) = response.chunk().await.context("the body broke off")? {
            stdout.write_all(&chunk).context("cannot write the body")?;
        }
        stdout.flush().context("cannot write the body")?;
        written.context("the receipt could not be written; it is above, and in `florin pay receipts`")?;
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
            return eprintln!("{}", receipt_json(paid));
        }
        let amount = requirement.amount.to_usdc().unwrap_or(Usdc::MAX);
        let transaction = receipt.as_ref().map_or("", |receipt| &receipt.transaction);
        if settled {
            let (payee, transaction) = (shown(&requirement.pay_to), shown(transaction));
            eprintln!("paid {amount} USDC to {payee} on {}, transaction {transaction}", requirement.network);
        } else {
            eprintln!("not charged: the server did not settle the payment of {amount} USDC");
        }
    }
}

fn receipt_json(paid: Option<&Paid>) -> serde_json::Value {
    let Some(Paid { receipt, requirement, .. }) = paid else { return json!({ "paid": false }) };
    let settled = receipt.as_ref().is_some_and(|receipt| receipt.success);
    json!({ "paid": settled, "requirement": requirement, "receipt": receipt })
}

/// What is in the file stays there until there is something to write.
fn receipt_file(path: &Path) -> Result<File> {
    let opened = File::options().create(true).write(true).truncate(false).open(path);
    opened.with_context(|| format!("cannot write the receipt to {}; nothing was paid", path.display()))
}

fn write_receipt(mut file: File, paid: Option<&Paid>) -> std::io::Result<()> {
    // A pipe has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    writeln!(file, "{}", receipt_json(paid))
}

/// Text of a stranger, as much of it as a line has room for.
fn shown(text: &str) -> String {
    printable(text).chars().take(64).collect()
}

fn exit_code(error: &PayError) -> u8 {
    match error {
        PayError::Refused(_) | PayError::Payer(PayerError::Refused(_)) => EXIT_OWN_LIMIT,
        PayError::PaymentRejected { .. } | PayError::AlreadyUsed { .. } => EXIT_REFUSED,
        PayError::Indeterminate { .. } => EXIT_UNKNOWN,
        _ => 1,
    }
}
