//! A server of our own that speaks S3, for what keeps content in an object store.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use url::Url;

use crate::{
    Error,
    guarded::{self, Guarded},
    tools,
};

const START_TIMEOUT_SECONDS: u64 = 60;
/// How much of what the server said is kept for an error.
const SAID_BYTES_MAX: u64 = 4_096;

/// A running S3 server (moto) that keeps everything in memory. Dropping it stops it.
#[derive(Debug)]
pub struct S3 {
    process: Guarded,
    endpoint: Url,
}

impl S3 {
    /// Starts a server on a free port with one empty bucket, named `bucket`.
    ///
    /// # Errors
    /// [`Error::NoS3`], or what the server said.
    pub async fn start() -> Result<Self, Error> {
        guarded::clean_up_after_the_dead();
        let program = tools::s3()?;
        let directory = guarded::directory("s3", None)?;
        let (process, output) = Guarded::start(&program, &["-H", "127.0.0.1", "-p", "0"], directory, None, Signal::SIGTERM)?;
        let mut lines = BufReader::new(output.stderr.take(SAID_BYTES_MAX)).lines();
        let mut said = String::new();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, url)) = line.split_once("Running on ") {
                    return url.trim().parse::<Url>().ok();
                }
                said.push_str(&line);
                said.push('\n');
            }
            None
        };
        let ready = tokio::time::timeout(Duration::from_secs(START_TIMEOUT_SECONDS), ready).await;
        let endpoint = match ready {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return Err(Error::S3 { said: said.trim().into() }),
            Err(_) => return Err(Error::S3 { said: "it is silent".into() }),
        };
        // Drains what it prints from here on.
        let mut rest = lines.into_inner().into_inner().into_inner();
        tokio::spawn(async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await });
        let made = reqwest::Client::new().put(endpoint.join("bucket").unwrap_or_else(|_| endpoint.clone())).send().await;
        let refused = made.and_then(reqwest::Response::error_for_status).err();
        refused.map_or(Ok(Self { process, endpoint }), |error| Err(Error::S3 { said: error.to_string() }))
    }

    /// The bucket, as the market's `--content` has it.
    pub fn bucket(&self) -> String {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        format!("s3://bucket/market?endpoint={endpoint}&allow_http=true&access_key_id=any&secret_access_key=any&region=us-east-1")
    }

    /// What objects there are: their keys.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        let failed = |error: reqwest::Error| Error::S3 { said: error.to_string() };
        let url = format!("{}bucket?list-type=2", self.endpoint);
        let list = reqwest::get(url).await.map_err(failed)?.text().await.map_err(failed)?;
        let keys = list.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        Ok(keys.map(|(key, _)| key.to_owned()).collect())
    }

    /// Stops it and waits until it has ended. What it kept is gone.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}
