//! `florin webhook`: who is told by an indexer of what happens on the chain.
//! Stdout is the result.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use reqwest::{Client, Method};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

/// Tell an HTTPS endpoint of payments, transfers, events and blocks: signed, at least once, by the Standard Webhooks specification
///
/// The indexer does the telling; it takes its admin token to say whom.
#[derive(clap::Args, Debug)]
pub(crate) struct Webhook {
    #[command(subcommand)]
    action: Action,

    /// Indexer that tells
    #[arg(long, value_name = "URL", env = "FLORIN_INDEXER_URL", default_value = "http://127.0.0.1:8082", global = true)]
    indexer: Url,

    /// Which of its chains, by name or id
    #[arg(long, default_value = "chain", global = true)]
    chain: String,

    /// What the indexer was started with
    #[arg(long, value_name = "TOKEN", env = "FLORIN_INDEXER_ADMIN_TOKEN", hide_env_values = true, global = true)]
    admin_token: Option<String>,

    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Register an endpoint; prints the secret that its signatures are checked with, this once
    ///
    /// Example: florin webhook add https://shop.example/hook --topics payments --account 0xSHOP --confirmations 3
    Add(Box<Add>),
    /// Show every endpoint, how much waits for it and what was given up
    List,
    /// Show what was given up of an endpoint, the oldest first
    DeadLetters {
        /// Endpoint, as `list` names it
        id: Uuid,
    },
    /// Enable an endpoint again and tell it again what was given up
    Replay {
        /// Endpoint, as `list` names it
        id: Uuid,
        /// Tell everything from this block on again
        #[arg(long, value_name = "BLOCK")]
        from_block: Option<u64>,
    },
    /// Remove an endpoint with all that waits for it
    Remove {
        /// Endpoint, as `list` names it
        id: Uuid,
    },
}

#[derive(clap::Args, Debug)]
struct Add {
    /// Where to post to: https, a host on the public internet
    url: Url,

    #[command(flatten)]
    filter: Filter,
}

/// What to tell of, as the parameters of the indexer's `/stream`.
#[derive(clap::Args, Serialize, Debug)]
struct Filter {
    /// events, transfers, payments, blocks, separated by commas
    #[arg(long, default_value = "payments")]
    topics: String,
    /// Only events that mention this account, transfers and payments from or to it
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Address>,
    /// Only events of this contract
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<Address>,
    /// Only events of this name, as PaymentExecuted
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Only payments that went this way, as x402
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Tell of a block once it has so many confirmations
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmations: Option<u64>,
    /// Begin with this block [default: the next]
    #[arg(long, value_name = "BLOCK")]
    #[serde(skip_serializing_if = "Option::is_none")]
    from_block: Option<u64>,
}

impl Webhook {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let (answer, text) = match &self.action {
            Action::Add(add) => {
                let Add { url, filter } = &**add;
                let made = self.ask(Method::POST, "", &json!({"url": url, "filter": filter})).await?;
                let text = format!(
                    "webhook {}\nsecret  {}\nKeep the secret: it is not shown again.",
                    word(&made["id"]),
                    word(&made["secret"])
                );
                (made, text)
            }
            Action::List => {
                let all = self.ask(Method::GET, "", &Value::Null).await?;
                let text = lines(&all, |one| {
                    let state = one["disabled"].as_str().map_or("told".to_owned(), |why| format!("disabled: {why}"));
                    let (waiting, dead) = (&one["waiting"], &one["dead"]);
                    let last = one["last_error"].as_str().map(|error| format!(", last error: {error}")).unwrap_or_default();
                    format!("{}  {}  {state}, {waiting} waiting, {dead} given up{last}", word(&one["id"]), word(&one["url"]))
                });
                (all, text)
            }
            Action::DeadLetters { id } => {
                let dead = self.ask(Method::GET, &format!("/{id}/dead-letters"), &Value::Null).await?;
                let text = lines(&dead, |one| {
                    let (tried, why) = (&one["attempts"], word(&one["last_error"]));
                    format!("{}  {} attempts, {why}\n  {}", word(&one["created_at"]), tried, word(&one["body"]))
                });
                (dead, text)
            }
            Action::Replay { id, from_block } => {
                let done = self.ask(Method::POST, &format!("/{id}/replay"), &json!({"from_block": from_block})).await?;
                (done, format!("{id} is told again"))
            }
            Action::Remove { id } => {
                let done = self.ask(Method::DELETE, &format!("/{id}"), &Value::Null).await?;
                (done, format!("{id} is removed"))
            }
        };
        println!("{}", if self.json { answer.to_string() } else { text });
        Ok(ExitCode::SUCCESS)
    }

    /// Null is both a body that is not sent and an answer without one.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let token = self.admin_token.as_deref().context("--admin-token is missing (or set FLORIN_INDEXER_ADMIN_TOKEN)")?;
        let mut url = self.indexer.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/v1/{}/webhooks{path}", self.chain));
        let mut request = Client::new().request(method, url).bearer_auth(token);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{} does not answer", self.indexer))?;
        let (status, text) = (response.status(), response.text().await?);
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match answer["detail"].as_str() {
            _ if status.is_success() => Ok(answer),
            Some(detail) => bail!("the indexer refused: {detail}"),
            None => bail!("{} answered {status}: is it an indexer?", self.indexer),
        }
    }
}

fn lines(all: &Value, line: impl Fn(&Value) -> String) -> String {
    let lines: Vec<String> = all.as_array().into_iter().flatten().map(line).collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
