//! How a command reaches a chain: the node, the deployment on it, the key; and the one way to send a transaction.

use std::{path::PathBuf, time::Duration};

use alloy::{
    eips::{BlockId, eip2718::Encodable2718},
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, PendingTransactionBuilder, Provider, ProviderBuilder},
    rpc::types::{
        Filter, Log, TransactionRequest,
        simulate::{SimBlock, SimulatePayload},
    },
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
    transports::{RpcError, TransportErrorKind},
};
use anyhow::{Context, Result, anyhow, bail};
use contracts::{
    Contract, ContractError, Deployment, Event,
    signing::{self, usdc::Permit},
    usdc::Usdc as Token,
};
use money::Usdc;
use serde_json::{Value, json};
use url::Url;

use crate::{key::KeyOptions, words};

const NODE_TIMEOUT: Duration = Duration::from_secs(30);
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(180);
/// Of the gas that the simulation took: state may change a little until the transaction is mined.
const GAS_MARGIN_PERCENT: u64 = 20;
/// A node that refuses a smaller range of blocks refuses for another reason.
const LOG_RANGE_MIN: u64 = 500;
/// What a node says of a transaction that it did not take in. Its codes prove nothing: they are the same for one that it was sent before and mined.
const REJECTED: [&str; 4] = ["insufficient funds", "intrinsic gas", "underpriced", "exceeds block gas limit"];

/// What every command that talks to a chain takes.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Chain, key and output")]
pub(crate) struct ChainOptions {
    /// Node of the chain
    #[arg(long, env = "FLORIN_RPC_URL", hide_env_values = true, value_name = "URL", global = true)]
    rpc_url: Option<Url>,

    /// Deployment file that `florin deploy` wrote; not needed on chains that florin knows
    #[arg(long, env = "FLORIN_DEPLOYMENT", value_name = "FILE", global = true)]
    deployment: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) key: KeyOptions,

    /// Simulate: print gas, calldata and what would happen, and send nothing
    #[arg(long, global = true)]
    dry_run: bool,

    /// Print the call, ABI-encoded, for another account to make (a treasury, a Safe), and send nothing
    #[arg(long, global = true, conflicts_with = "dry_run")]
    calldata: bool,

    /// With --dry-run or --calldata: act as this account, without its key
    #[arg(long, value_name = "ADDRESS", global = true)]
    from: Option<Address>,

    /// One JSON object per transaction or answer on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A chain that answered, and where our contracts are on it.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) deployment: Deployment,
    /// The newest block's time, Unix seconds: the clock that contracts go by.
    pub(crate) now: u64,
    provider: DynProvider,
    options: ChainOptions,
}

/// A chain, and a key to send transactions with.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) chain: Chain,
    from: Address,
    /// Without one, nothing is signed or sent.
    signer: Option<PrivateKeySigner>,
}

/// A node to read from, which answers in time or not at all.
pub(crate) fn node(url: Url) -> DynProvider {
    ProviderBuilder::new().with_reqwest(url, |client| client.timeout(NODE_TIMEOUT).build().unwrap_or_default()).erased()
}

/// A signed EIP-2612 permit, as contracts take it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedPermit {
    pub(crate) deadline: U256,
    pub(crate) v: u8,
    pub(crate) r: B256,
    pub(crate) s: B256,
}

impl ChainOptions {
    /// Connects, to read.
    pub(crate) async fn connect(&self) -> Result<Chain> {
        let url = self.rpc_url.clone().context("which chain? Name its node with --rpc-url (or set FLORIN_RPC_URL)")?;
        let provider = node(url.clone());
        let silent = || format!("the node {url} does not answer: is it running and is --rpc-url right?");
        let chain_id = provider.get_chain_id().await.with_context(silent)?;
        let deployment = match &self.deployment {
            Some(file) => Deployment::load(file)?,
            None => Deployment::for_chain(chain_id)?,
        };
        if deployment.chain_id != chain_id {
            bail!("the node is on chain {chain_id} and the deployment file is about chain {}", deployment.chain_id);
        }
        let newest = provider.get_block(BlockId::latest()).await.with_context(silent)?.context("the chain has no block")?;
        Ok(Chain { deployment, now: newest.header.timestamp, provider, options: self.clone() })
    }

