use api::{
    Code,
    ledger::{Reverse, Reversed},
};
use axum::{Json, extract::State};
use uuid::Uuid;

use crate::{
    auth::Caller,
    funds::must_be_anothers,
    input::{self, Number},
    ledger::{LedgerError, Order, Refused, Undoing, What},
    problem::Problem,
    service::Market,
};

const REASON_LEN_MAX_CHARS: usize = 500;

/// `POST /api/v1/admin/ledger/{transfer_id}/reverse`: once, however often it is asked for. What was sold has to be bought again to be read.
pub(crate) async fn reverse(
    State(market): State<Market>,
    caller: Caller,
    Number(transfer_id): Number,
    input::Json(Reverse { reason }): input::Json<Reverse>,
) -> Result<Json<Reversed>, Problem> {
    input::text("reason", &reason, 1..=REASON_LEN_MAX_CHARS)?;
    let by = caller.creator()?;
    let owners = sqlx::query_scalar("SELECT owner FROM entries JOIN accounts ON id = account WHERE transfer = $1");
    let owners: Vec<Uuid> = owners.bind(i64::try_from(transfer_id).unwrap_or(i64::MAX)).fetch_all(&market.pool).await?;
    must_be_anothers(&market, by, &owners).await?;
    let what = What::Reverse(transfer_id, Some(Undoing { by, reason }));
    let posted = market.ledger.submit(Order { key: None, what }).await.map_err(|error| match error {
        LedgerError::Refused(Refused::Insufficient { asset, has, needs, .. }) => {
            let detail = format!("{needs} {asset} would have to come back, and whoever got them has {has} left");
            Problem::new(Code::WrongState, detail)
        }
        LedgerError::Refused(Refused::NotReversible(_)) => Problem::new(Code::WrongState, error.to_string()),
        _ => error.into(),
    })?;
    Ok(Json(Reversed { transfer_id, reversal_id: posted.transfer, at: posted.at }))
}
