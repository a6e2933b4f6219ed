//! Schemathesis asks what the description of the API allows, and what it does not, and compares every answer with the description.

use std::fmt::Write;

use serde_json::Value;
use tokio::process::Command;

use crate::openapi::Filled;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/openapi/bin/schemathesis");

/// What is asked about has to be there; accounts and blocks always are.
fn settings(filled: &Filled) -> String {
    let mut text = "[parameters]\n\"path.chain\" = \"chain\"\n".to_owned();
    for (path, methods) in filled.document["paths"].as_object().unwrap() {
        let mut fixed = Vec::new();
        for parameter in methods["get"]["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let of_object =
                parameter["in"] == "path" && name != "chain" && !path.contains("/accounts/") && !path.contains("/blocks/");
            if of_object {
                fixed.push(format!("\"path.{name}\" = {:?}", filled.value(path, name)));
            }
            // Where a page of another mirror continues is refused, whatever it looks like.
            if name == "cursor" && parameter["schema"]["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^[0-9]")) {
                fixed.push("\"query.cursor\" = \"0-0-0-0\"".to_owned());
            }
        }
        let _ = write!(text, "\n[[operations]]\ninclude-path = {path:?}\nparameters = {{ {} }}\n", fixed.join(", "));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_can_be_asked_breaks_it_or_is_answered_otherwise_than_described() {
    let mut filled = Filled::start().await;
    // Streams do not end, and webhooks take a token.
    let paths = filled.document["paths"].as_object_mut().unwrap();
    paths.retain(|path, _| !path.contains("/stream") && !path.contains("/webhooks"));
    let folder = tempfile::tempdir().unwrap();
    let (document, config) = (folder.path().join("openapi.json"), folder.path().join("schemathesis.toml"));
    std::fs::write(&document, Value::to_string(&filled.document)).unwrap();
    std::fs::write(&config, settings(&filled)).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--config-file").arg(&config).arg("run").arg(&document).args(["--url", &filled.indexer.url]);
    command.args(["--phases", "coverage,fuzzing", "--max-examples", "8", "--seed", "402", "--no-color"]);
    let output = command.current_dir(folder.path()).kill_on_drop(true).output().await.expect("run scripts/setup");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    filled.indexer.stop().await;
}