    /// Connects, to send with the key.
    pub(crate) async fn sender(&self) -> Result<Sender> {
        if self.from.is_some() && !self.dry_run && !self.calldata {
            bail!("--from acts without a key, so nothing can be sent: add --dry-run or --calldata");
        }
        if self.calldata || self.from.is_some() {
            let from = self.from.or(self.key.signer().ok().map(|key| key.address())).unwrap_or_default();
            return Ok(Sender { chain: self.connect().await?, from, signer: None });
        }
        let signer = self.key.signer()?;
        Ok(Sender { chain: self.connect().await?, from: signer.address(), signer: Some(signer) })
    }

    /// Prints an answer: `value` with `--json`, otherwise `text`.
    #[allow(clippy::print_stdout)]
    pub(crate) fn answer(&self, value: &Value, text: &str) {
        if self.json {
            println!("{}", words::with_checksums(value.clone()));
        } else {
            println!("{}", text.trim_end());
        }
    }
}

impl Chain {
    pub(crate) const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    pub(crate) const fn id(&self) -> u64 {
        self.deployment.chain_id
    }

    pub(crate) async fn balance(&self, account: Address) -> Result<Usdc> {
        let balance = Token::new(self.deployment.usdc, &self.provider).balanceOf(account).call().await?;
        Ok(balance.try_into()?)
    }

    /// An error unless there is a contract at `address`.
    pub(crate) async fn expect_contract(&self, address: Address, what: &str) -> Result<()> {
        if self.provider.get_code_at(address).await?.is_empty() {
            bail!("there is no {what} at {address} on chain {}: check the address and the node", self.id());
        }
        Ok(())
    }

    /// Every event since the deployment that `filter` lets through, of a contract of this kind, oldest first. Asks for less at once when the
    /// node wants it so.
    pub(crate) async fn events(&self, kind: Contract, filter: Filter) -> Result<Vec<Event>> {
        let head = self.provider.get_block_number().await?;
        let (mut events, mut from, mut range) = (Vec::new(), self.deployment.start_block, u64::MAX);
        while from <= head {
            let to = from.saturating_add(range).min(head);
            match self.provider.get_logs(&filter.clone().from_block(from).to_block(to)).await {
                Ok(logs) => {
                    events.extend(logs.iter().filter_map(|log| Event::decode_as(kind, &log.inner)));
                    from = to + 1;
                }
                Err(error) if to - from <= LOG_RANGE_MIN => return Err(error).context("the node does not give the events"),
                Err(_) => range = (to - from) / 2,
            }
        }
        Ok(events)
    }
}

impl Sender {
    pub(crate) const fn address(&self) -> Address {
        self.from
    }

    /// Simulates a call, sends it, waits until it is mined, prints the transaction and what happened. With `--dry-run` only the first and the
    /// last. Returns what happened.
    pub(crate) async fn send(&self, to: Address, call: &impl SolCall) -> Result<Vec<Event>> {
        // A call to an address without code does nothing, and succeeds.
        self.chain.expect_contract(to, "contract").await?;
        let data = Bytes::from(call.abi_encode());
        if self.prints_calldata() {
            eprintln!("call {to} with:");
            self.chain.options.answer(&json!({ "to": to, "data": data }), &data.to_string());
            return Ok(Vec::new());
        }
        let request = TransactionRequest::default().with_from(self.address()).with_to(to).with_input(data.clone());
        let gas = self.chain.provider.estimate_gas(request.clone()).await.map_err(|error| self.refused(&error))?;
        if self.chain.options.dry_run {
            let events = self.simulated_events(request).await;
            self.print(&json!({ "dryRun": true, "to": to, "data": data, "gas": gas }), &would(to, &data, gas), &events);
            return Ok(events);
        }
        let request = request.with_gas_limit(gas + gas * GAS_MARGIN_PERCENT / 100);
        let hash = self.broadcast(request).await?;
        let sent = PendingTransactionBuilder::new(self.chain.provider.root().clone(), hash);
        let receipt = sent.with_timeout(Some(RECEIPT_TIMEOUT)).get_receipt().await;
        let receipt = receipt.with_context(|| {
            format!("transaction {hash} was sent and is not known to be mined: look for it before you try again")
        })?;
        if !receipt.status() {
            bail!(
                "transaction {hash} was refused when it was mined, though not before: something came in between; look and try again"
            );
        }
        let events = decoded(receipt.logs());
        let (block, used) = (receipt.block_number.unwrap_or_default(), receipt.gas_used);
        let text = format!("transaction {hash} in block {block}, gas {used}");
        self.print(&json!({ "transaction": hash, "block": block, "gasUsed": used }), &text, &events);
        Ok(events)
    }

