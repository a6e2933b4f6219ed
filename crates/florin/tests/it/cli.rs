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
    // Nothing of a test may stay in the user's own folder.
    let state = format!("{}/state-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    command.env("FLORIN_STATE", state);
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

/// A dev chain and a directory for files: where the contract commands are tried.
pub(crate) struct Desk {
    pub(crate) chain: stack::Chain,
    directory: PathBuf,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let chain = stack::Chain::start(&stack::AnvilOptions::default()).await.expect("the chain starts");
        let directory = chain.directory().join("desk");
        std::fs::create_dir(&directory).expect("the chain's directory is there");
        chain.deployment().save(&directory.join("deployment.json")).expect("the directory can be written");
        Self { chain, directory }
    }

    /// The address of a dev account.
    pub(crate) fn who(&self, account: usize) -> String {
        stack::Account::at(account).address.to_string()
    }

    /// `florin` with the key of a dev account and, unless `offline`, the chain's node.
    fn command(&self, account: usize, offline: bool, args: &[&str]) -> Output {
        let mut command = florin(args);
        command.current_dir(&self.directory).env("FLORIN_KEY", stack::Account::at(account).key());
        if !offline {
            command.env("FLORIN_RPC_URL", self.chain.rpc_url().as_str()).env("FLORIN_DEPLOYMENT", "deployment.json");
        }
        command.output().expect("the executable runs")
    }

    fn succeeded(output: &Output, args: &[&str]) -> String {
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "florin {}\n{said}{errors}", args.join(" "));
        said.into_owned()
    }

    /// What a command that succeeds prints on standard output.
    pub(crate) fn run(&self, account: usize, args: &[&str]) -> String {
        Self::succeeded(&self.command(account, false, args), args)
    }

    /// The same without a node.
    pub(crate) fn run_offline(&self, account: usize, args: &[&str]) -> String {
        Self::succeeded(&self.command(account, true, args), args)
    }

    /// The one JSON answer of a command that succeeds.
    pub(crate) fn json(&self, account: usize, args: &[&str]) -> serde_json::Value {
        let said = self.run(account, &[args, &["--json"]].concat());
        let last = said.lines().last().expect("it answers");
        serde_json::from_str(last).expect("it answers with JSON")
    }

    /// What a command that fails says.
    pub(crate) fn refused(&self, account: usize, args: &[&str]) -> String {
        let output = self.command(account, false, args);
        assert_eq!(output.status.code(), Some(1), "florin {} was not refused: {output:?}", args.join(" "));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Writes a file that commands find by its name.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the desk is there");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) async fn balance(&self, address: &str) -> String {
        let address = address.parse().expect("it is an address");
        self.chain.balance(address).await.expect("the chain answers").to_string()
    }

    pub(crate) async fn mint(&self, to: &str, usdc: u64) {
        let amount = money::Usdc::from_whole(usdc).expect("it is not too much");
        self.chain.mint(to.parse().expect("it is an address"), amount).await.expect("the chain mints");
    }

    /// Lets time pass on the chain.
    pub(crate) async fn wait(&self, seconds: u64) {
        use alloy::providers::ext::AnvilApi;
        self.chain.provider().anvil_increase_time(seconds).await.expect("the chain can");
        self.chain.provider().anvil_mine(Some(1), None).await.expect("the chain can");
    }
}
