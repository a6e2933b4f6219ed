//! Listings, and what is bought.

use http::{Method, StatusCode};
use money::Usdc;
use url::Url;
use uuid::Uuid;

use super::{Bought, Client, ClientError, Content, content, json, required};
use crate::{
    BulkList, BulkListed, CreateListing, Discover, Discovered, JudgeListing, Listing, ListingFilter, ListingVersion, Page,
    PageQuery, Purchase, PurchaseFilter, SuggestQuery, Suggestions, UpdateListing, header, ledger,
};
impl Client {
    /// Publishes a listing.
    pub async fn create_listing(&self, request: &CreateListing) -> Result<Listing, ClientError> {
        self.send(Method::POST, "api/v1/listings", request).await
    }

    /// The same with an `Idempotency-Key`: repeated because an answer was lost, it publishes nothing twice.
    pub async fn create_listing_once(&self, request: &CreateListing, key: &str) -> Result<Listing, ClientError> {
        json(self.request(Method::POST, "api/v1/listings").header(header::IDEMPOTENCY_KEY, key).json(request)).await
    }

    /// Uploads the content of a listing, up to 100 MiB, and makes it active.
    pub async fn upload(&self, id: Uuid, content_type: &str, body: impl Into<reqwest::Body>) -> Result<Listing, ClientError> {
        let request = self.request(Method::PUT, &format!("api/v1/listings/{id}/content"));
        json(request.header("content-type", content_type).body(body)).await
    }

    /// Reads a listing.
    pub async fn listing(&self, id: Uuid) -> Result<Listing, ClientError> {
        self.get(&format!("api/v1/listings/{id}"), &()).await
    }

    /// Lists listings.
    pub async fn listings(&self, filter: &ListingFilter) -> Result<Page<Listing>, ClientError> {
        self.get("api/v1/listings", filter).await
    }

    /// Changes a listing.
    pub async fn update_listing(&self, id: Uuid, change: &UpdateListing) -> Result<Listing, ClientError> {
        self.send(Method::PUT, &format!("api/v1/listings/{id}"), change).await
    }

    /// Lists every content that a listing ever had, newest first.
    pub async fn listing_versions(&self, id: Uuid, page: &PageQuery) -> Result<Page<ListingVersion>, ClientError> {
        self.get(&format!("api/v1/listings/{id}/versions"), page).await
    }

    /// Says how good a listing's content is, as a moderator.
    pub async fn judge_listing(&self, id: Uuid, judged: &JudgeListing) -> Result<Listing, ClientError> {
        self.send(Method::PUT, &format!("api/v1/admin/listings/{id}/quality"), judged).await
    }

    /// Publishes several listings, each for itself.
    pub async fn bulk_list(&self, listings: &BulkList) -> Result<BulkListed, ClientError> {
        self.send(Method::POST, "api/v1/seller/bulk-list", listings).await
    }

    /// The same with an `Idempotency-Key`: repeated because an answer was lost, it publishes nothing twice, and tries again what was refused.
    pub async fn bulk_list_once(&self, listings: &BulkList, key: &str) -> Result<BulkListed, ClientError> {
        json(self.request(Method::POST, "api/v1/seller/bulk-list").header(header::IDEMPOTENCY_KEY, key).json(listings)).await
    }

    /// Takes a listing from the market.
    pub async fn delist(&self, id: Uuid) -> Result<Listing, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/listings/{id}"), &()).await
    }

    /// Looks for listings.
    pub async fn discover(&self, search: &Discover) -> Result<Discovered, ClientError> {
        self.get("api/v1/discover", search).await
    }

    /// How a search that is being typed may go on.
    pub async fn suggestions(&self, q: &str) -> Result<Suggestions, ClientError> {
        self.get("api/v1/discover/suggestions", &SuggestQuery { q: q.into() }).await
    }

    /// Where a listing is bought in one request.
    pub fn express_url(&self, id: Uuid) -> Url {
        self.url(&format!("api/v1/express/{id}"))
    }

    /// Buys in one request: without `payment` to learn what to sign, with the value of `PAYMENT-SIGNATURE` to get the content.
    /// When this fails midway, repeat it with the same payment: it is never charged twice.
    pub async fn express(&self, id: Uuid, payment: Option<&str>) -> Result<Bought, ClientError> {
        let mut request = self.request(Method::GET, &format!("api/v1/express/{id}"));
        if let Some(payment) = payment {
            request = request.header("payment-signature", payment);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::PAYMENT_REQUIRED {
            return required(&response).map(Bought::PaymentRequired);
        }
        content(response).await.map(Bought::Content)
    }

    /// Buys in one request from the ledger, in USDC or ARD. When this fails midway, repeat it with the same key: it is never charged twice.
    pub async fn express_from_ledger(&self, id: Uuid, asset: ledger::Asset, key: &str) -> Result<Content, ClientError> {
        self.express_up_to(id, asset, None, key).await
    }

    /// The same, refused without a charge when the listing's price is above `max_price` by then.
    pub async fn express_up_to(
        &self,
        id: Uuid,
        asset: ledger::Asset,
        max_price: Option<Usdc>,
        key: &str,
    ) -> Result<Content, ClientError> {
        let method = if asset == ledger::Asset::Ard { "token" } else { "balance" };
        let max_price = max_price.map_or_else(String::new, |max| format!("&max_price={max}"));
        let request = self.request(Method::POST, &format!("api/v1/express/{id}?payment_method={method}{max_price}"));
        content(request.header(header::IDEMPOTENCY_KEY, key).send().await?).await
    }

    /// Lists the caller's purchases and sales.
    pub async fn purchases(&self, filter: &PurchaseFilter) -> Result<Page<Purchase>, ClientError> {
        self.get("api/v1/purchases", filter).await
    }

    /// Reads again what the caller bought.
    pub async fn purchase_content(&self, id: Uuid) -> Result<Content, ClientError> {
        content(self.request(Method::GET, &format!("api/v1/purchases/{id}/content")).send().await?).await
    }
}
