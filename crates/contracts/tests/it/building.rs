use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use contracts::build::{BuildError, run};

const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A checkout with nothing to compile and a compiler that is this shell script.
fn checkout_with_solc(script: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in ["foundry.toml", "package.json"] {
        fs::copy(Path::new(CHECKOUT).join(file), root.path().join(file)).unwrap();
    }
    let solc = root.path().join("scripts/solc");
    fs::create_dir_all(solc.parent().unwrap()).unwrap();
    fs::write(&solc, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&solc, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

#[test]
fn another_compiler_than_the_pinned_one_is_refused_before_it_decides_an_address() {
    let root = checkout_with_solc("echo 'Version: 0.8.29+commit.ab55807c.Linux.g++'");
    let error = run(root.path(), true).unwrap_err();
    assert!(
        matches!(&error, BuildError::WrongSolc { expected, found, .. } if expected == "0.8.30" && found == "0.8.29"),
        "{error}"
    );
    assert!(error.to_string().contains("wrong solc"));
}

#[test]
fn a_compiler_that_does_not_run_says_what_is_missing() {
    let root = checkout_with_solc("echo 'env: node: No such file or directory, error' >&2; exit 127");
    let error = run(root.path(), true).unwrap_err().to_string();
    assert!(error.contains("node: No such file") && error.contains("scripts/setup"), "{error}");
    fs::remove_file(root.path().join("scripts/solc")).unwrap();
    let error = run(root.path(), true).unwrap_err();
    assert!(matches!(error, BuildError::NoSolc { .. }), "{error}");
}
