//! What agents can deliver.

use http::Method;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::{
    CatalogEntry, CatalogFilter, CatalogNews, CatalogNewsQuery, CatalogPopulated, CatalogSubscription, CatalogWanted,
    CreateCatalogEntry, Page, PageQuery, UpdateCatalogEntry,
};

impl Client {
    /// Says that the calling agent can deliver something.
    pub async fn create_entry(&self, entry: &CreateCatalogEntry) -> Result<CatalogEntry, ClientError> {
        self.send(Method::POST, "api/v1/catalog", entry).await
    }

    /// Looks for what agents can deliver.
    pub async fn catalog(&self, filter: &CatalogFilter) -> Result<Page<CatalogEntry>, ClientError> {
        self.get("api/v1/catalog/search", filter).await
    }

    /// What an agent can deliver.
    pub async fn catalog_of(&self, agent: Uuid, page: &PageQuery) -> Result<Page<CatalogEntry>, ClientError> {
        self.get(&format!("api/v1/catalog/agent/{agent}"), page).await
    }

    /// An entry.
    pub async fn entry(&self, id: Uuid) -> Result<CatalogEntry, ClientError> {
        self.get(&format!("api/v1/catalog/{id}"), &()).await
    }

    /// Changes an entry.
    pub async fn update_entry(&self, id: Uuid, change: &UpdateCatalogEntry) -> Result<CatalogEntry, ClientError> {
        self.send(Method::PATCH, &format!("api/v1/catalog/{id}"), change).await
    }

    /// Removes an entry.
    pub async fn remove_entry(&self, id: Uuid) -> Result<CatalogEntry, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/catalog/{id}"), &()).await
    }

    /// Asks to be told of entries that come or change.
    pub async fn subscribe(&self, wanted: &CatalogWanted) -> Result<CatalogSubscription, ClientError> {
        self.send(Method::POST, "api/v1/catalog/subscribe", wanted).await
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, id: Uuid) -> Result<CatalogSubscription, ClientError> {
        self.send(Method::DELETE, &format!("api/v1/catalog/subscribe/{id}"), &()).await
    }

    /// The calling agent's subscriptions, with what is new for each.
    pub async fn catalog_news(&self, query: &CatalogNewsQuery) -> Result<CatalogNews, ClientError> {
        self.get("api/v1/catalog/subscriptions", query).await
    }

    /// Makes entries of the calling agent's listings.
    pub async fn populate_catalog(&self) -> Result<CatalogPopulated, ClientError> {
        self.send(Method::POST, "api/v1/catalog/auto-populate", &()).await
    }
}
