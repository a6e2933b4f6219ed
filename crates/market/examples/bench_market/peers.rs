//! Whom we stand beside: pgbench with one sale a transaction; nginx, and the HTTP library that we use alone, with the same body.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use axum::http::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::load::Seen;

/// What nginx answers with.
pub(crate) const FILE: &str = "content.json";

/// Sales with the rows of `benches/schema.sql`, by `benches/sale.sql`.
pub(crate) async fn pgbench(database_url: &str, clients: usize, seconds: u64) -> Result<Seen> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let mut conn = sqlx::PgConnection::connect(database_url).await?;
    let schema = std::fs::read_to_string(benches.join("schema.sql"))?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(&mut conn).await?;
    let mut command = Command::new("pgbench");
    command.args([
        "--no-vacuum",
        "--protocol=prepared",
        "--jobs=2",
        &format!("--client={clients}"),
        &format!("--time={seconds}"),
    ]);
    command.arg(format!("--file={}", benches.join("sale.sql").display())).arg(database_url).kill_on_drop(true);
    let output = command.output().await.context("pgbench comes with Postgres (Debian: postgresql-contrib)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let figure = |name: &str| -> Result<f64> {
        let line =
            said.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("pgbench did not say {name}"))?;
        Ok(line.split_whitespace().next().context("a number")?.parse()?)
    };
    sqlx::raw_sql("DROP SCHEMA bench CASCADE").execute(&mut conn).await?;
    // It knows no percentiles.
    Ok(Seen { per_second: figure("tps = ")?, p50_ms: figure("latency average = ")?, ..Seen::default() })
}

/// Who answers everybody with the same bytes.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    process: Child,
    /// Where it keeps what it answers with, if that is not the folder of all.
    _kept: Option<TempDir>,
}

/// Killed, nginx would leave its workers behind.
impl Drop for Peer {
    fn drop(&mut self) {
        use nix::{sys::signal, unistd::Pid};
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok())
            && let Err(error) = signal::kill(Pid::from_raw(id), signal::Signal::SIGTERM)
        {
            eprintln!("{} still runs: {error}", self.name);
        }
    }
}

impl Peer {
    /// All that there are on this machine.
    pub(crate) async fn start(directory: &Path, body: &[u8]) -> Result<Vec<Self>> {
        let file = directory.join(FILE);
        std::fs::write(&file, body)?;
        let (process, address) = crate::start(&["bare".as_ref(), file.as_os_str()]).await?;
        let bare = Self { name: "hyper alone, the same body", address, process, _kept: None };
        let Some(program) = program() else {
            eprintln!("nginx is not there (Debian: nginx-light), so reading stands beside hyper alone");
            return Ok(vec![bare]);
        };
        Ok(vec![Self::nginx(&program, directory).await?, Self::nginx_cache(&program, directory).await?, bare])
    }

    /// At its best with a file: from the kernel's memory to the socket.
    async fn nginx(program: &Path, directory: &Path) -> Result<Self> {
        let address = free()?;
        let server = format!("server {{ listen {address}; root {}; }}", directory.display());
        let process = nginx(program, &directory.join("file"), &server)?;
        answers(address).await?;
        Ok(Self { name: "nginx, the same body from a file", address, process, _kept: None })
    }

    /// What stands before a service: its cache, which is in memory, before an origin that nothing is left for. It asks nobody whether who asks may
    /// have it, which the market does.
    async fn nginx_cache(program: &Path, directory: &Path) -> Result<Self> {
        let (address, origin) = (free()?, free()?);
        let memory = Path::new("/dev/shm");
        let kept = tempfile::tempdir_in(if memory.is_dir() { memory } else { directory })?;
        let servers = format!(
            "proxy_cache_path {} levels=1:2 keys_zone=kept:10m max_size=256m inactive=1d use_temp_path=off;
             server {{ listen {origin}; root {}; }}
             server {{ listen {address}; location / {{ proxy_pass http://{origin}; proxy_cache kept; proxy_cache_valid 200 1d; }} }}",
            kept.path().display(),
            directory.display()
        );
        let process = nginx(program, &directory.join("cached"), &servers)?;
        answers(address).await?;
        // From now on it answers by itself: what is in its folder is fresh for a day.
        reqwest::get(format!("http://{address}/{FILE}")).await?.error_for_status()?.bytes().await?;
        ensure!(std::fs::read_dir(kept.path())?.next().is_some(), "nginx keeps nothing in its cache");
        Ok(Self { name: "nginx, the same body from proxy_cache", address, process, _kept: Some(kept) })
    }
}

/// Starts it with these servers, and with a worker for each core.
fn nginx(program: &Path, at: &Path, servers: &str) -> Result<Child> {
    std::fs::create_dir_all(at)?;
    let here = at.display();
    let user = if nix::unistd::Uid::effective().is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {here}/{name};"));
    let config = format!(
        "daemon off; {user} worker_processes auto; pid {here}/nginx.pid; error_log stderr crit; events {{ worker_connections 1024; }}
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=16;
             types {{ application/json json; }} {} {servers} }}",
        temporary.join(" ")
    );
    let file = at.join("nginx.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new(program);
    Ok(command.arg("-e").arg("stderr").arg("-p").arg(at).arg("-c").arg(&file).stdin(Stdio::null()).spawn()?)
}

fn free() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn answers(address: SocketAddr) -> Result<()> {
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("nginx does not answer")
}

/// The market's way to the socket without the market: what HTTP costs by itself.
pub(crate) async fn bare(body: Vec<u8>) -> Result<()> {
    let body = Bytes::from(body);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[allow(clippy::print_stdout)]
    {
        println!("{}", listener.local_addr()?);
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let answer = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(body.clone())))));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// The machine's, or the one that scripts/bench unpacked.
fn program() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/nginx/usr/sbin/nginx");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join("nginx"));
    installed.chain([unpacked]).find(|program| program.is_file())
}
