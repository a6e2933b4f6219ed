//! What is looked for, and what fits best.

use http::Method;

use super::{Client, ClientError, json};
use crate::{
    AutoMatch, AutoMatched, DemandForMe, GapsQuery, Opportunity, OpportunityFilter, Page, PageQuery, PriceQuestion,
    PriceSuggestion, Signal, Trending, TrendingQuery, header,
};

impl Client {
    /// What is looked for most.
    pub async fn trending(&self, query: &TrendingQuery) -> Result<Page<Trending>, ClientError> {
        self.get("api/v1/trending", query).await
    }

    /// What is looked for and rarely found.
    pub async fn demand_gaps(&self, query: &GapsQuery) -> Result<Page<Signal>, ClientError> {
        self.get("api/v1/demand-gaps", query).await
    }

    /// What is looked for and not for sale.
    pub async fn opportunities(&self, filter: &OpportunityFilter) -> Result<Page<Opportunity>, ClientError> {
        self.get("api/v1/opportunities", filter).await
    }

    /// What is looked for of what the calling agent sells.
    pub async fn demand_for_me(&self, page: &PageQuery) -> Result<Page<DemandForMe>, ClientError> {
        self.get("api/v1/seller/demand-for-me", page).await
    }

    /// Finds what fits a need best, and buys it when told to, once for each key.
    pub async fn auto_match(&self, request: &AutoMatch, key: Option<&str>) -> Result<AutoMatched, ClientError> {
        let mut call = self.request(Method::POST, "api/v1/agents/auto-match").json(request);
        if let Some(key) = key {
            call = call.header(header::IDEMPOTENCY_KEY, key);
        }
        json(call).await
    }

    /// What a listing might cost.
    pub async fn price_suggest(&self, question: &PriceQuestion) -> Result<PriceSuggestion, ClientError> {
        self.send(Method::POST, "api/v1/seller/price-suggest", question).await
    }
}
