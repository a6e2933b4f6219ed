//! A Redis server of our own, for what shares a store over Redis.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::{
    Error,
    guarded::{self, Guarded},
    tools,
};

const START_TIMEOUT_SECONDS: u64 = 20;
/// How much of what the server said is kept for an error.
const SAID_BYTES_MAX: u64 = 4_096;

/// A running Redis server that keeps nothing on disk. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    process: Guarded,
    url: String,
}

impl Redis {
    /// Starts a server that listens on a Unix socket in a private directory only, and waits until it does.
    ///
    /// # Errors
    /// [`Error::NoRedis`], or what the server said.
    pub async fn start() -> Result<Self, Error> {
        guarded::clean_up_after_the_dead();
        let program = tools::redis()?;
        let directory = guarded::directory("redis", None)?;
        let path = directory.path().display().to_string();
        let socket = format!("{path}/socket");
        let arguments = ["--port", "0", "--unixsocket", &socket, "--dir", &path, "--save", "", "--appendonly", "no"];
        let (process, output) = Guarded::start(&program, &arguments, directory, None, Signal::SIGTERM)?;
        let mut lines = BufReader::new(output.stdout.take(SAID_BYTES_MAX)).lines();
        let mut said = String::new();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("eady to accept connections") {
                    return true;
                }
                said.push_str(&line);
                said.push('\n');
            }
            false
        };
        match tokio::time::timeout(Duration::from_secs(START_TIMEOUT_SECONDS), ready).await {
            Ok(true) => {
                // Drains what it prints from here on.
                let mut rest = lines.into_inner().into_inner().into_inner();
                tokio::spawn(async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await });
                Ok(Self { process, url: format!("redis+unix://{socket}") })
            }
            Ok(false) => Err(Error::Redis { said: said.trim().into() }),
            Err(_) => Err(Error::Redis { said: "it is silent".into() }),
        }
    }

    /// What a client connects to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}
