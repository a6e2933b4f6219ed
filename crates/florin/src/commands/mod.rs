//! One file per command; this one is their table of contents.

mod anchor;
mod completions;
mod contracts;
mod deploy;
mod dev;
mod escrow;
mod indexer;
mod market_custody;
mod market_role;
mod mcp;
mod pay;
mod payees;
mod paywall;
mod registry;
mod router;
mod service;
mod subscription;
mod treasury;
mod wallet;
mod webhook;

use std::process::ExitCode;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the whole product on a local chain, and play one story of payments through it
    Dev(dev::Dev),
    /// Buy one HTTP resource: pays what a 402 asks for, within your limit; body on stdout, receipt on stderr
    Pay(Box<pay::Pay>),
    /// Sell any HTTP origin per request, without touching it
    Paywall(paywall::Paywall),
    /// Verify and settle x402 payments for sellers
    Facilitator(Box<facilitator::Config>),
    /// Mirror the chain's payments into Postgres and answer queries about them; prove again what is mirrored
    Indexer(indexer::Indexer),
    /// Tell an HTTPS endpoint of what an indexer sees, signed
    Webhook(Box<webhook::Webhook>),
    /// Run the marketplace API
    Market(Box<market::Config>),
    /// Give a person a role at the marketplace: how it gets its first administrator
    MarketRole(market_role::MarketRole),
    /// Correct the account that backs the marketplace's balances, while it owes nothing
    MarketCustody(market_custody::MarketCustody),
    /// Give a model the marketplace's tools: MCP over stdio, which pays within your limits
    Mcp(Box<mcp::Mcp>),
    /// An organisation's treasury: several owners, limits per spender, a timelock on all that widens power
    Treasury(Box<treasury::Treasury>),
    /// An agent's wallet: operators' keys that pay within limits, an owner who sets them
    Wallet(Box<wallet::Wallet>),
    /// Money that waits for a delivery: the seller delivers, the buyer releases or disputes, the arbiter rules
    Escrow(Box<escrow::Escrow>),
    /// Pay through the router: one payment with a record on chain, many at once, one in shares
    Router(Box<router::Router>),
    /// Payments that recur: the payer subscribes and can always cancel, anybody charges what is due
    Subscription(Box<subscription::Subscription>),
    /// Services that agents sell: their price, the stake that stands behind them, and what payers say about them
    Registry(Box<registry::Registry>),
    /// Fix an off-chain ledger on chain, batch by batch, so that no entry can be altered, added or left out afterwards
    Anchor(Box<anchor::Anchor>),
    /// Deploy the contracts to a chain
    Deploy(deploy::Deploy),
    /// Build the contracts and show their addresses
    #[command(subcommand)]
    Contracts(contracts::Contracts),
    /// Print a completion script for your shell
    Completions(completions::Completions),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dev(command) => command.run().await,
            Self::Pay(command) => command.run().await,
            Self::Paywall(command) => command.run().await,
            Self::Facilitator(config) => service::facilitator(*config).await,
            Self::Indexer(command) => command.run().await,
            Self::Webhook(command) => command.run().await,
            Self::Market(config) => service::market(*config).await,
            Self::MarketRole(command) => command.run().await,
            Self::MarketCustody(command) => command.run().await,
            Self::Mcp(command) => command.run().await,
            Self::Treasury(command) => command.run().await,
            Self::Wallet(command) => command.run().await,
            Self::Escrow(command) => command.run().await,
            Self::Router(command) => command.run().await,
            Self::Subscription(command) => command.run().await,
            Self::Registry(command) => command.run().await,
            Self::Anchor(command) => command.run().await,
            Self::Deploy(command) => command.run().await,
            Self::Contracts(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}
