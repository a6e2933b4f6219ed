//! The marketplace's tools for programs that start their MCP servers themselves and speak with them over stdio.

use std::{
    io::{BufRead, Read, Write},
    process::ExitCode,
    rc::Rc,
    sync::OnceLock,
    time::Duration,
};

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use money::Usdc;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
};
use url::Url;
use x402::{
    JsonMap,
    client::{KeyPayer, PayError, Payer, Purse},
    mcp::call_tool,
};

use super::pay::limits::{Limits, journal};
use crate::{
    chain::node,
    key::KeyOptions,
    words::{printable, without_secrets},
};

/// Longest message of either side.
const MESSAGE_LEN_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Messages passed on at a time.
const UNDER_WAY_MAX: usize = 16;
/// Longer than the marketplace takes for a settlement.
const TIMEOUT: Duration = Duration::from_secs(100);
/// Longer than it lets a user take to answer a question, with the settlement after it.
const ASKED_TIMEOUT: Duration = Duration::from_secs(400);
/// Where the marketplace keeps that the program can ask its user.
const SESSION: &str = "mcp-session-id";
/// Where a message says which revision it is of.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Give a model the marketplace's tools: an MCP server over stdio, for programs that start such servers themselves.
///
/// It passes every message on to the marketplace, as the agent whose key is in FLORIN_API_KEY, if there is one. What a tool asks to be paid for by
/// x402 it pays as `florin pay` does, from FLORIN_KEY or a keystore, or with --wallet from an AgentWallet: at most --max for one payment and --budget
/// for all of them. Without --max it pays nothing, and the model is told what is asked. What the marketplace asks the user, it asks by the program.
///
/// Example, in the settings of such a program: {"command": "florin", "args": ["mcp", "https://market.example", "--max", "0.50", "--budget", "5"]}
#[derive(clap::Args, Debug)]
pub(crate) struct Mcp {
    /// The marketplace
    #[arg(env = "FLORIN_MARKET_URL")]
    market: Url,

    /// The agent's key at the marketplace; only from the environment, so that it shows in no process list
    #[arg(long = "api-key-from-env", env = "FLORIN_API_KEY", hide = true, hide_env_values = true)]
    api_key: Option<String>,

    /// Most that one payment may cost, in USDC; without it nothing is paid by x402
    #[arg(long, env = "FLORIN_MCP_MAX", value_name = "USDC", value_parser = Usdc::parse_price)]
    max: Option<Usdc>,

    /// Most that is signed while this runs, in USDC [default: as much as --max]
    #[arg(long, env = "FLORIN_MCP_BUDGET", value_name = "USDC", value_parser = Usdc::parse_price, requires = "max")]
    budget: Option<Usdc>,

    /// Folder that keeps payments, receipts and what was spent today [default: florin in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, env = "FLORIN_STATE", value_name = "FOLDER")]
    state: Option<std::path::PathBuf>,

    /// Pay from this AgentWallet with its operator's key; needs --rpc-url
    #[arg(long, env = "FLORIN_WALLET", value_name = "ADDRESS", requires = "rpc_url")]
    wallet: Option<Address>,

    /// Node to read the wallet's limits from
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true, value_name = "URL")]
    rpc_url: Option<Url>,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    key: KeyOptions,
}

