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
        let bare = Self { name: "hyper alone, the same body", address, process };
        let nginx = Self::nginx(directory).await?;
        if nginx.is_none() {
            eprintln!("nginx is not there (Debian: nginx-light), so reading stands beside hyper alone");
        }
        Ok(nginx.into_iter().chain([bare]).collect())
    }

    /// At its best with a file: from the kernel's memory to the socket.
    async fn nginx(directory: &Path) -> Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let at = directory.display();
        let user = if nix::unistd::Uid::effective().is_root() { "user root;" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {at}/{name};"));
        let config = format!(
            "daemon off; {user} worker_processes auto; pid {at}/nginx.pid; error_log stderr crit; events {{ worker_connections 1024; }}
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=16;
                 types {{ application/json json; }} {} server {{ listen {address}; root {at}; }} }}",
            temporary.join(" ")
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new(program);
        command.arg("-e").arg("stderr").arg("-p").arg(directory).arg("-c").arg(&file).stdin(Stdio::null());
        let nginx = Self { name: "nginx, the same body", address, process: command.spawn()? };
        for _ in 0..100 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(Some(nginx));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::bail!("nginx does not answer")
    }
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
