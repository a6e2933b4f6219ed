//! What other instances changed is not remembered here: the database tells of each listing that changed, and of credentials that ended. What is not
//! heard is forgotten a [`moment`](crate::moment) later all the same.

use std::time::Duration;

use alloy::primitives::B256;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::service::Market;

const LISTINGS: &str = "market_listings";
const CREDENTIALS: &str = "market_credentials";
/// After the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until `stop`.
pub(crate) async fn follow(market: Market, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = listen(&market).await {
                warn!(%error, "what other instances change is seen here some seconds later");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(listening).await;
}

/// Until the connection is lost.
async fn listen(market: &Market) -> sqlx::Result<()> {
    // On a connection of its own: none of the buyers' is taken for good.
    let own = PgPoolOptions::new().max_connections(1).connect_with((*market.pool.connect_options()).clone()).await?;
    let mut news = PgListener::connect_with(&own).await?;
    news.listen_all([LISTINGS, CREDENTIALS]).await?;
    // What changed before was not heard.
    market.offers.invalidate_all();
    market.auth.forget();
    while let Some(told) = news.try_recv().await? {
        if told.channel() == CREDENTIALS {
            market.auth.forget();
            continue;
        }
        let (listing, content) = told.payload().split_once(' ').unwrap_or_default();
        if let Ok(listing) = listing.parse::<Uuid>() {
            market.offers.invalidate(&listing).await;
        }
        if let Ok(content) = content.parse::<B256>() {
            market.contents.look_again(content).await;
        }
    }
    Ok(())
}