impl Mcp {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let Some(max) = self.max else {
            return self.serve(None::<Purse<KeyPayer<alloy::signers::local::PrivateKeySigner>>>).await;
        };
        let signer = self.key.signer()?;
        match (self.wallet, self.rpc_url.clone()) {
            (Some(wallet), Some(rpc_url)) => {
                let payer = agent::WalletPayer::connect(rpc_url, wallet, signer).await?;
                let purse = self.purse(payer, max)?;
                self.serve(Some(purse)).await
            }
            (_, rpc_url) => {
                let payer = KeyPayer::new(signer);
                let payer = match rpc_url {
                    Some(rpc_url) => payer.node(node(rpc_url)),
                    None => payer,
                };
                let purse = self.purse(payer, max)?;
                self.serve(Some(purse)).await
            }
        }
    }

    fn purse<P: Payer>(&self, payer: P, max: Usdc) -> Result<Purse<P>> {
        let journal = journal(self.state.as_ref())?;
        let policy = self.limits.policy(max, journal.as_ref())?.budget(self.budget.unwrap_or(max));
        let purse = Purse::new(payer, policy);
        Ok(match journal {
            Some(journal) => purse.journal(journal),
            None => purse,
        })
    }

    /// Passes messages on until there are no more.
    async fn serve<P: Payer + 'static>(self, purse: Option<Purse<P>>) -> Result<ExitCode> {
        let path = format!("{}/mcp", self.market.path().trim_end_matches('/'));
        let mut at = self.market.clone();
        at.set_path(&path);
        let http =
            reqwest::Client::builder().read_timeout(TIMEOUT).timeout(ASKED_TIMEOUT).build().context("cannot set up TLS")?;
        let link = Rc::new(Link { http, at, api_key: self.api_key, version: OnceLock::new(), session: OnceLock::new(), purse });
        let (sender, mut lines) = mpsc::channel(UNDER_WAY_MAX);
        std::thread::spawn(move || read_lines(&sender));
        let serving = async {
            let mut under_way = JoinSet::new();
            while let Some(line) = lines.recv().await {
                if under_way.len() >= UNDER_WAY_MAX {
                    under_way.join_next().await;
                }
                let link = Rc::clone(&link);
                under_way.spawn_local(async move { link.pass(&line).await });
            }
            while under_way.join_next().await.is_some() {}
        };
        LocalSet::new().run_until(serving).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// A thread of its own reads, because nothing else can be woken by the standard input.
fn read_lines(lines: &mpsc::Sender<String>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = String::new();
        match input.by_ref().take(MESSAGE_LEN_MAX_BYTES as u64).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim().is_empty() => {}
            Ok(_) => {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        }
    }
}

/// One message a line.
fn write(message: &Value) {
    let mut output = std::io::stdout().lock();
    // Whoever does not listen any more ends us soon.
    let _ = writeln!(output, "{message}").and_then(|()| output.flush());
}

