//! A database server: the one `DATABASE_URL` names, or one of our own that lives as long as we do.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use sqlx::{Connection, PgConnection};
use tokio::{io::AsyncReadExt, process::ChildStderr};

use crate::{
    Error, cluster,
    guarded::{self, Guarded},
    tools,
};

const START_TIMEOUT_SECONDS: u64 = 30;
const RETRY_INTERVAL_MS: u64 = 10;
/// More than a server that starts ever says.
const SAID_BYTES_MAX: u64 = 65_536;
/// Every service of every test of one process, with room to spare.
const CONNECTIONS_MAX: u32 = 400;

/// A database server.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Guarded>,
    /// The URL of a database on the server, without the database's name: what comes before and after it.
    url: (String, String),
}

/// One database on a server.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// What services take as `DATABASE_URL`.
    pub url: String,
}

impl Postgres {
    /// Uses the server of `url`, or starts one of the machine's or of the pinned npm package. A started server listens on a Unix socket in a
    /// private directory only, so there is no port to clash and nobody else can connect; its data goes with it.
    ///
    /// # Errors
    /// [`Error::NoPostgres`], [`Error::Database`], or what the server said.
    pub async fn start(url: Option<&str>) -> Result<Self, Error> {
        if let Some(url) = url {
            let server = Self { server: None, url: split(url) };
            PgConnection::connect(url).await?.close().await?;
            return Ok(server);
        }
        guarded::clean_up_after_the_dead();
        let user = unprivileged_user()?;
        let mut said = None;
        for folder in tools::postgres_folders() {
            match Self::start_own(&folder, user.as_ref()).await {
                Ok(server) => return Ok(server),
                Err(error) => said = said.or(Some(error)),
            }
        }
        Err(said.unwrap_or(Error::NoPostgres))
    }

    async fn start_own(folder: &Path, user: Option<&User>) -> Result<Self, Error> {
        let directory = guarded::directory("postgres", user)?;
        let (path, data) = (directory.path().to_owned(), directory.path().join("data"));
        let (programs, copied) = {
            let (folder, path, data, user) = (folder.to_owned(), path.clone(), data.clone(), user.cloned());
            let prepare = move || {
                let programs = readable(&folder, &path, user.as_ref())?;
                let copied = cluster::make(&folder, &programs, &data, user.as_ref())?;
                Ok::<_, Error>((programs, copied))
            };
            tokio::task::spawn_blocking(prepare).await.expect("preparing does not panic")?
        };
        let (path, data) = (path.display().to_string(), data.display().to_string());
        let connections = format!("max_connections={CONNECTIONS_MAX}");
        let sockets = format!("unix_socket_directories={path}");
        // The data lives as long as the process, so nothing is gained by waiting for the disk.
        let settings = [&*connections, &*sockets, "listen_addresses=", "fsync=off", "full_page_writes=off", "jit=off"];
        let mut arguments = vec!["-D", &data];
        settings.iter().for_each(|setting| arguments.extend(["-c", setting]));
        let (server, output) = Guarded::start(&programs.join("postgres"), &arguments, directory, user, Signal::SIGINT)?;
        let url = ("postgres://localhost/".to_owned(), format!("?host={path}&user=florin"));
        let postgres = Self { server: Some(server), url };
        let mut stderr = output.stderr;
        let ready = tokio::select! {
            ready = postgres.wait_until_ready() => ready,
            said = ended(&mut stderr) => Err(Error::Postgres { said }),
        };
        if ready.is_err() && copied {
            cluster::forget(folder);
        }
        ready?;
        tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        Ok(postgres)
    }

    async fn wait_until_ready(&self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match PgConnection::connect(&self.url_of("postgres")).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if begun.elapsed() > Duration::from_secs(START_TIMEOUT_SECONDS) => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(RETRY_INTERVAL_MS)).await,
            }
        }
    }

    /// Makes a database, empty or as a copy of another one to which nobody is connected.
    ///
    /// # Errors
    /// [`Error::Database`], also when the name is taken.
    pub async fn create(&self, name: &str, template: Option<&Database>) -> Result<Database, Error> {
        let mut connection = PgConnection::connect(&self.url_of("postgres")).await?;
        let template = template.map_or("template1", |template| &template.name);
        let statement = format!(r#"CREATE DATABASE "{}" TEMPLATE "{}""#, quoted(name), quoted(template));
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(Database { name: name.to_owned(), url: self.url_of(name) })
    }

    /// Removes a database and ends the connections to it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut connection = PgConnection::connect(&self.url_of("postgres")).await?;
        let statement = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, quoted(name));
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// True when the server is somebody else's and outlives us.
    pub fn is_external(&self) -> bool {
        self.server.is_none()
    }

    /// Stops a server of our own and waits until it has ended.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }

    fn url_of(&self, name: &str) -> String {
        format!("{}{name}{}", self.url.0, self.url.1)
    }
}

/// What a server that ends says.
async fn ended(stderr: &mut ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Splits a database's URL around the database's name.
fn split(url: &str) -> (String, String) {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let host = base.find("://").map_or(0, |at| at + 3);
    let path = base[host..].find('/').map_or(base.len(), |at| host + at);
    (format!("{}/", &base[..path]), query)
}

fn quoted(name: &str) -> String {
    name.replace('"', "\"\"")
}

/// Postgres refuses root: under root, the user to run it as.
fn unprivileged_user() -> Result<Option<User>, Error> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let known = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    known.map(Some).ok_or(Error::NoPostgresUser)
}

pub(crate) fn as_user<'a>(command: &'a mut Command, user: Option<&User>) -> &'a mut Command {
    use std::os::unix::process::CommandExt;
    match user {
        Some(user) => command.uid(user.uid.as_raw()).gid(user.gid.as_raw()),
        None => command,
    }
}

/// The server's programs where `user` may read them: a checkout below /root is closed to everybody else, so they are copied.
fn readable(folder: &Path, directory: &Path, user: Option<&User>) -> Result<PathBuf, Error> {
    let runs = |folder: &Path| {
        as_user(Command::new(folder.join("postgres")).arg("--version").current_dir("/"), user)
            .output()
            .is_ok_and(|o| o.status.success())
    };
    let (Some(_), false, Some(root)) = (user, runs(folder), folder.parent()) else { return Ok(folder.to_owned()) };
    let copy = directory.join("server");
    let copied = Command::new("cp").args(["-R", "--"]).args([root, &copy]).status();
    let opened = Command::new("chmod").args(["-R", "go+rX", "--"]).arg(&copy).status();
    match (copied, opened) {
        (Ok(first), Ok(second)) if first.success() && second.success() => Ok(copy.join("bin")),
        _ => Err(Error::Postgres { said: format!("{} cannot be read by an unprivileged user", folder.display()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_database_url_is_split_around_the_name_of_the_database() {
        for (url, other) in [
            ("postgres://me:pw@db.example:5432/prod?sslmode=require", "postgres://me:pw@db.example:5432/other?sslmode=require"),
            ("postgres://localhost", "postgres://localhost/other"),
            ("postgres://localhost/x?host=/run/pg&user=me", "postgres://localhost/other?host=/run/pg&user=me"),
        ] {
            let (before, after) = split(url);
            assert_eq!(format!("{before}other{after}"), other);
        }
    }
}
