//! `florin dev`: the whole product with one command, and nothing of it left behind.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::cli::{Running, florin, root};

#[test]
fn once_plays_the_story_and_leaves_nothing_running() {
    let played = florin(&["dev", "--once"]).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
    for expected in [
        "2 of 3 owners signed",
        "402, signed, 200",
        "credited at once",
        "paid in a batch",
        "(SpendingLimitExceeded)",
        "Difference: 0",
    ] {
        assert!(said.contains(expected), "{expected:?} not in:\n{said}");
    }
    let database = said.lines().find_map(|line| line.split("host=").nth(1)).unwrap().split('&').next().unwrap().to_owned();
    gone(&database);
}

#[test]
fn a_killed_stack_takes_its_processes_with_it() {
    let mut command = florin(&["dev", "--no-story"]);
    let running = Running::start(command.current_dir(root()), "host=", false);
    let database = running.announced.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    // Dropping it is a kill -9.
    drop(running);
    gone(&database);
}

/// Waits until the directory is gone, and with it every process that names it.
fn gone(directory: &str) {
    let begun = Instant::now();
    loop {
        let listed = Command::new("ps").args(["-axww", "-o", "args="]).output().unwrap();
        let left = String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains(directory)).count();
        if left == 0 && !std::path::Path::new(directory).exists() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{left} processes of {directory} are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}
