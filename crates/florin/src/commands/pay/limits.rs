use std::{io::Write, path::PathBuf, time::Duration};

use alloy::primitives::Address;
use anyhow::{Context, Result};
use money::Usdc;
use tokio::sync::oneshot;
use x402::{
    Network,
    client::{Journal, Policy, Proposal},
};

use crate::values::Span;

/// What this purchase may cost, whom it may pay, and who is asked.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(in crate::commands) struct Limits {
    /// Most that is signed in a day (UTC) by all purchases that share --state
    #[arg(long, env = "FLORIN_PAY_DAILY_BUDGET", value_name = "USDC", value_parser = Usdc::parse_price)]
    daily_budget: Option<Usdc>,

    /// Most that is signed in a day (UTC) for any one host
    #[arg(long, env = "FLORIN_PAY_DAILY_BUDGET_PER_HOST", value_name = "USDC", value_parser = Usdc::parse_price)]
    daily_budget_per_host: Option<Usdc>,

    /// Pay only these hosts, e.g. api.example or '*.example'
    #[arg(long, env = "FLORIN_PAY_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    allow_host: Vec<String>,

    /// Never pay these hosts, also when allowed
    #[arg(long, env = "FLORIN_PAY_DENY_HOST", value_name = "HOST", value_delimiter = ',')]
    deny_host: Vec<String>,

    /// Pay only these accounts
    #[arg(long, env = "FLORIN_PAY_ALLOW_PAYEE", value_name = "ADDRESS", value_delimiter = ',')]
    allow_payee: Vec<Address>,

    /// Never pay these accounts, also when allowed
    #[arg(long, env = "FLORIN_PAY_DENY_PAYEE", value_name = "ADDRESS", value_delimiter = ',')]
    deny_payee: Vec<Address>,

    /// Pay only on these networks, e.g. eip155:8453
    #[arg(long, env = "FLORIN_PAY_ALLOW_NETWORK", value_name = "NETWORK", value_delimiter = ',')]
    allow_network: Vec<Network>,

    /// Never pay on these networks, also when allowed
    #[arg(long, env = "FLORIN_PAY_DENY_NETWORK", value_name = "NETWORK", value_delimiter = ',')]
    deny_network: Vec<Network>,

    /// Ask at the terminal before more than this is signed; without a terminal the answer is no
    #[arg(long, env = "FLORIN_PAY_APPROVE_ABOVE", value_name = "USDC", value_parser = parse_threshold)]
    approve_above: Option<Usdc>,

    /// How long to wait for that answer
    #[arg(long, value_name = "TIME", default_value = "60s")]
    approve_timeout: Span,
}

/// A price, or 0 to be asked always.
fn parse_threshold(text: &str) -> Result<Usdc, money::ParseUsdcError> {
    text.parse()
}

impl Limits {
    /// The policy of one purchase for `max` at most.
    pub(in crate::commands) fn policy(&self, max: Usdc, journal: Option<&Journal>) -> Result<Policy> {
        let mut policy = Policy::default().max_per_payment(max).budget(max);
        if let Some(journal) = journal {
            // Without a limit the day is counted all the same, for purchases that have one.
            let budget = journal.daily_budget(self.daily_budget.unwrap_or(Usdc::MAX));
            policy = policy.daily(match self.daily_budget_per_host {
                Some(max) => budget.max_per_host(max),
                None => budget,
            });
        } else if self.daily_budget.or(self.daily_budget_per_host).is_some() {
            anyhow::bail!("a daily budget needs a folder to count in: name one with --state");
        }
        policy = self.allow_host.iter().fold(policy, |policy, host| policy.allow_host(host));
        policy = self.deny_host.iter().fold(policy, |policy, host| policy.deny_host(host));
        policy = self.allow_payee.iter().fold(policy, |policy, payee| policy.allow_payee(*payee));
        policy = self.deny_payee.iter().fold(policy, |policy, payee| policy.deny_payee(*payee));
        policy = self.allow_network.iter().fold(policy, |policy, network| policy.allow_network(network.clone()));
        policy = self.deny_network.iter().fold(policy, |policy, network| policy.deny_network(network.clone()));
        Ok(match self.approve_above {
            Some(threshold) => policy.approve_above(threshold, Duration::from_secs(self.approve_timeout.0.into()), ask),
            None => policy,
        })
    }

    /// True when a person would be asked.
    pub(super) fn asks(&self, price: Usdc) -> bool {
        self.approve_above.is_some_and(|threshold| price > threshold)
    }
}

/// Asks at the terminal. A thread of its own waits, which the end of the process ends.
async fn ask(proposal: Proposal) -> bool {
    let (answer, answered) = oneshot::channel();
    std::thread::spawn(move || answer.send(ask_terminal(&proposal).unwrap_or(false)));
    answered.await.unwrap_or(false)
}

fn ask_terminal(proposal: &Proposal) -> std::io::Result<bool> {
    let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let Proposal { url, price, requirement, .. } = proposal;
    let (host, payee) = (url.host_str().unwrap_or_default(), requirement.pay_to_address().unwrap_or_default());
    write!(terminal, "pay {price} USDC to {payee} on {} for {host}? [y/N] ", requirement.network)?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(terminal), &mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Where payments and receipts are kept: `folder`, else `florin` in the user's folder for state.
pub(in crate::commands) fn journal(folder: Option<&PathBuf>) -> Result<Option<Journal>> {
    let base = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || base("XDG_STATE_HOME").or_else(|| Some(base("HOME")?.join(".local/state")));
    let Some(folder) = folder.cloned().or_else(|| Some(user()?.join("florin"))) else { return Ok(None) };
    let journal = Journal::open(folder).context("name another folder with --state")?;
    Ok(Some(journal))
}
