//! What `kill -9` leaves behind: nothing.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use stack::{Options, Stack};

use crate::processes::{processes_naming, until};

const HOLD: &str = "FLORIN_TEST_HOLD_A_STACK";

/// Not a test by itself: the process that the test below kills.
#[allow(clippy::print_stdout)]
#[tokio::test]
async fn a_stack_is_held_when_asked_for() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let stack = Stack::start(Options::default()).await.unwrap();
    let chain = stack.chain().directory().display().to_string();
    let database = stack.database_url().split_once("host=").unwrap().1.split('&').next().unwrap().to_owned();
    println!("\nheld {chain} {database}");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn after_kill_9_no_process_and_no_directory_of_the_stack_is_left() {
    let mut held = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_stack_is_held_when_asked_for", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(held.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("held ")).unwrap();
    let directories: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
    assert!(directories.iter().all(|directory| processes_naming(directory) > 0), "{line}");
    held.kill().unwrap();
    held.wait().unwrap();
    for directory in &directories {
        until("the processes are gone", || processes_naming(directory) == 0).await;
        until("the directory is gone", || !std::path::Path::new(directory).exists()).await;
    }
}
