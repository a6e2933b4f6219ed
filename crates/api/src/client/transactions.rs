//! Purchases in steps.

use alloy::primitives::B256;
use http::Method;
use uuid::Uuid;

use super::{Client, ClientError, Content, content, json};
use crate::{
    Award, Deliver, Evidence, GiveBack, Initiate, Page, SubmitEvidence, Transaction, TransactionCase, TransactionChange,
    TransactionCheck, TransactionFilter, VerifyDelivery, header, ledger::Amount,
};

impl Client {
    /// Starts a purchase in steps.
    pub async fn initiate(&self, request: &Initiate) -> Result<Transaction, ClientError> {
        self.send(Method::POST, "api/v1/transactions/initiate", request).await
    }

    /// The same; when this fails midway, repeat it with the same key: one purchase is started.
    pub async fn initiate_once(&self, request: &Initiate, key: &str) -> Result<Transaction, ClientError> {
        let asked = self.request(Method::POST, "api/v1/transactions/initiate").header(header::IDEMPOTENCY_KEY, key);
        json(asked.json(request)).await
    }

    /// Reads a purchase in steps.
    pub async fn transaction(&self, id: Uuid) -> Result<Transaction, ClientError> {
        self.get(&format!("api/v1/transactions/{id}"), &()).await
    }

    /// Lists the caller's purchases in steps.
    pub async fn transactions(&self, filter: &TransactionFilter) -> Result<Page<Transaction>, ClientError> {
        self.get("api/v1/transactions", filter).await
    }

    /// Has the ledger hold the price, as the buyer; through the escrow, looks whether the chain has it.
    pub async fn confirm_payment(&self, id: Uuid) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/confirm-payment"), &()).await
    }

    /// Delivers, as the seller.
    pub async fn deliver(&self, id: Uuid, delivery_hash: B256) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/deliver"), &Deliver { delivery_hash }).await
    }

    /// Reads what was delivered, as the buyer.
    pub async fn transaction_content(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/transactions/{id}/content")).send().await?).await
    }

    /// Accepts what was delivered, as the buyer.
    pub async fn verify_delivery(&self, id: Uuid, verified: &VerifyDelivery) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/verify"), verified).await
    }

    /// Disputes what was delivered, as the buyer.
    pub async fn dispute(&self, id: Uuid, why: &SubmitEvidence) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/dispute"), why).await
    }

    /// Says something for the caller's side.
    pub async fn submit_evidence(&self, id: Uuid, evidence: &SubmitEvidence) -> Result<Evidence, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/evidence"), evidence).await
    }

    /// Reads what both sides said, oldest first.
    pub async fn evidence(&self, id: Uuid) -> Result<Page<Evidence>, ClientError> {
        self.get(&format!("api/v1/transactions/{id}/evidence"), &()).await
    }

    /// Gives a purchase up that is not paid; asks to, as the buyer of a paid one; does, as its seller.
    pub async fn cancel_transaction(&self, id: Uuid) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/cancel"), &()).await
    }

    /// Gives money back, as the seller: so much in all.
    pub async fn give_back(&self, id: Uuid, amount: Amount) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/transactions/{id}/refund"), &GiveBack { amount }).await
    }

    /// What became of a purchase, oldest first.
    pub async fn transaction_history(&self, id: Uuid) -> Result<Page<TransactionChange>, ClientError> {
        self.get(&format!("api/v1/transactions/{id}/history"), &()).await
    }

    /// Lists everybody's purchases from the ledger of a status, disputed ones if none is named, with the role `arbiter`.
    pub async fn cases(&self, filter: &TransactionFilter) -> Result<Page<Transaction>, ClientError> {
        self.get("api/v1/admin/transactions", filter).await
    }

    /// All that an arbiter needs to know of a purchase, with the role `arbiter`.
    pub async fn case(&self, id: Uuid) -> Result<TransactionCase, ClientError> {
        self.get(&format!("api/v1/admin/transactions/{id}"), &()).await
    }

    /// Reads what is disputed, with the role `arbiter`.
    pub async fn case_content(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/admin/transactions/{id}/content")).send().await?).await
    }

    /// Divides what is held, with the role `arbiter`.
    pub async fn award(&self, id: Uuid, award: &Award) -> Result<Transaction, ClientError> {
        self.send(Method::POST, &format!("api/v1/admin/transactions/{id}/award"), award).await
    }

    /// Has purchases compared with the ledger and the mirror of the chain, with the role `finance`.
    pub async fn check_transactions(&self) -> Result<TransactionCheck, ClientError> {
        self.get("api/v1/admin/transactions/check", &()).await
    }
}
