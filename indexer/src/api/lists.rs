use alloy::primitives::{Address, B256, Bytes};
use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ApiState,
    input::{Limit, Page, Params, Part},
    problem::Problem,
};
use crate::read::{
    self, Agreement, AgreementFilter, AgreementStatus, Service, ServiceFilter, State, Subscription, SubscriptionFilter,
    SubscriptionStatus,
};

/// An object of a list, by its address or id.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    id: Bytes,
    #[serde(flatten)]
    state: State<T>,
}

impl<T> From<read::Named<T>> for Listed<T> {
    fn from(named: read::Named<T>) -> Self {
        Self { id: Bytes::copy_from_slice(named.id()), state: named.state }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgreementsOf {
    buyer: Option<Address>,
    seller: Option<Address>,
    status: Option<AgreementStatus>,
    cursor: Option<B256>,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/agreements`
pub(super) async fn agreements(
    extract::State(api): extract::State<ApiState>,
    Params(f): Params<AgreementsOf>,
) -> Result<Json<Page<Listed<Agreement>>>, Problem> {
    let limit = Page::<()>::rows_to_read(f.limit);
    let filter = AgreementFilter { buyer: f.buyer, seller: f.seller, status: f.status, after: f.cursor, limit };
    let rows = read::agreements(&mut *api.conn().await?, &filter).await?;
    Ok(Json(Page::by_key(rows, f.limit, Listed::from)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionsOf {
    payer: Option<Address>,
    payee: Option<Address>,
    status: Option<SubscriptionStatus>,
    cursor: Option<B256>,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/subscriptions`
pub(super) async fn subscriptions(
    extract::State(api): extract::State<ApiState>,
    Params(f): Params<SubscriptionsOf>,
) -> Result<Json<Page<Listed<Subscription>>>, Problem> {
    let limit = Page::<()>::rows_to_read(f.limit);
    let filter = SubscriptionFilter { payer: f.payer, payee: f.payee, status: f.status, after: f.cursor, limit };
    let rows = read::subscriptions(&mut *api.conn().await?, &filter).await?;
    Ok(Json(Page::by_key(rows, f.limit, Listed::from)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicesOf {
    owner: Option<Address>,
    payee: Option<Address>,
    cursor: Option<B256>,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/services`
pub(super) async fn services(
    extract::State(api): extract::State<ApiState>,
    Params(f): Params<ServicesOf>,
) -> Result<Json<Page<Listed<Service>>>, Problem> {
    let limit = Page::<()>::rows_to_read(f.limit);
    let filter = ServiceFilter { owner: f.owner, payee: f.payee, after: f.cursor, limit };
    let rows = read::services(&mut *api.conn().await?, &filter).await?;
    Ok(Json(Page::by_key(rows, f.limit, Listed::from)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WalletsOf {
    owner: Option<Address>,
    cursor: Option<Address>,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/wallets`
pub(super) async fn wallets(
    extract::State(api): extract::State<ApiState>,
    Params(f): Params<WalletsOf>,
) -> Result<Json<Page<Listed<Value>>>, Problem> {
    let rows = read::wallets(&mut *api.conn().await?, f.owner, f.cursor, Page::<()>::rows_to_read(f.limit)).await?;
    Ok(Json(Page::by_key(rows, f.limit, Listed::from)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProposalsOf {
    status: Option<String>,
    cursor: Option<B256>,
    #[serde(default)]
    limit: Limit,
}

/// `GET /api/v1/chain/treasuries/{address}/proposals`
pub(super) async fn proposals(
    extract::State(api): extract::State<ApiState>,
    Part(treasury): Part<Address>,
    Params(f): Params<ProposalsOf>,
) -> Result<Json<Page<Listed<Value>>>, Problem> {
    let mut conn = api.conn().await?;
    let rows = read::proposals(&mut conn, treasury, f.status.as_deref(), f.cursor, Page::<()>::rows_to_read(f.limit)).await?;
    Ok(Json(Page::by_key(rows, f.limit, Listed::from)))
}
