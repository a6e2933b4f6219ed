use std::{net::SocketAddr, sync::Arc};

use futures::{FutureExt, future, future::BoxFuture};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{error, warn};

use crate::{
    Config, Error, api,
    chains::{self, Rules},
    db, deployment,
    feed::Bell,
    metrics::Counters,
    node::Node,
    sync::{self, Context},
    verify,
    webhooks::{self, Guard},
};

/// Mirrors the chain, and those of [`Config::more_chains`], and answers queries until `shutdown`.
///
/// Of several instances on one database one writes; the others answer queries and take over when it ends.
///
/// # Errors
/// At once when a node or a database cannot be used as configured; later when a chain contradicts a final block. Of several chains the others
/// go on then, and `/health` names the one that stopped.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let guard = Guard { loopback: config.webhook_loopback };
    let settings = config.clone();
    let mut mirrors: Vec<Mirror> = Vec::new();
    for config in chains::all(config)? {
        let mirror = Mirror::start(config, guard).await?;
        if mirrors.iter().any(|other| other.chain.id == mirror.chain.id) {
            return Err(Error::ChainTwice(mirror.chain.id));
        }
        mirrors.push(mirror);
    }
    let stop = shutdown.child_token();
    let chains = mirrors.iter().map(|mirror| mirror.chain.clone()).collect();
    let router = api::router(api::ApiState::new(chains, stop.clone(), guard, &settings));

    // Either half ending ends the other.
    let _stop_on_return = stop.clone().drop_guard();
    let served = async {
        let addr = listener.local_addr().ok();
        let shutdown = stop.clone().cancelled_owned();
        let outcome = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(shutdown)
            .await;
        stop.cancel();
        outcome.map_err(|source| Error::Http { addr, source })
    };
    let mirrored = async {
        let outcomes = future::join_all(mirrors.into_iter().map(|mirror| mirror.run(stop.clone()))).await;
        stop.cancel();
        outcomes.into_iter().collect::<Result<(), _>>()
    };
    let (served, mirrored) = tokio::join!(served, mirrored);
    mirrored.and(served)
}

/// One chain: its writer, and what runs beside it.
struct Mirror {
    chain: Arc<api::Chain>,
    context: Context,
    _beside: Vec<AbortOnDropHandle<()>>,
}

impl Mirror {
    async fn start(config: Config, guard: Guard) -> Result<Self, Error> {
        let counters = Arc::new(Counters::default());
        let node = Node::new(&config.rpc_url, config.rpc_quorum, counters.clone());
        let chain_id = chain_id(&config, &node).await?;
        let rules = Rules::of(&config, chain_id, node.is_dev().await);
        let targets = deployment::resolve(&config, chain_id)?;
        db::migrate(&config.database_url).await?;
        let pool = db::read_pool(&config.database_url).await?;
        let writing = db::write_pool(&config.database_url).await?;
        let (bell, listening) = Bell::new(pool.clone());
        let chain = api::Chain::new(
            chains::name(chain_id),
            chain_id,
            pool.clone(),
            writing.clone(),
            targets.usdc,
            config.transfers,
            targets.contracts.iter().copied().collect(),
            counters.clone(),
            node.clone(),
            bell.clone(),
            rules,
        );
        let beside = |task: BoxFuture<'static, ()>| AbortOnDropHandle::new(tokio::spawn(task));
        let listen = |index| {
            let node = node.clone();
            beside(async move { node.listen(index).await }.boxed())
        };
        let mut tasks: Vec<_> = (0..config.rpc_url.len()).map(listen).collect();
        let looking = node.clone();
        tasks.push(beside(async move { looking.look_around().await }.boxed()));
        tasks.push(beside(listening.boxed()));
        tasks.push(beside(webhooks::run(config.database_url.clone(), writing, chain_id, guard, bell).boxed()));
        let reconciling = verify::keep_reconciling(pool, node.clone(), targets.clone(), config.clone(), counters.clone());
        tasks.push(beside(reconciling.boxed()));
        let context = Context { config, chain_id, finality_blocks: rules.finality_blocks, targets, node, counters };
        Ok(Self { chain: Arc::new(chain), context, _beside: tasks })
    }

    async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        // A task: awaited here, every answer of node and database would wake another thread.
        let outcome =
            AbortOnDropHandle::new(tokio::spawn(sync::run(self.context, stop))).await.expect("mirroring does not panic");
        if let Err(error) = &outcome {
            error!(chain = self.chain.name, %error, "the mirror stopped");
        }
        outcome
    }
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
