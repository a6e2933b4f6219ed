use std::sync::Arc;

use alloy::{
    primitives::B256,
    providers::{Provider, RootProvider},
};
use futures::FutureExt;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

use crate::{
    Config, Error, api, db, deployment,
    metrics::Counters,
    node::{Endpoint, Node},
    sync::{self, Context},
};

/// Mirrors the chain and answers queries until `shutdown`.
///
/// Of several instances on one database one writes; the others answer queries and take over when it ends.
///
/// # Errors
/// At once when the node or the database cannot be used as configured; later when the chain contradicts a final block.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let counters = Arc::new(Counters::default());
    let node = Node::connect(&config.rpc_url, counters.clone()).await.map_err(|source| unreachable_node(&config, source))?;
    let chain_id = node.chain_id().await.map_err(|source| unreachable_node(&config, source))?;
    if let Some(expected) = config.chain_id.filter(|expected| *expected != chain_id) {
        return Err(Error::WrongChain { expected, actual: chain_id });
    }
    let targets = deployment::resolve(&config, chain_id)?;
    db::migrate(&config.database_url).await?;
    let pool = db::read_pool(&config.database_url).await?;

    let new_heads = Arc::new(Notify::new());
    let _subscription = node.pushes().map(|provider| AbortOnDropHandle::new(tokio::spawn(listen(provider, new_heads.clone()))));
    let router = api::router(api::ApiState { pool, usdc: targets.usdc, counters: counters.clone() });
    let context = Context { config, chain_id, targets, node, new_heads, counters };

    // Either half ending ends the other.
    let stop = shutdown.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let served = async {
        let addr = listener.local_addr().ok();
        let shutdown = stop.clone().cancelled_owned();
        let outcome = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
        stop.cancel();
        outcome.map_err(|source| Error::Http { addr, source })
    };
    let mirrored = async {
        let outcome = sync::run(context, stop.clone()).boxed().await;
        stop.cancel();
        outcome
    };
    let (served, mirrored) = tokio::join!(served, mirrored);
    mirrored.and(served)
}

fn unreachable_node(config: &Config, source: crate::node::Error) -> Error {
    Error::NodeUnreachable { url: Endpoint::new(&config.rpc_url).name().to_owned(), source }
}

/// Wakes the writer for every block that the node pushes. Whatever happens here, the writer also looks by itself.
async fn listen(provider: RootProvider, new_heads: Arc<Notify>) {
    loop {
        match provider.subscribe_blocks().await {
            Ok(mut heads) => {
                info!("the node pushes new blocks");
                while let Ok(head) = heads.recv().await {
                    let _: B256 = head.hash;
                    new_heads.notify_one();
                }
            }
            Err(_) => warn!("the node does not push new blocks, asking for them"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
}
