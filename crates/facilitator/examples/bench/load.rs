//! A closed loop of requests over connections that stay open, and what it measured. The same for every facilitator, and cheap: what the load
//! costs the machine is taken from whoever is measured.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// What one run showed.
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    /// Of the answers that said yes, ascending.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) failures: usize,
    /// What the first answer said that did not say yes.
    pub(crate) first_failure: Option<String>,
}

impl Run {
    /// Answers that said yes, in a second.
    pub(crate) fn rate(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from(self.latencies.len() as u128 * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// The latency that `percent` of 100 do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// One connection's way of asking.
pub(crate) trait Caller: Send + 'static {
    /// The answer to the request of this number, head and body.
    fn call(&mut self, index: usize) -> impl Future<Output = Result<Vec<u8>>> + Send;
}

/// Makes `count` requests in all. Each caller waits for an answer before it asks again; an answer with the text `yes` in it succeeds.
pub(crate) async fn run<C: Caller>(callers: Vec<C>, count: usize, limit: Duration, yes: &'static str) -> Result<Run> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for mut caller in callers {
        let next = next.clone();
        tasks.spawn(async move {
            let (mut latencies, mut failures) = (Vec::new(), Vec::new());
            while started.elapsed() < limit {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                let asked = Instant::now();
                let answer = caller.call(index).await?;
                let latency = asked.elapsed();
                if answer.windows(yes.len()).any(|part| part == yes.as_bytes()) {
                    latencies.push(latency);
                } else {
                    failures.push(String::from_utf8_lossy(&answer).chars().take(600).collect());
                }
            }
            anyhow::Ok((latencies, failures))
        });
    }
    let mut run = Run { elapsed: Duration::ZERO, latencies: Vec::new(), failures: 0, first_failure: None };
    while let Some(done) = tasks.join_next().await {
        let (latencies, failures): (Vec<Duration>, Vec<String>) = done??;
        run.latencies.extend(latencies);
        run.failures += failures.len();
        run.first_failure = run.first_failure.or(failures.into_iter().next());
    }
    run.elapsed = started.elapsed();
    run.latencies.sort_unstable();
    Ok(run)
}

/// Posts bodies, each once.
pub(crate) struct Poster {
    connection: Connection,
    path: String,
    bodies: Arc<Vec<Vec<u8>>>,
}

impl Poster {
    pub(crate) async fn connect(address: SocketAddr, path: &str, bodies: &Arc<Vec<Vec<u8>>>) -> Result<Self> {
        Ok(Self { connection: Connection::open(address).await?, path: path.to_owned(), bodies: bodies.clone() })
    }
}

impl Caller for Poster {
    async fn call(&mut self, index: usize) -> Result<Vec<u8>> {
        let body = self.bodies.get(index).context("a body for each request")?;
        self.connection.request(&format!("POST {}", self.path), "content-type: application/json\r\n", body).await
    }
}

/// As much of HTTP/1.1 as a facilitator needs.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// The answer, head and body.
    pub(crate) async fn request(&mut self, what: &str, headers: &str, body: &[u8]) -> Result<Vec<u8>> {
        let head = format!("{what} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.buffer.clear();
        self.buffer.extend_from_slice(head.as_bytes());
        self.buffer.extend_from_slice(body);
        self.stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without a length")?.trim().parse()?;
            if self.buffer.len() >= end + 4 + length {
                return Ok(std::mem::take(&mut self.buffer));
            }
        }
    }
}
