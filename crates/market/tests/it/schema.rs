//! `migrations/README.md` against the database.

use std::fmt::Write as _;

use sqlx::{Connection, PgConnection, Row};

use crate::harness::World;

const HEAD: &str = "# Tables of the market\n\n\
    Schema `market`, written by this crate alone. Generated from the comments in the database by the test `schema::`; write it anew with\n\
    `FLORIN_WRITE_README=1 cargo test -p market schema::`.\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_column_is_explained_and_the_readme_says_so() {
    let world = World::new().await;
    let mut conn = PgConnection::connect(world.stack.database_url()).await.unwrap();
    let columns = sqlx::query(
        "SELECT c.relname AS tab, coalesce(obj_description(c.oid), '') AS about, a.attname AS col, format_type(a.atttypid, a.atttypmod) AS type,
             a.attnotnull AS needed, coalesce(col_description(c.oid, a.attnum), '') AS comment
         FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'market'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
         ORDER BY c.relname, a.attnum",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let (mut text, mut table, mut bare) = (HEAD.to_owned(), String::new(), Vec::new());
    for row in &columns {
        let get = |column: &str| row.get::<String, _>(column);
        let (name, column, comment) = (get("tab"), get("col"), get("comment"));
        if name != table {
            write!(text, "\n## {name}\n\n{}\n\n| column | type | what |\n|---|---|---|\n", get("about")).unwrap();
            if get("about").is_empty() {
                bare.push(name.clone());
            }
        }
        if comment.is_empty() {
            bare.push(format!("{name}.{column}"));
        }
        let or_null = if row.get("needed") { "" } else { " or null" };
        writeln!(text, "| {column} | {}{or_null} | {} |", get("type"), comment.replace('|', "\\|")).unwrap();
        table = name;
    }
    assert!(bare.is_empty(), "without a comment: {bare:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/README.md");
    if std::env::var_os("FLORIN_WRITE_README").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "migrations/README.md is not what the database says");
}
