//! Runs the executable as a person would.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// The executable, with none of this process's own settings.
pub(crate) fn florin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
    command.args(args).current_dir(std::env::temp_dir()).env_remove("DATABASE_URL");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLORIN_")) {
        command.env_remove(name);
    }
    command
}

/// A refusal: its exit code and what it said.
pub(crate) fn refusal(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().expect("the executable runs");
    (status.code().expect("it ended by itself"), String::from_utf8_lossy(&stderr).into_owned())
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

/// A child that is killed when the test is over.
pub(crate) struct Running {
    child: Child,
    /// What it announced when it was ready.
    pub(crate) announced: String,
}

impl Running {
    /// Starts `command` and reads its output (or its standard error) until a line contains `ready`.
    pub(crate) fn start(command: &mut Command, ready: &str, on_stderr: bool) -> Self {
        command.stdin(Stdio::piped());
        if on_stderr {
            command.stderr(Stdio::piped())
        } else {
            command.stdout(Stdio::piped())
        };
        let mut child = command.spawn().expect("the program starts");
        let announced = if on_stderr {
            first_line_with(child.stderr.take().expect("piped"), ready)
        } else {
            first_line_with(child.stdout.take().expect("piped"), ready)
        };
        let Some(announced) = announced else {
            let _ = child.kill();
            panic!("{command:?} ended without a line that contains {ready:?}");
        };
        Self { child, announced }
    }
}

/// Also keeps draining the rest, so that the child never blocks on a full pipe.
fn first_line_with(output: impl std::io::Read + Send + 'static, ready: &str) -> Option<String> {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let found = lines.by_ref().find(|line| line.contains(ready));
    std::thread::spawn(move || lines.for_each(drop));
    found
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
