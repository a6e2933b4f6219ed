//! Making a database cluster: `initdb` once per machine and server version, a copy of its result from then on.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use nix::unistd::{Uid, User};

use crate::{Error, postgres::as_user};

const FLAGS: [&str; 9] = ["-A", "trust", "-U", "florin", "-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1"];

/// Makes a cluster in `data`, owned by `user` if one is named. True when it is a copy.
///
/// `programs` is where `user` can read what is in `folder`.
pub(crate) fn make(folder: &Path, programs: &Path, data: &Path, user: Option<&User>) -> Result<bool, Error> {
    let kept = cache(&folder.join("initdb"));
    if kept.as_ref().is_some_and(|kept| copy(kept, data, user)) {
        return Ok(true);
    }
    let _ = fs::remove_dir_all(data);
    initdb(programs, data, user)?;
    if let Some(kept) = kept {
        keep(data, &kept);
    }
    Ok(false)
}

/// Forgets the kept cluster: a server did not start from a copy of it.
pub(crate) fn forget(folder: &Path) {
    if let Some(kept) = cache(&folder.join("initdb")) {
        let _ = fs::remove_dir_all(kept);
    }
}

fn initdb(folder: &Path, data: &Path, user: Option<&User>) -> Result<(), Error> {
    let program = folder.join("initdb");
    let mut command = Command::new(&program);
    command.args(FLAGS).arg("-D").arg(data).current_dir("/");
    let made = as_user(&mut command, user).output().map_err(|source| Error::Start { program, source })?;
    if made.status.success() {
        Ok(())
    } else {
        Err(Error::Postgres { said: String::from_utf8_lossy(&made.stderr).trim().into() })
    }
}

/// Where the cluster of this very `initdb` is kept: in our own cache directory, which nobody else can write.
fn cache(initdb: &Path) -> Option<PathBuf> {
    let program = initdb.canonicalize().ok()?;
    let found = fs::metadata(&program).ok()?;
    let changed = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    let key = alloy::primitives::keccak256(format!("{}\n{}\n{changed}\n{FLAGS:?}", program.display(), found.size()));
    let folder = home.join("florin");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let ours = fs::metadata(&folder).is_ok_and(|found| found.uid() == Uid::effective().as_raw() && found.mode() & 0o022 == 0);
    ours.then(|| folder.join(format!("postgres-{}", &key.to_string()[2..18])))
}

fn copy(from: &Path, to: &Path, user: Option<&User>) -> bool {
    let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let owned = |user: &User| ran(Command::new("chown").args(["-R", &format!("{}:{}", user.uid, user.gid), "--"]).arg(to));
    from.is_dir() && ran(Command::new("cp").args(["-Rp", "--"]).args([from, to])) && user.is_none_or(owned)
}

/// Keeps a copy for the next start. Losing a race against another start, or the disk being full, only costs time.
fn keep(data: &Path, kept: &Path) {
    let attempt = || -> io::Result<()> {
        let folder = kept.parent().ok_or(io::ErrorKind::NotFound)?;
        let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(folder)?;
        let copied = partial.path().join("data");
        if copy(data, &copied, None) { fs::rename(copied, kept) } else { Err(io::ErrorKind::Other.into()) }
    };
    if let Err(error) = attempt() {
        tracing::debug!(%error, "the database cluster could not be kept for the next start");
    }
}