    /// Signs a transaction and sends it. Its hash is told first: whatever happens from then on, it can be looked for.
    async fn broadcast(&self, request: TransactionRequest) -> Result<B256> {
        let node = &self.chain.provider;
        let (nonce, fees) =
            tokio::try_join!(node.get_transaction_count(self.from).pending().into_future(), node.estimate_eip1559_fees())
                .context("the node does not say what a transaction needs; nothing was sent")?;
        let request = request
            .with_chain_id(self.chain.id())
            .with_nonce(nonce)
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
        let transaction = request.build(&EthereumWallet::from(self.signer()?.clone())).await?;
        let hash = *transaction.tx_hash();
        eprintln!("sending transaction {hash}");
        let Err(error) = node.send_raw_transaction(&transaction.encoded_2718()).await else { return Ok(hash) };
        let answer = error.as_error_resp();
        let said = answer.map(|answer| answer.message.to_lowercase()).unwrap_or_default();
        if said.contains("already known") {
            return Ok(hash);
        }
        if answer.is_some_and(|answer| answer.as_revert_data().is_some()) || REJECTED.iter().any(|proof| said.contains(proof)) {
            return Err(self.refused(&error));
        }
        let lost = format!("transaction {hash} may have been sent: look for it before you repeat, or you may pay twice");
        Err(anyhow!(error).context(lost))
    }

    fn signer(&self) -> Result<&PrivateKeySigner> {
        self.signer
            .as_ref()
            .with_context(|| format!("this takes a signature of {}: leave --from away and give its key", self.from))
    }

    /// Whether calls are only printed, for another account to make.
    pub(crate) const fn prints_calldata(&self) -> bool {
        self.chain.options.calldata
    }

    /// Signs a permit for `spender` over exactly `amount` of our USDC.
    pub(crate) async fn permit(&self, spender: Address, amount: Usdc, deadline: u64) -> Result<SignedPermit> {
        let (usdc, owner) = (self.chain.deployment.usdc, self.address());
        let nonce = Token::new(usdc, &self.chain.provider).nonces(owner).call().await?;
        let deadline = U256::from(deadline);
        let permit = Permit { owner, spender, value: amount.into(), nonce, deadline };
        let signature = signing::usdc::permit(permit, usdc, self.chain.id()).sign(self.signer()?)?;
        let v = 27 + u8::from(signature.v());
        Ok(SignedPermit { deadline, v, r: signature.r().into(), s: signature.s().into() })
    }

    /// Lets `spender` take `amount` of our USDC by allowance, if it cannot yet. A dry run ends there: what follows cannot be simulated before the
    /// allowance is given. Says whether to go on.
    pub(crate) async fn allow(&self, spender: Address, amount: Usdc) -> Result<bool> {
        if self.prints_calldata() {
            eprintln!("{spender} must be allowed to take {amount} USDC first");
            return Ok(true);
        }
        if self.allowance(spender).await? >= U256::from(amount.base_units()) {
            return Ok(true);
        }
        self.approve(spender, amount.into()).await
    }

    /// Lets `spender` take `amount` more than it can already: something else relies on that, such as a subscription. As [`Self::allow`].
    pub(crate) async fn allow_more(&self, spender: Address, amount: Usdc) -> Result<bool> {
        if self.prints_calldata() {
            eprintln!("{spender} must be allowed to take {amount} USDC more first");
            return Ok(true);
        }
        self.approve(spender, self.allowance(spender).await?.saturating_add(amount.into())).await
    }

