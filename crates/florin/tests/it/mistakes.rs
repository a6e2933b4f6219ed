//! What a person gets wrong, and what it says.

use std::net::TcpListener;

use stack::Stack;

use crate::cli::{florin, refusal, root};

const NOBODY: &str = "http://127.0.0.1:1";
const PAYWALL: [&str; 9] = [
    "paywall",
    "--upstream",
    NOBODY,
    "--price",
    "0.01",
    "--pay-to",
    "0x0000000000000000000000000000000000000001",
    "--facilitator",
    NOBODY,
];

#[test]
fn a_key_that_is_not_one_is_refused_and_not_shown() {
    let (code, said) = refusal(florin(&["pay", NOBODY, "--max", "1"]).env("FLORIN_KEY", "deadbeef"));
    assert_eq!(code, 2);
    assert!(said.contains("FLORIN_KEY") && said.contains("64 hex digits") && !said.contains("deadbeef"), "{said}");
    let (code, said) = refusal(&mut florin(&["pay", NOBODY, "--max", "1"]));
    assert_eq!(code, 1);
    assert!(said.contains("set FLORIN_KEY"), "{said}");
}

#[test]
fn a_key_is_no_argument() {
    let key = "01".repeat(32);
    let (code, said) = refusal(&mut florin(&["pay", NOBODY, "--max", "1", "--key-from-env", &key]));
    assert_eq!(code, 2);
    assert!(said.contains("set FLORIN_KEY instead") && !said.contains(&key), "{said}");
}

#[test]
fn one_mistake_is_told_once() {
    let (code, said) = refusal(&mut florin(&["facilitator"]));
    assert_eq!(code, 2);
    assert!(said.lines().filter(|line| line.starts_with("error: ")).all(|line| said.matches(line).count() == 1), "{said}");
}

#[test]
fn what_one_setting_needs_may_be_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = |config: &str, args: &[&str]| {
        std::fs::write(folder.path().join("florin.toml"), config).unwrap();
        refusal(florin(args).current_dir(folder.path()).env("FLORIN_KEY", "01".repeat(32)))
    };
    let wallet = "wallet = \"0x0000000000000000000000000000000000000001\"";
    let (code, said) = here(&format!("[pay]\n{wallet}"), &["pay", NOBODY, "--max", "1"]);
    assert_eq!(code, 1);
    assert!(said.contains("name its node with --rpc-url"), "the key alone must not pay instead of the wallet: {said}");
    let (_, said) = here(&format!("[pay]\nrpc-url = \"{NOBODY}\"\n{wallet}"), &["pay", NOBODY, "--max", "1"]);
    assert!(said.contains("is the address right and the node on its chain?"), "{said}");
    let facilitator = ["facilitator", "--rpc-url", NOBODY, "--listen", "127.0.0.1:0", "--signer-keys", &"01".repeat(32)];
    let (_, said) = here("[facilitator]\njournal = \"file:journal\"", &facilitator);
    assert!(said.contains("is it running and is --rpc-url right?"), "the journal is named: {said}");
    let (code, said) = here(&format!("[pay]\nreceipt = \"{}\"", folder.path().display()), &["pay", NOBODY, "--max", "1"]);
    assert_eq!(code, 1);
    assert!(said.contains("nothing was paid"), "{said}");
}

#[test]
fn every_mistake_of_a_command_is_told_at_once() {
    let (code, said) = refusal(&mut florin(&["paywall", "--price", "free", "--pay-to", "me", "--upstream", "ftp://x"]));
    assert_eq!(code, 2);
    for mistake in ["'free' for '--price", "'me' for '--pay-to", "'ftp://x' for '--upstream", "--facilitator <URL> is missing"] {
        assert!(said.contains(mistake), "{mistake:?} not in:\n{said}");
    }
}

#[test]
fn an_unknown_asset_is_named() {
    let (code, said) = refusal(florin(&PAYWALL).args(["--asset", "doge"]));
    assert_eq!(code, 1);
    assert!(said.contains("unknown asset \"doge\""), "{said}");
}

#[test]
fn a_facilitator_that_is_not_there_is_named() {
    let (code, said) = refusal(&mut florin(&PAYWALL));
    assert_eq!(code, 1);
    assert!(said.contains("the facilitator http://127.0.0.1:1/ does not answer"), "{said}");
}

#[test]
fn an_unreachable_database_is_named_by_every_service() {
    let url = "postgres://nobody@127.0.0.1:1/none";
    let key = "01".repeat(32);
    let content = std::env::temp_dir().display().to_string();
    let services: [&[&str]; 3] = [
        &["facilitator", "--signer-keys", &key, "--rpc-url", NOBODY],
        &["indexer", "--rpc-url", NOBODY],
        &["market", "--rpc-url", NOBODY, "--content", &content],
    ];
    for service in services {
        let (code, said) = refusal(florin(service).env("DATABASE_URL", url));
        assert_eq!(code, 1, "{said}");
        assert!(said.to_lowercase().contains("database"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_chain_no_node_no_gas_and_a_taken_port_are_told_apart() {
    let stack = Stack::for_test().await.unwrap();
    let (database, node, key) = (stack.database_url(), stack.rpc_url().to_string(), "01".repeat(32));
    let facilitator = |more: &[&str]| {
        let mut command = florin(&["facilitator", "--signer-keys", &key]);
        command.env("FLORIN_FACILITATOR_LISTEN", "127.0.0.1:0");
        refusal(command.args(more).env("DATABASE_URL", database))
    };
    let (code, said) = facilitator(&["--rpc-url", &node, "--chain-id", "1"]);
    assert_eq!(code, 1);
    assert!(said.contains("the node is on chain 84532 and --chain-id says 1"), "{said}");
    let (_, said) = facilitator(&["--rpc-url", NOBODY]);
    assert!(said.contains("is it running and is --rpc-url right?"), "{said}");
    let (_, said) = facilitator(&["--rpc-url", &node]);
    assert!(said.contains("without coin for gas on chain 84532"), "{said}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, said) = facilitator(&["--rpc-url", &node, "--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(said.contains("choose another with --listen"), "{said}");
}

#[test]
fn a_compiler_of_another_version_is_refused() {
    let folder = std::env::temp_dir().join(format!("florin-wrong-solc-{}", std::process::id()));
    let (scripts, contracts) = (folder.join("scripts"), folder.join("contracts"));
    std::fs::create_dir_all(&scripts).unwrap();
    let copied = std::process::Command::new("cp").arg("-R").arg(root().join("contracts")).arg(&contracts).status().unwrap();
    assert!(copied.success());
    for file in ["foundry.toml", "package.json"] {
        std::fs::copy(root().join(file), folder.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(root().join("node_modules"), folder.join("node_modules")).unwrap();
    std::fs::write(scripts.join("solc"), "#!/bin/sh\necho 'Version: 0.7.6+commit.7338295f.Linux.g++'\n").unwrap();
    let executable = std::process::Command::new("chmod").arg("+x").arg(scripts.join("solc")).status().unwrap();
    assert!(executable.success());
    let (code, said) = refusal(&mut florin(&["contracts", "build", "--check", "--root", folder.to_str().unwrap()]));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(code, 1);
    assert!(said.contains("0.7.6"), "{said}");
}
