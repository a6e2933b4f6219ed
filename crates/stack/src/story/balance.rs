//! Money within the market: paid in by one request, spent without the chain, and what is left paid out again.

use std::time::Duration;

use agent::WalletPayer;
use alloy::providers::ext::AnvilApi;
use anyhow::{Context, Result, bail, ensure};
use api::ledger::{Amount, Asset, Deposit, DepositStatus, Withdraw, WithdrawalStatus};
use money::Usdc;
use x402::client::{Answer, Client, Policy};

use super::{DEPOSIT, SMALL_PRICE, Told, cast::Cast, purchase::SMALL_REPORT};

/// How long a batch of withdrawals may take to be paid and to be seen final.
const PAYOUT_TIMEOUT: Duration = Duration::from_secs(60);
const PAYOUT_POLL: Duration = Duration::from_millis(50);

/// 402, sign, credited: the wallet's lane pays the custody account.
pub(super) async fn deposit(cast: &Cast<'_>) -> Result<Told> {
    let url = cast.stack.market_url().join(&format!("api/v1/wallet/deposits/x402?amount={DEPOSIT}"))?;
    let request = reqwest::Client::new().post(url).bearer_auth(&cast.agent_key).build()?;
    let payer = WalletPayer::connect(cast.stack.rpc_url().clone(), cast.wallet, cast.agent.signer.clone()).await?;
    let client = Client::new(payer, Policy::default().max_per_payment(DEPOSIT))?;
    let Answer::Paid(paid) = client.execute(request).await? else { bail!("the market credits without being paid") };
    let transaction = paid.receipt.as_ref().and_then(|receipt| receipt.transaction_hash()).context("there is no receipt")?;
    let deposit: Deposit = paid.response.error_for_status()?.json().await?;
    ensure!(deposit.status == DepositStatus::Completed, "the deposit is {:?}", deposit.status);
    Ok(Told::paid("agent's wallet", "market's custody", DEPOSIT, transaction, "credited at once"))
}

/// No transaction, no signature: entries of the market's ledger.
pub(super) async fn buy(cast: &Cast<'_>) -> Result<Told> {
    let bought = cast.as_agent.express_from_ledger(cast.small, Asset::Usdc, "the story's purchase").await?;
    ensure!(bought.body == SMALL_REPORT.as_bytes(), "something else was delivered");
    let left = free(cast).await?;
    ensure!(left == units(DEPOSIT.checked_sub(SMALL_PRICE).context("the deposit is too small")?)?, "{left} USDC are left");
    Ok(Told {
        amount: Some(SMALL_PRICE),
        payer: Some("agent's balance"),
        payee: Some("seller's balance"),
        ..Told::that(format!("{left} USDC left, no transaction"))
    })
}

/// Held, batched, paid through the router, completed when the chain cannot undo it any more.
pub(super) async fn withdraw(cast: &Cast<'_>) -> Result<Told> {
    let amount = free(cast).await?;
    let had = cast.balance(cast.wallet).await?;
    let withdrawal = cast.as_agent.withdraw(&Withdraw { amount, to_address: None }, "the story's withdrawal").await?;
    let wanted = had.checked_add(Usdc::from_base_units(amount.units())).context("more USDC than there is")?;
    let paid = async {
        while cast.balance(cast.wallet).await? != wanted {
            tokio::time::sleep(PAYOUT_POLL).await;
        }
        // What a chain in use does by itself.
        cast.stack.provider().anvil_mine(Some(indexer::Config::FINALITY_BLOCKS + 1), None).await?;
        loop {
            let now = cast.as_agent.withdrawal(withdrawal.id).await?;
            if now.status == WithdrawalStatus::Completed {
                return anyhow::Ok(now);
            }
            tokio::time::sleep(PAYOUT_POLL).await;
        }
    };
    let done = tokio::time::timeout(PAYOUT_TIMEOUT, paid).await.context("the withdrawal never arrives")??;
    let transaction = done.transaction_hash.context("the withdrawal has no transaction")?;
    let amount = Usdc::from_base_units(amount.units());
    Ok(Told::paid("market's custody", "agent's wallet", amount, transaction, "paid in a batch, final on chain"))
}

async fn free(cast: &Cast<'_>) -> Result<Amount> {
    let wallet = cast.as_agent.wallet().await?;
    let balance = wallet.balances.iter().find(|balance| balance.asset == Asset::Usdc);
    Ok(balance.context("the market has no balance of USDC")?.free)
}

fn units(usdc: Usdc) -> Result<Amount> {
    Amount::from_units(usdc.base_units()).context("more than the ledger holds")
}
