//! What the tests of one process share: a server with a migrated database to copy, and the state of a chain that is set up.

use std::sync::LazyLock;

use tokio::{
    runtime::{Builder, Runtime},
    sync::OnceCell,
};

use crate::{Chain, Database, Error, Postgres, chain::State, stack::migrate};

pub(crate) struct Shared {
    pub(crate) postgres: Postgres,
    pub(crate) template: Database,
    pub(crate) state: State,
}

/// Each test has a runtime that ends with it; what is shared must not end with the first.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).thread_name("stack").enable_all().build().expect("a thread can be made")
});
static SHARED: OnceCell<Shared> = OnceCell::const_new();

pub(crate) async fn get() -> Result<&'static Shared, Error> {
    SHARED.get_or_try_init(|| async { RUNTIME.spawn(start()).await.expect("starting does not panic") }).await
}

async fn start() -> Result<Shared, Error> {
    let chain = async {
        let chain = Chain::start(&Default::default()).await?;
        let state = chain.state().await?;
        chain.stop().await;
        Ok::<_, Error>(state)
    };
    let database = async {
        let postgres = Postgres::start(None).await?;
        let template = postgres.create("template_of_tests", None).await?;
        migrate(&template.url).await?;
        Ok::<_, Error>((postgres, template))
    };
    let (state, (postgres, template)) = tokio::try_join!(chain, database)?;
    Ok(Shared { postgres, template, state })
}
