use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt, future, future::BoxFuture};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{error, warn};

use crate::{
    Config, Error,
    api::{self, Slot},
    chains::{self, Preset, Rules},
    db, deployment,
    feed::Bell,
    metrics::Counters,
    node::Node,
    sync::{self, Context},
    verify,
    webhooks::{self, Guard},
};

/// Waits between attempts to start a chain.
const START_WAIT_MIN: Duration = Duration::from_secs(1);
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// Mirrors the chain, and those of [`Config::more_chains`], and answers queries until `shutdown`.
///
/// Of several instances on one database one writes; the others answer queries and take over when it ends.
///
/// # Errors
/// At once when the configuration cannot be used, or no chain can be started; later when a chain contradicts a final block. Of several chains the
/// others go on then, and `/health` names the one that stopped. One of several whose node or database does not answer is started when it does.
pub async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let guard = Guard { loopback: config.webhook_loopback };
    let settings = config.clone();
    let configs = chains::all(config)?;
    let slots: Arc<[Arc<Slot>]> = configs.iter().map(|config| Arc::new(Slot::new(config.chain_id))).collect();
    let started = future::join_all(configs.iter().map(|config| Mirror::start(config.clone(), guard))).await;
    if let Some(refused) = refusal(&started) {
        return Err(started.into_iter().filter_map(Result::err).nth(refused).expect("it was counted"));
    }
    let mut mirrors = Vec::new();
    for ((config, slot), mirror) in configs.into_iter().zip(slots.iter()).zip(started) {
        if let Ok(mirror) = &mirror {
            admit(&slots, slot, mirror)?;
        }
        mirrors.push((config, slot.clone(), mirror));
    }
    let stop = shutdown.child_token();
    let router = api::router(api::ApiState::new(slots.to_vec(), stop.clone(), guard, &settings));

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
        let run = mirrors.into_iter().map(async |(config, slot, mirror)| {
            match keep_starting(config, guard, &slots, &slot, mirror, &stop).await? {
                Some(mirror) => mirror.run(stop.clone()).await,
                None => Ok(()),
            }
        });
        let outcomes = future::join_all(run).await;
        stop.cancel();
        outcomes.into_iter().collect::<Result<(), _>>()
    };
    let (served, mirrored) = tokio::join!(served, mirrored);
    mirrored.and(served)
}

/// Which of the failures ends everything, if one does: one that only the operator can mend, or any when nothing could be started.
fn refusal(started: &[Result<Mirror, Error>]) -> Option<usize> {
    let failures = || started.iter().filter_map(|outcome| outcome.as_ref().err());
    let nothing = started.iter().all(Result::is_err).then_some(0);
    failures().position(|error| !error.may_pass()).or(nothing)
}

/// Serves a chain that was started, unless it is another's.
fn admit(slots: &[Arc<Slot>], slot: &Slot, mirror: &Mirror) -> Result<(), Error> {
    if slots.iter().any(|other| other.started().is_some_and(|other| other.id == mirror.chain.id)) {
        return Err(Error::ChainTwice(mirror.chain.id));
    }
    slot.start(mirror.chain.clone());
    Ok(())
}

/// Starts a chain that could not be started, until it can be or `stop`.
async fn keep_starting(
    config: Config,
    guard: Guard,
    slots: &[Arc<Slot>],
    slot: &Slot,
    mut mirror: Result<Mirror, Error>,
    stop: &CancellationToken,
) -> Result<Option<Mirror>, Error> {
    let mut wait = START_WAIT_MIN;
    loop {
        let error = match mirror {
            Ok(mirror) => return Ok(Some(mirror)),
            Err(error) => error,
        };
        slot.failed(&error);
        if !error.may_pass() {
            error!(chain = slot.name(), %error, "the chain cannot be started");
            return Err(error);
        }
        warn!(chain = slot.name(), %error, ?wait, "the chain could not be started, trying again");
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(START_WAIT_MAX);
        mirror = Mirror::start(config.clone(), guard).await.and_then(|mirror| admit(slots, slot, &mirror).map(|()| mirror));
    }
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
        let node = Node::new(&config, counters.clone());
        let chain_id = chain_id(&config, &node).await?;
        let is_dev = node.is_dev().await;
        if is_dev && config.block_seconds.is_none() && Preset::of(chain_id).is_some_and(|preset| preset.block_seconds > 0) {
            warn!(
                chain_id,
                "the node says that it is one for development: a chain that stands still will not be noticed (--block-seconds)"
            );
        }
        let rules = Rules::of(&config, chain_id, is_dev);
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
            targets.registry,
            &config,
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
