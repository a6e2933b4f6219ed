use std::sync::Arc;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::warn;

use crate::{
    Config, Error, api, db, deployment,
    metrics::Counters,
    node::Node,
    sync::{self, Context},
    verify,
};

/// Mirrors the chain and answers queries until `shutdown`.
///
/// Of several instances on one database one writes; the others answer queries and take over when it ends.
///
/// # Errors
/// At once when the node or the database cannot be used as configured; later when the chain contradicts a final block.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let counters = Arc::new(Counters::default());
    let node = Node::new(&config.rpc_url, config.rpc_quorum, counters.clone());
    let chain_id = chain_id(&config, &node).await?;
    let targets = deployment::resolve(&config, chain_id)?;
    db::migrate(&config.database_url).await?;
    let pool = db::read_pool(&config.database_url).await?;

    let subscribe = |index| {
        let node = node.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { node.listen(index).await }))
    };
    let _subscriptions: Vec<_> = (0..config.rpc_url.len()).map(subscribe).collect();
    let chain = api::Chain::new(
        chain_id.to_string(),
        chain_id,
        pool.clone(),
        targets.usdc,
        config.transfers,
        targets.contracts.iter().copied().collect(),
        counters.clone(),
        node.clone(),
    );
    let router = api::router(api::ApiState::new(vec![Arc::new(chain)]));
    let _reconciling = AbortOnDropHandle::new(tokio::spawn(verify::keep_reconciling(
        pool.clone(),
        node.clone(),
        targets.clone(),
        config.clone(),
        counters.clone(),
    )));
    let looking = node.clone();
    let _look_around = AbortOnDropHandle::new(tokio::spawn(async move { looking.look_around().await }));
    let context = Context { config, chain_id, targets, node, counters };

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

/// The chain that the endpoints are on; those that do not answer yet are asked when they do.
pub(crate) async fn chain_id(config: &Config, node: &Node) -> Result<u64, Error> {
    let endpoints = config.rpc_url.len();
    if !(1..=endpoints).contains(&config.rpc_quorum) {
        return Err(Error::Quorum { quorum: config.rpc_quorum, endpoints });
    }
    let twice = (1..endpoints).find(|index| config.rpc_url[..*index].contains(&config.rpc_url[*index]));
    if let Some(twice) = twice {
        return Err(Error::EndpointTwice(node.endpoints().0[twice].name().to_owned()));
    }
    let (mut chain_id, mut unreachable) = (config.chain_id, None);
    let mut answered = false;
    for (url, answer) in node.chain_ids().await {
        let url = url.to_owned();
        match (answer, chain_id) {
            (Err(source), _) => {
                warn!(endpoint = url, error = %source, "an endpoint does not answer");
                unreachable.get_or_insert(Error::NodeUnreachable { url, source });
            }
            (Ok(actual), Some(expected)) if actual != expected => return Err(Error::WrongChain { url, expected, actual }),
            (Ok(actual), _) => {
                answered = true;
                chain_id = Some(actual);
            }
        }
    }
    match (answered, chain_id, unreachable) {
        (true, Some(chain_id), _) => {
            node.insist_on(chain_id);
            Ok(chain_id)
        }
        (.., Some(error)) => Err(error),
        _ => unreachable!("an endpoint answers or does not, and there is one"),
    }
}
