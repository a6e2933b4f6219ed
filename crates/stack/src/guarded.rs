//! Child processes that end with us, whatever ends us.
//!
//! Each child is started by a small shell in a process group of its own, so that Ctrl-C reaches us first. The shell reads a pipe whose other
//! end only we hold. When it closes, because we stopped the child or because we died, `kill -9` included, the shell stops the child and
//! removes its directory. What is left when the shell was killed as well is found and removed by the next start.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, chown},
};
use tempfile::TempDir;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::Error;

const PREFIX: &str = "florin-";
const CHILD_PID: &str = "child.pid";
const GUARD_PID: &str = "guard.pid";
/// How long a child may take to end before it is killed.
const STOP_TIMEOUT_SECONDS: u64 = 5;
/// A directory without a guard is of a start in progress while it is younger than this.
const STARTING_SECONDS: u64 = 60;

/// `$1` directory, `$2` signal that stops the child, `$3` seconds until it is killed, then the child's command line.
const SCRIPT: &str = r#"
dir=$1; signal=$2; patience=$3; shift 3
echo $$ >"$dir/guard.pid"
"$@" &
child=$!
echo "$child" >"$dir/child.pid"
exec >/dev/null 2>&1
while read -r _; do :; done
kill -s "$signal" "$child"
( sleep "$patience"; kill -s KILL "$child" ) &
killer=$!
wait "$child"
kill "$killer"
rm -rf -- "$dir"
"#;

/// A running child. Dropping it stops the child and removes its directory.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
    directory: PathBuf,
}

/// The child's output, to be read until it is ready.
pub(crate) struct Output {
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// A private directory for one child, owned by `user` if one is named.
pub(crate) fn directory(kind: &str, user: Option<&User>) -> Result<TempDir, Error> {
    let make = || -> io::Result<TempDir> {
        let directory = tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            chown(directory.path(), Some(user.uid), Some(user.gid))?;
        }
        Ok(directory)
    };
    make().map_err(|source| Error::Directory { source })
}

impl Guarded {
    /// Starts `program`, which will get `stop` when it is to end. The directory becomes the guard's to remove.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        directory: TempDir,
        user: Option<&User>,
        stop: Signal,
    ) -> Result<(Self, Output), Error> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "florin-guard"]).arg(directory.path());
        command.arg(stop.as_str().trim_start_matches("SIG")).arg(STOP_TIMEOUT_SECONDS.to_string());
        command.arg(program).args(arguments).current_dir(directory.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let failed = |source| Error::Start { program: program.to_owned(), source };
        let mut guard = command.spawn().map_err(failed)?;
        let taken = guard.stdout.take().zip(guard.stderr.take());
        let (stdout, stderr) = taken.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok((Self { guard, directory: directory.keep() }, Output { stdout, stderr }))
    }

    /// Stops the child and waits until it has ended and its directory is gone.
    pub(crate) async fn stop(mut self) {
        drop(self.guard.stdin.take());
        let _ = tokio::time::timeout(Duration::from_secs(STOP_TIMEOUT_SECONDS + 1), self.guard.wait()).await;
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Ends children and removes directories whose guard is dead: after a crash of the machine, or a `kill -9` of everything.
pub(crate) fn clean_up_after_the_dead() {
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for path in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)).map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() && is_dead(&path) {
            end_orphan(&path);
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_dead(directory: &Path) -> bool {
    if let Some(guard) = read_pid(&directory.join(GUARD_PID)) {
        return matches!(kill(guard, None), Err(nix::errno::Errno::ESRCH));
    }
    let modified = fs::metadata(directory).and_then(|found| found.modified()).unwrap_or_else(|_| SystemTime::now());
    modified.elapsed().is_ok_and(|age| age > Duration::from_secs(STARTING_SECONDS))
}

/// Kills the recorded child if it still is what it was: its working directory is no longer provable everywhere, its name is.
fn end_orphan(directory: &Path) {
    let Some(child) = read_pid(&directory.join(CHILD_PID)) else { return };
    let command = std::process::Command::new("ps").args(["-o", "args=", "-p", &child.to_string()]).output();
    let command = command.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if command.contains(&*directory.to_string_lossy()) {
        let _ = kill(child, Signal::SIGKILL);
    }
}

fn read_pid(file: &Path) -> Option<Pid> {
    fs::read_to_string(file).ok()?.trim().parse().ok().map(Pid::from_raw)
}
