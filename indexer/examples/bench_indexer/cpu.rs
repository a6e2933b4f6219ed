//! Who used how much CPU time. Unlike rates, it hardly depends on what else the machine does.

use std::{fs, time::Duration};

use sqlx::{Connection, PgConnection};
use stack::Postgres;

use crate::chain::Chain;

/// Linux counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of those who take part: the indexer, the node, the database server.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Used {
    pub(crate) indexer: Duration,
    pub(crate) node: Duration,
    pub(crate) database: Duration,
}

/// The node and the server whose time is counted.
pub(crate) struct Servers {
    node: u32,
    database: u32,
}

impl Servers {
    pub(crate) async fn find(chain: &Chain, postgres: &Postgres) -> Self {
        let node = fs::read_to_string(chain.anvil.directory().join("child.pid")).unwrap().trim().parse().unwrap();
        let mut conn = PgConnection::connect(&postgres.create("cpu", None).await.unwrap().url).await.unwrap();
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
        Self { node, database: Stat::of(backend.unsigned_abs()).unwrap().parent }
    }

    /// Since they started.
    pub(crate) fn used(&self) -> Used {
        Used { indexer: Duration::ZERO, node: of(self.node), database: of(self.database) }
    }
}

impl Used {
    pub(crate) fn since(self, before: Self) -> Self {
        // What a process that is just ending used is counted nowhere for a moment.
        let since = Duration::saturating_sub;
        Self { indexer: self.indexer, node: since(self.node, before.node), database: since(self.database, before.database) }
    }
}

/// Of a process, its children and those that have ended.
pub(crate) fn of(pid: u32) -> Duration {
    let children =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| Stat::of(entry.file_name().to_str()?.parse().ok()?));
    let living: u32 = children.filter(|child| child.parent == pid).map(|child| child.own).sum();
    let stat = Stat::of(pid).unwrap();
    TICK * (stat.own + stat.ended + living)
}

/// `/proc/<pid>/stat`, times in ticks.
struct Stat {
    parent: u32,
    own: u32,
    ended: u32,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Self { parent: number(1)?, own: number(11)? + number(12)?, ended: number(13)? + number(14)? })
    }
}