/// The way to a marketplace.
struct Link<P> {
    http: reqwest::Client,
    at: Url,
    api_key: Option<String>,
    /// The revision that both sides agreed on, in those that agree on one.
    version: OnceLock<String>,
    /// What the marketplace named the session, if it did.
    session: OnceLock<String>,
    purse: Option<Purse<P>>,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
enum NoResult {
    #[error("the marketplace refused the call")]
    Refused(Value),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl<P: Payer> Link<P> {
    async fn pass(&self, line: &str) {
        let message: Value = match serde_json::from_str(line) {
            Ok(message) => message,
            Err(error) => return write(&failure(Value::Null, -32700, &error.to_string())),
        };
        let id = message.get("id").cloned();
        let is_call = id.is_some() && message.get("method").is_some_and(|method| method == "tools/call");
        let params = message.get("params").and_then(Value::as_object);
        let answer = match (&self.purse, params) {
            (Some(purse), Some(params)) if is_call => self.call(purse, &message, params).await,
            _ => self.send(&message).await,
        };
        match (answer, id) {
            (Ok(Some(answer)), _) => write(&answer),
            (Err(error), Some(id)) => write(&failure(id, -32603, &printable(&without_secrets(&format!("{error:#}"))))),
            (Err(error), None) => eprintln!("error: {}", printable(&without_secrets(&format!("{error:#}")))),
            (Ok(None), _) => {}
        }
    }

    /// A tool's call, paid for when that is asked.
    async fn call(&self, purse: &Purse<P>, message: &Value, params: &JsonMap) -> Result<Option<Value>> {
        let called = call_tool(purse, &self.at, params.clone(), |params| async {
            let mut message = message.clone();
            message["params"] = Value::Object(params);
            match self.send(&message).await.map_err(NoResult::Failed)? {
                Some(mut answer) => match answer.get_mut("result").map(Value::take) {
                    Some(Value::Object(result)) => Ok(result),
                    _ => Err(NoResult::Refused(answer)),
                },
                None => Err(NoResult::Failed(anyhow::anyhow!("the marketplace answered nothing"))),
            }
        });
        let result = match called.await {
            Ok(called) => Value::Object(called.value),
            Err(PayError::Call(cause)) => match cause.downcast::<NoResult>().map(|cause| *cause) {
                Ok(NoResult::Refused(answer)) => return Ok(Some(answer)),
                Ok(NoResult::Failed(error)) => return Err(error),
                Err(cause) => bail!("{cause}"),
            },
            // The model reads why nothing was paid, or what to do about a payment whose outcome is not known.
            Err(error) => {
                json!({"content": [{"type": "text", "text": printable(&without_secrets(&error.to_string()))}], "isError": true})
            }
        };
        Ok(Some(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
    }

    /// The marketplace's answer to a message; none to a notification.
    async fn send(&self, message: &Value) -> Result<Option<Value>> {
        let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
        let version = params["_meta"][VERSION].as_str().or(self.version.get().map(String::as_str));
        let name = params["name"].as_str().or_else(|| params["uri"].as_str()).filter(|name| is_plain(name));
        let session = self.session.get().map(String::as_str).filter(|_| method != "initialize");
        let said = [("mcp-protocol-version", version), ("mcp-method", Some(method)), ("mcp-name", name), (SESSION, session)];
        let mut request = self.http.post(self.at.clone()).body(message.to_string());
        request = request.header(header::CONTENT_TYPE, "application/json");
        request = request.header(header::ACCEPT, "application/json, text/event-stream");
        for (header, value) in said.into_iter().filter_map(|(header, value)| Some((header, value?))) {
            request = request.header(header, value);
        }
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let mut response = request.send().await.context("the marketplace does not answer")?;
        if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return last(response, &message["id"]).await.map(Some);
        }
        let session = response.headers().get(SESSION).and_then(|session| session.to_str().ok()).map(str::to_owned);
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.context("the marketplace's answer broke off")? {
            if body.len() + chunk.len() > MESSAGE_LEN_MAX_BYTES {
                bail!("the marketplace's answer is longer than {MESSAGE_LEN_MAX_BYTES} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::ACCEPTED {
            return Ok(None);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if answer.get("jsonrpc").is_none() {
            let detail = answer["detail"].as_str().unwrap_or("is it a marketplace?");
            bail!("the marketplace answered {status}: {detail}");
        }
        if method == "initialize"
            && let Some(version) = answer["result"]["protocolVersion"].as_str()
        {
            self.version.get_or_init(|| version.to_owned());
            if let Some(session) = session {
                self.session.get_or_init(|| session);
            }
        }
        Ok(Some(answer))
    }
}

/// The answer that ends a stream of events. What comes before it is for the program: questions to its user.
async fn last(mut response: Response, id: &Value) -> Result<Value> {
    let (mut read, mut seen) = (Vec::new(), 0);
    loop {
        let chunk = response.chunk().await.context("the marketplace's answer broke off")?;
        read.extend_from_slice(&chunk.context("the marketplace's answer broke off")?);
        if read.len() > MESSAGE_LEN_MAX_BYTES {
            bail!("the marketplace's answer is longer than {MESSAGE_LEN_MAX_BYTES} bytes");
        }
        while let Some(end) = read[seen..].windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = read.drain(..seen + end + 2).collect();
            seen = 0;
            let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
            let Some(Ok(said)) = data.map(serde_json::from_slice::<Value>) else { continue };
            if said.get("method").is_none() && said["id"] == *id {
                return Ok(said);
            }
            write(&said);
        }
        seen = read.len().saturating_sub(1);
    }
}

/// Whether a header can carry it as it is.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn failure(id: Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
