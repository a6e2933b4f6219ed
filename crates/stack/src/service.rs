//! A service of ours, running in this process on a socket of its own.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use crate::Error;

const READY_TIMEOUT_SECONDS: u64 = 30;
const STOP_TIMEOUT_SECONDS: u64 = 10;
const ASK_INTERVAL_MS: u64 = 5;
const ANSWER_TIMEOUT_SECONDS: u64 = 5;

/// A running service. It ends when the token it was started with is cancelled; dropping it aborts it.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    url: Url,
    task: JoinHandle<Result<(), Error>>,
}

/// A socket that is taken before the service starts, so that its address is known and cannot be lost to another.
pub(crate) async fn listen(port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let bind = async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok::<_, io::Error>((listener, address))
    };
    bind.await.map_err(|_| Error::PortInUse { port })
}

impl Service {
    /// Starts `serve` and waits until it answers `GET /health`, or says why it does not.
    pub(crate) async fn start<F, E>(name: &'static str, address: SocketAddr, serve: F) -> Result<Self, Error>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let url = Url::parse(&format!("http://{address}/")).expect("a socket address makes a URL");
        let task = tokio::spawn(async move { serve.await.map_err(|source| Error::Service { name, source: Box::new(source) }) });
        let mut service = Self { name, url, task };
        service.wait_until_ready().await?;
        Ok(service)
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let (name, health) = (self.name, self.url.join("health").expect("a relative path joins"));
        tokio::select! {
            ended = &mut self.task => Err(why(name, ended)),
            answered = tokio::time::timeout(Duration::from_secs(READY_TIMEOUT_SECONDS), healthy(health)) => {
                answered.map_err(|_| Error::NotReady { name, seconds: READY_TIMEOUT_SECONDS })
            }
        }
    }

    /// Waits until it has finished what it was doing; its token must be cancelled.
    pub(crate) async fn stopped(mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(STOP_TIMEOUT_SECONDS), &mut self.task).await;
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(other) => tracing::warn!(service = self.name, error = %why(self.name, other), "ended badly"),
            Err(_) => tracing::warn!(service = self.name, "did not finish in time and was dropped"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn why(name: &'static str, ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::Ended { name },
        Ok(Err(error)) => error,
        Err(panicked) => Error::Service { name, source: Box::new(panicked) },
    }
}

async fn healthy(url: Url) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(ANSWER_TIMEOUT_SECONDS)).build();
    let client = client.expect("the settings of the client are valid");
    loop {
        if client.get(url.clone()).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(ASK_INTERVAL_MS)).await;
    }
}
