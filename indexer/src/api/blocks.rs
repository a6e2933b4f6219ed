use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    input::{Cursor, Limit, Page},
    problem::Problem,
    snapshot::Snapshot,
};
use crate::read::{self, Block, BlockFilter, Order, Position, Span};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("/blocks", "blocks", "Mirrored blocks, with how each was proved to be complete", list),
        Operation::new("/blocks/{number}", "block", "A mirrored block", show),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// This block and later ones.
    from_block: Option<u64>,
    /// This block and earlier ones.
    to_block: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Newest first (desc) or oldest first (asc).
    #[serde(default)]
    order: Order,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn list(snapshot: Snapshot, f: Filter) -> Result<Page<Block>, Problem> {
    let filter = BlockFilter {
        blocks: Span { from: f.from_block, to: f.to_block },
        after: f.cursor.map(|cursor| cursor.position.block),
        order: f.order,
        limit: f.limit.rows_to_read(),
    };
    let rows = read::blocks(&mut *snapshot.conn().await, &filter).await?;
    snapshot.page(rows, f.limit, f.cursor, None, |block| Position::start_of(block.number)).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Block number.
    number: u64,
}

async fn show(snapshot: Snapshot, Which { number }: Which) -> Result<Block, Problem> {
    let block = read::block(&mut *snapshot.conn().await, number).await?;
    block.ok_or_else(|| Problem::not_mirrored(format!("Block {number} is not mirrored")))
}
