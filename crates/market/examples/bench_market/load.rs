//! A closed loop of requests over connections that stay open, in a process of its own. It is lean: what the load costs the machine is taken from
//! whoever is measured. It says what it saw as a line of JSON.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    task::JoinSet,
};

/// Threads of the load.
const THREADS: usize = 2;

/// What is asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    pub(crate) what: What,
    /// Each answer must be this.
    pub(crate) body: Vec<u8>,
}

/// The request of each number.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum What {
    /// Every buyer buys every listing once, with the listing as the key: `first` on.
    Buy { tokens: Vec<String>, listings: Vec<String>, first: usize },
    /// Paths with the tokens of who may read them, round and round.
    Read(Vec<(String, String)>),
}

impl What {
    fn write(&self, index: usize, to: &mut Vec<u8>) {
        let text = match self {
            Self::Buy { tokens, listings, first } => {
                let number = first + index;
                let (buyer, listing) = (number % tokens.len(), (number + number / tokens.len()) % listings.len());
                format!(
                    "POST /api/v1/express/{0}?payment_method=token HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {1}\r\n\
                     idempotency-key: {0}\r\ncontent-length: 0\r\n\r\n",
                    listings[listing], tokens[buyer]
                )
            }
            Self::Read(paths) => {
                let (path, token) = &paths[index % paths.len()];
                format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n")
            }
        };
        to.extend_from_slice(text.as_bytes());
    }
}

/// What one run showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Right answers.
    pub(crate) count: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Seconds of processor time that the load itself took in each second.
    pub(crate) load_cores: f64,
}

impl Plan {
    /// Runs it in a process of its own.
    pub(crate) async fn run(&self, directory: &Path) -> Result<Seen> {
        let file = directory.join("plan.json");
        std::fs::write(&file, serde_json::to_vec(self)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.arg("load").arg(&file).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "the load broke off: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The process of the load.
pub(crate) fn main(plan: PathBuf) -> Result<()> {
    let plan: Arc<Plan> = Arc::new(serde_json::from_slice(&std::fs::read(plan)?)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let seen = runtime.block_on(run(plan))?;
    #[allow(clippy::print_stdout)]
    {
        println!("{}", serde_json::to_string(&seen)?);
    }
    Ok(())
}

async fn run(plan: Arc<Plan>) -> Result<Seen> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        let stream = TcpStream::connect(plan.address).await?;
        stream.set_nodelay(true)?;
        connections.push(Connection { stream, buffer: Vec::with_capacity(32_768) });
    }
    let (next, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let (plan, next) = (plan.clone(), next.clone());
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while begun.elapsed() < plan.duration {
                let asked = Instant::now();
                connection.ask(&plan, next.fetch_add(1, Ordering::Relaxed)).await?;
                waits.push(asked.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits: Vec<Duration> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut seen = summary(&mut waits, seconds);
    seen.load_cores = processor_seconds(std::process::id())? / seconds;
    Ok(seen)
}

/// Of all the answers that were waited for.
pub(crate) fn summary(waits: &mut [Duration], seconds: f64) -> Seen {
    waits.sort_unstable();
    let last = waits.len().saturating_sub(1);
    let at = |share: usize| waits.get(last * share / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1_000.0);
    let per_second = waits.len() as f64 / seconds;
    Seen { count: waits.len(), per_second, p50_ms: at(50), p99_ms: at(99), load_cores: 0.0 }
}

/// What a process has used, in all its threads.
fn processor_seconds(id: u32) -> Result<f64> {
    /// Linux tells it in these, whatever the machine.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // After the name, which may contain anything: the 12th and 13th.
    let (_, fields) = text.rsplit_once(") ").context("proc(5) describes it")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_A_SECOND)
}

/// As much of HTTP/1.1 as is needed.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, plan: &Plan, index: usize) -> Result<()> {
        self.buffer.clear();
        plan.what.write(index, &mut self.buffer);
        self.stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        let (mut body_at, mut len) = (0, 0);
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
            if body_at == 0 {
                let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                body_at = end + 4;
                let head = std::str::from_utf8(&self.buffer[..end])?;
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                len = found.context("an answer without a length")?.1.parse()?;
            }
            if self.buffer.len() >= body_at + len {
                break;
            }
        }
        let whole = self.buffer.starts_with(b"HTTP/1.1 200 ") && self.buffer[body_at..] == plan.body;
        ensure!(whole, "not what was asked for: {}", String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(1_500)]));
        Ok(())
    }
}
