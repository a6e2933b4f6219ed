//! `ENDPOINTS.md`: every endpoint of the reference beside ours, and for each of ours the test that exercises it.

mod reference;
mod tested;

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use crate::harness::World;
use reference::{FIRST, Group, LATER, Row};
use tested::{BESIDES, TESTED, Tested};

/// The first complete version has 81 routes, the health of the cache, three paths for models, one WebSocket and its pages.
const FIRST_ENDPOINTS: usize = 87;
const HEAD: &str = "# Endpoints\n\n\
    Beside those of the reference, a cached-computation marketplace of the field. Paths are below `/api/v1` unless it says otherwise. Written\n\
    from the OpenAPI document and the tests by the test `endpoints::`; write it anew with\n\
    `FLORIN_WRITE_README=1 cargo test -p market endpoints::`.\n";
const TABLE: &str = "| there | here | what differs, and why | tested by |\n|---|---|---|---|\n";

impl Tested {
    fn name(&self) -> String {
        format!("`{}::{}`", self.module, self.test)
    }

    /// Whether there is such a test, and it, or a function beside the tests, asks for it so.
    fn is_there(&self) -> bool {
        let path = format!("{}/tests/it/{}.rs", env!("CARGO_MANIFEST_DIR"), self.module);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut parts = text.split("#[tokio::test");
        let (mut found, mut asks) = (false, parts.next().is_some_and(|before| before.contains(self.by)));
        for part in parts {
            let (test, after) = part.split_once("\n}\n").unwrap_or((part, ""));
            let is_it = test.contains(&format!("async fn {}(", self.test));
            found |= is_it;
            asks |= after.contains(self.by) || (is_it && test.contains(self.by));
        }
        found && asks
    }
}

/// Names of operations as the table has them, with what the document says of each.
fn described(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, methods)| {
        let path = path.strip_prefix("/api/v1").unwrap();
        methods.as_object().unwrap().iter().map(move |(method, of)| (format!("{} {path}", method.to_uppercase()), of.clone()))
    });
    operations.collect()
}

fn tested(operation: &str) -> Option<&'static Tested> {
    TESTED.iter().chain(BESIDES).find(|tested| tested.operation == operation)
}

fn code(name: &str) -> String {
    format!("`{}`", name.replace('|', "\\|"))
}

/// What names of operations are, and the tests of all of them, each once.
fn cells<'a>(operations: impl IntoIterator<Item = &'a str>) -> (String, String) {
    let (mut names, mut tests): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for operation in operations {
        names.push(code(operation));
        let test = tested(operation).map(Tested::name).unwrap_or_default();
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    (names.join(", "), tests.join(", "))
}

fn write_groups(text: &mut String, groups: &[Group]) {
    for (name, rows) in groups {
        write!(text, "\n### {name}\n\n{TABLE}").unwrap();
        for Row { there, here, differs } in *rows {
            let (names, tests) = cells(here.iter().copied());
            let names = if names.is_empty() { "nowhere".into() } else { names };
            writeln!(text, "| {} | {names} | {differs} | {tests} |", code(there)).unwrap();
        }
    }
}

/// The first part of an operation's path.
fn part(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

/// Ours that the reference has nothing like, by the first part of their paths.
fn write_more(text: &mut String) {
    let named: BTreeSet<&str> =
        [FIRST, LATER].concat().iter().flat_map(|(_, rows)| *rows).flat_map(|row| row.here).copied().collect();
    let more: Vec<&str> = TESTED.iter().map(|tested| tested.operation).filter(|name| !named.contains(name)).collect();
    let mut parts: Vec<&str> = more.iter().map(|name| part(name)).collect();
    parts.sort_unstable();
    parts.dedup();
    text.push_str("| of | operations | tested by |\n|---|---|---|\n");
    for of in parts {
        let (names, tests) = cells(more.iter().copied().filter(|name| part(name) == of));
        writeln!(text, "| {of} | {names} | {tests} |").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_of_the_reference_has_its_row_and_every_operation_its_test() {
    assert_eq!(
        FIRST.iter().map(|(_, rows)| rows.len()).sum::<usize>(),
        FIRST_ENDPOINTS,
        "an endpoint of the reference is missing"
    );
    let world = World::new().await;
    let market = world.market().await;
    let document: Value = reqwest::get(market.url.join("openapi.json").unwrap()).await.unwrap().json().await.unwrap();
    let described = described(&document);
    let is_described = |name: &str| described.iter().any(|(described, _)| described == name);
    let mut wrong = Vec::new();
    for (name, of) in &described {
        if !TESTED.iter().any(|tested| tested.operation == name) {
            wrong.push(format!("{name} ({}) is in no row of TESTED: name the test that exercises it", of["summary"]));
        }
    }
    for tested in TESTED.iter().chain(BESIDES) {
        let is_operation = is_described(tested.operation);
        if is_operation == BESIDES.iter().any(|besides| besides.operation == tested.operation) {
            wrong.push(format!("{} is no operation of the OpenAPI document, or one of it after all", tested.operation));
        }
        if !tested.is_there() {
            wrong.push(format!("{} is not asked for by {:?} in {}", tested.operation, tested.by, tested.name()));
        }
    }
    for (_, rows) in FIRST.iter().chain(LATER) {
        for Row { there, here, differs } in *rows {
            let unknown = here.iter().filter(|name| tested(name).is_none());
            wrong.extend(unknown.map(|name| format!("{name}, which {there} is here, is nothing that is served")));
            if here.is_empty() && differs.is_empty() {
                wrong.push(format!("{there} is not here, and nothing says why"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let mut text = HEAD.to_owned();
    write!(text, "\n## What its first complete version serves: {FIRST_ENDPOINTS} endpoints\n").unwrap();
    write_groups(&mut text, FIRST);
    text.push_str("\n## What its later versions add about keys, sessions, roles, compliance and figures\n");
    write_groups(&mut text, LATER);
    write!(text, "\n## What there is besides, of {} operations\n\n", described.len()).unwrap();
    write_more(&mut text);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ENDPOINTS.md");
    if std::env::var_os("FLORIN_WRITE_README").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "ENDPOINTS.md is not what is served and tested");
}