    async fn approve(&self, spender: Address, value: U256) -> Result<bool> {
        self.chain.expect_contract(spender, "contract").await?;
        self.send(self.chain.deployment.usdc, &Token::approveCall { spender, value }).await?;
        Ok(!self.chain.options.dry_run)
    }

    /// What `spender` can take of our USDC.
    pub(crate) async fn allowance(&self, spender: Address) -> Result<U256> {
        Ok(Token::new(self.chain.deployment.usdc, &self.chain.provider).allowance(self.from, spender).call().await?)
    }

    /// What the transaction would log, if the node can tell.
    async fn simulated_events(&self, request: TransactionRequest) -> Vec<Event> {
        let payload = SimulatePayload { block_state_calls: vec![SimBlock::default().call(request)], ..Default::default() };
        let blocks = self.chain.provider.simulate(&payload).await.unwrap_or_default();
        decoded(blocks.iter().flat_map(|block| &block.calls).flat_map(|call| &call.logs))
    }

    fn print(&self, facts: &Value, text: &str, events: &[Event]) {
        let mut facts = facts.clone();
        facts["events"] = events.iter().map(words::event_json).collect();
        let lines = events.iter().filter_map(|event| words::event(event, self.chain.deployment.usdc));
        self.chain.options.answer(&facts, &lines.fold(text.to_owned(), |text, line| format!("{text}\n  {line}")));
    }

    /// Why the chain or the node refuses a transaction, in words.
    fn refused(&self, error: &RpcError<TransportErrorKind>) -> anyhow::Error {
        if let Some(data) = error.as_error_resp().and_then(|response| response.as_revert_data()) {
            return anyhow!("refused: {}", ContractError::decode(&data));
        }
        let text = error.to_string();
        if text.to_lowercase().contains("insufficient funds") {
            return anyhow!("{} has too little coin for gas on chain {}: send it some", self.address(), self.chain.id());
        }
        anyhow!("the node refuses the transaction: {text}")
    }
}

fn would(to: Address, data: &Bytes, gas: u64) -> String {
    format!("dry run, nothing is sent: gas {gas}, to {to}, calldata {data}")
}

fn decoded<'a>(logs: impl IntoIterator<Item = &'a Log>) -> Vec<Event> {
    logs.into_iter().filter_map(|log| Event::decode(&log.inner)).collect()
}

/// An error of a view, with the contract's own error in words.
pub(crate) fn readable(error: alloy::contract::Error) -> anyhow::Error {
    let read = error.as_revert_data().map(|data| ContractError::decode(&data));
    read.map_or_else(|| error.into(), |read| anyhow!("refused: {read}"))
}

/// The treasury or the wallet that a command is about, if one was named.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) options: ChainOptions,
    pub(crate) address: Option<Address>,
    /// `treasury` or `wallet`: also the flag that names it.
    pub(crate) kind: &'static str,
}

impl Target {
    pub(crate) fn address(&self) -> Result<Address> {
        let kind = self.kind;
        self.address.with_context(|| format!("which {kind}? Name it with --{kind} (or set FLORIN_{})", kind.to_uppercase()))
    }

    /// Connects to read from it.
    pub(crate) async fn connect(&self) -> Result<(Chain, Address)> {
        let address = self.address()?;
        let chain = self.options.connect().await?;
        chain.expect_contract(address, self.kind).await?;
        Ok((chain, address))
    }

    /// Connects to send to it.
    pub(crate) async fn sender(&self) -> Result<(Sender, Address)> {
        let address = self.address()?;
        let sender = self.options.sender().await?;
        sender.chain.expect_contract(address, self.kind).await?;
        Ok((sender, address))
    }

    /// Sends one call to it.
    pub(crate) async fn send(&self, call: &impl SolCall) -> Result<()> {
        let (sender, address) = self.sender().await?;
        sender.send(address, call).await.map(drop)
    }
}
