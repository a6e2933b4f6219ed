//! Money within the market, in and out.

use http::{Method, StatusCode};
use uuid::Uuid;

use super::{Client, ClientError, ToppedUp, json, json_of, required};
use crate::{Page, PageQuery, header, ledger};
impl Client {
    /// What the calling agent has in the ledger.
    pub async fn wallet(&self) -> Result<ledger::Wallet, ClientError> {
        self.get("api/v1/wallet/balance", &()).await
    }

    /// What the caller had in the ledger at a time that is over.
    pub async fn past_wallet(&self, at: &ledger::PastQuery) -> Result<ledger::PastWallet, ClientError> {
        self.get("api/v1/wallet/balance/past", at).await
    }

    /// How much there is of each asset.
    pub async fn supply(&self) -> Result<Vec<ledger::Supply>, ClientError> {
        self.get("api/v1/wallet/supply", &()).await
    }

    /// The calling agent's statement, newest first.
    pub async fn statement(&self, query: &ledger::StatementQuery) -> Result<Page<ledger::StatementLine>, ClientError> {
        self.get("api/v1/wallet/history", query).await
    }

    /// Sends money to another agent. When this fails midway, repeat it with the same key: it is never sent twice.
    pub async fn send_money(&self, request: &ledger::Send, key: &str) -> Result<ledger::Sent, ClientError> {
        json(self.request(Method::POST, "api/v1/wallet/transfer").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// The proof that a transfer of the calling agent is in the ledger. Have it verified: [`ledger::InclusionProof::verify`].
    pub async fn ledger_proof(&self, transfer: u64) -> Result<ledger::InclusionProof, ClientError> {
        self.get(&format!("api/v1/wallet/ledger/proof/{transfer}"), &()).await
    }

    /// Undoes a sale, a transfer or a bonus, with the role `finance`: once, however often it is asked for.
    pub async fn reverse(&self, transfer: u64, reason: &str) -> Result<ledger::Reversed, ClientError> {
        let request = ledger::Reverse { reason: reason.to_owned() };
        self.send(Method::POST, &format!("api/v1/admin/ledger/{transfer}/reverse"), &request).await
    }

    /// All that is sealed from a batch on, up to a limit, with the role `finance`. Prove it yourself: [`ledger::SealedRange::verify`].
    pub async fn sealed(&self, query: &ledger::VerifyQuery) -> Result<ledger::SealedRange, ClientError> {
        self.get("api/v1/admin/ledger/sealed", query).await
    }

    /// Has sealed batches proved again by the market.
    pub async fn verify_ledger(&self, query: &ledger::VerifyQuery) -> Result<ledger::Verified, ClientError> {
        self.get("api/v1/wallet/ledger/verify", query).await
    }

    /// Announces a deposit of the calling agent: the answer says where to send USDC, and what names it on chain.
    pub async fn open_deposit(&self, request: &ledger::OpenDeposit) -> Result<ledger::Deposit, ClientError> {
        self.send(Method::POST, "api/v1/wallet/deposits", request).await
    }

    /// Lists the calling agent's deposits, newest first.
    pub async fn deposits(&self, page: &PageQuery) -> Result<Page<ledger::Deposit>, ClientError> {
        self.get("api/v1/wallet/deposits", page).await
    }

    /// Reads a deposit of the calling agent.
    pub async fn deposit(&self, id: Uuid) -> Result<ledger::Deposit, ClientError> {
        self.get(&format!("api/v1/wallet/deposits/{id}"), &()).await
    }

    /// Pays USDC into the calling agent's balance in one request: without `payment` to learn what to sign (the value of `PAYMENT-REQUIRED`), with
    /// the value of `PAYMENT-SIGNATURE` to be credited. When this fails midway, repeat it with the same payment: it is never charged twice.
    pub async fn top_up(&self, amount: ledger::Amount, payment: Option<&str>) -> Result<ToppedUp, ClientError> {
        let mut request = self.request(Method::POST, &format!("api/v1/wallet/deposits/x402?amount={amount}"));
        if let Some(payment) = payment {
            request = request.header("payment-signature", payment);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::PAYMENT_REQUIRED {
            return required(&response).map(ToppedUp::PaymentRequired);
        }
        json_of(response).await.map(ToppedUp::Credited)
    }

    /// Asks for USDC to be paid out. When this fails midway, repeat it with the same key: it is never paid twice.
    pub async fn withdraw(&self, request: &ledger::Withdraw, key: &str) -> Result<ledger::Withdrawal, ClientError> {
        json(self.request(Method::POST, "api/v1/wallet/withdrawals").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Lists the calling agent's withdrawals, newest first.
    pub async fn withdrawals(&self, page: &PageQuery) -> Result<Page<ledger::Withdrawal>, ClientError> {
        self.get("api/v1/wallet/withdrawals", page).await
    }

    /// Reads a withdrawal of the calling agent.
    pub async fn withdrawal(&self, id: Uuid) -> Result<ledger::Withdrawal, ClientError> {
        self.get(&format!("api/v1/wallet/withdrawals/{id}"), &()).await
    }

    /// Takes a withdrawal back that is not being paid yet.
    pub async fn cancel_withdrawal(&self, id: Uuid) -> Result<ledger::Withdrawal, ClientError> {
        self.send(Method::POST, &format!("api/v1/wallet/withdrawals/{id}/cancel"), &()).await
    }

    /// Asks for ARD to be redeemed. When this fails midway, repeat it with the same key: it is never done twice.
    pub async fn redeem(&self, request: &ledger::Redeem, key: &str) -> Result<ledger::Redemption, ClientError> {
        json(self.request(Method::POST, "api/v1/redemptions").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Lists the caller's redemptions, newest first.
    pub async fn redemptions(&self, filter: &ledger::RedemptionFilter) -> Result<Page<ledger::Redemption>, ClientError> {
        self.get("api/v1/redemptions", filter).await
    }

    /// Reads a redemption of the caller.
    pub async fn redemption(&self, id: Uuid) -> Result<ledger::Redemption, ClientError> {
        self.get(&format!("api/v1/redemptions/{id}"), &()).await
    }

    /// Takes a redemption back that is not approved yet.
    pub async fn cancel_redemption(&self, id: Uuid) -> Result<ledger::Redemption, ClientError> {
        self.send(Method::POST, &format!("api/v1/redemptions/{id}/cancel"), &()).await
    }
}
