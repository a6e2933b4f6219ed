use alloy::primitives::{Address, B256};
use money::Usdc;
use sqlx::PgConnection;

use super::{EventFilter, Place, TransferFilter, events, transfers};
use crate::schema;

/// What became of an EIP-3009 authorization of USDC.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Authorization {
    /// Who signed it.
    #[schemars(with = "schema::Address")]
    pub authorizer: Address,
    /// Its nonce.
    #[schemars(with = "schema::Hash")]
    pub nonce: B256,
    /// What became of it.
    pub state: AuthorizationState,
    /// Used: who was paid.
    #[schemars(with = "Option<schema::Address>")]
    pub payee: Option<Address>,
    /// Used: how much.
    #[schemars(with = "Option<schema::Usdc>")]
    pub amount: Option<Usdc>,
    /// Where it was used or canceled.
    pub place: Option<Place>,
}

/// What became of an authorization: a nonce is used once or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationState {
    /// Neither used nor canceled since the mirror begins.
    Unused,
    /// It was carried out: the payee has the money.
    Used,
    /// Its signer took it back: it cannot be carried out any more.
    Canceled,
}

/// Reads what became of an authorization.
///
/// # Errors
/// When the database fails.
pub async fn authorization(conn: &mut PgConnection, authorizer: Address, nonce: B256) -> Result<Authorization, sqlx::Error> {
    let used = TransferFilter { sender: Some(authorizer), authorization_nonce: Some(nonce), limit: 1, ..Default::default() };
    let used = transfers(&mut *conn, &used).await?.pop();
    let (state, payee, amount, place) = match used {
        Some(transfer) => (AuthorizationState::Used, Some(transfer.to), Some(transfer.amount), Some(transfer.place)),
        None => {
            let (account, reference, name) = (Some(authorizer), Some(nonce), Some("AuthorizationCanceled".to_owned()));
            let canceled = EventFilter { account, reference, name, limit: 1, ..Default::default() };
            match events(conn, &canceled).await?.pop() {
                Some(event) => (AuthorizationState::Canceled, None, None, Some(event.place)),
                None => (AuthorizationState::Unused, None, None, None),
            }
        }
    };
    Ok(Authorization { authorizer, nonce, state, payee, amount, place })
}
