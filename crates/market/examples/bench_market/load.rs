//! A closed loop of requests over connections that stay open, in a process of its own. It is lean: what the load costs the machine is taken from
//! whoever is measured. It says what it saw as a line of JSON.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// Threads of the load.
const THREADS: usize = 2;

/// What stands before the body of an answer, at most.
const HEAD_LEN_MAX_BYTES: usize = 4_096;

/// What is asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests that come in a second, whether or not those before were answered; as many as can be without. A wait begins when its request comes.
    pub(crate) paced: Option<u32>,
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
    /// Writes them all down that can be, so that little is left to do while the load runs.
    fn prepare(&self) -> Requests<'_> {
        match self {
            Self::Buy { tokens, listings, first } => Requests::Buy { tokens, listings, first: *first },
            Self::Read(paths) => {
                let text = |(path, token): &(String, String)| {
                    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n").into_bytes()
                };
                Requests::Read(paths.iter().map(text).collect())
            }
        }
    }
}

enum Requests<'a> {
    Buy { tokens: &'a [String], listings: &'a [String], first: usize },
    Read(Vec<Vec<u8>>),
}

impl Requests<'_> {
    fn write(&self, index: usize, to: &mut Vec<u8>) {
        match self {
            Self::Buy { tokens, listings, first } => {
                let number = first + index;
                let (buyer, listing) = (number % tokens.len(), (number + number / tokens.len()) % listings.len());
                let text = format!(
                    "POST /api/v1/express/{0}?payment_method=token HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {1}\r\n\
                     idempotency-key: {0}\r\ncontent-length: 0\r\n\r\n",
                    listings[listing], tokens[buyer]
                );
                to.extend_from_slice(text.as_bytes());
            }
            Self::Read(requests) => to.extend_from_slice(&requests[index % requests.len()]),
        }
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

/// The process of the load: threads that share nothing but the number of the next request, each with its part of the connections.
pub(crate) fn main(plan: PathBuf) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let (requests, next, begun) = (plan.what.prepare(), AtomicUsize::new(0), Instant::now());
    let mut waits = std::thread::scope(|scope| {
        let part = |thread| (thread..plan.connections).step_by(THREADS).count();
        let (plan, requests, next) = (&plan, &requests, &next);
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || run(plan, requests, next, begun, part(thread)))).collect();
        let mut waits = Vec::new();
        for thread in threads {
            waits.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread of the load panicked"))??);
        }
        anyhow::Ok(waits)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut seen = summary(&mut waits, seconds);
    seen.load_cores = processor_seconds(std::process::id())? / seconds;
    #[allow(clippy::print_stdout)]
    {
        println!("{}", serde_json::to_string(&seen)?);
    }
    Ok(())
}

fn run(plan: &Plan, requests: &Requests<'_>, next: &AtomicUsize, begun: Instant, connections: usize) -> Result<Vec<Duration>> {
    let asking = async || {
        let stream = TcpStream::connect(plan.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream, buffer: Vec::with_capacity(32_768) };
        let mut waits = Vec::new();
        while begun.elapsed() < plan.duration {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let mut asked = Instant::now();
            if let Some(rate) = plan.paced {
                asked = begun + Duration::from_secs_f64(index as f64 / f64::from(rate));
                tokio::time::sleep_until(asked.into()).await;
            }
            connection.ask(requests, index, &plan.body).await?;
            waits.push(asked.elapsed());
        }
        anyhow::Ok(waits)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let waits = runtime.block_on(futures::future::try_join_all((0..connections).map(|_| asking())))?;
    Ok(waits.into_iter().flatten().collect())
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
    async fn ask(&mut self, requests: &Requests<'_>, index: usize, body: &[u8]) -> Result<()> {
        self.buffer.clear();
        requests.write(index, &mut self.buffer);
        self.stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        // What is asked for is known, and so is how the answer ends.
        let is_whole = |answer: &[u8]| answer.len() > body.len() && answer[..answer.len() - body.len()].ends_with(b"\r\n\r\n");
        while !is_whole(&self.buffer) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed after {}", self.said());
            }
            let refused = self.buffer.len() > 12 && !self.buffer.starts_with(b"HTTP/1.1 200 ");
            if refused || self.buffer.len() > body.len() + HEAD_LEN_MAX_BYTES {
                bail!("not what was asked for: {}", self.said());
            }
        }
        ensure!(self.buffer.ends_with(body), "not what was asked for: {}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(1_500)]).into_owned()
    }
}
