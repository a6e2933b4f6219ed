use sqlx::PgConnection;

use super::{
    Undo, int,
    tuples::{Array, RowType, Tuples},
};
use crate::{
    block::{Block, Event, Proof},
    decode,
};

/// Removes every raw row above the ancestor.
pub(super) async fn undo(conn: &mut PgConnection, undo: &Undo) -> Result<(), sqlx::Error> {
    const DELETES: [&str; 7] = [
        "DELETE FROM chain.blocks WHERE number > $1",
        "DELETE FROM chain.transactions WHERE block_number > $1",
        "DELETE FROM chain.contracts WHERE block_number > $1",
        "DELETE FROM chain.checked WHERE block_number > $1",
        "DELETE FROM chain.events WHERE block_number > $1",
        "DELETE FROM chain.event_keys WHERE block_number > $1",
        "DELETE FROM chain.transfers WHERE block_number > $1",
    ];
    for delete in DELETES {
        sqlx::query(delete).bind(int(undo.ancestor)).execute(&mut *conn).await?;
    }
    sqlx::query("INSERT INTO chain.reorgs (ancestor, old_tip, old_hash, new_tip, new_hash) VALUES ($1, $2, $3, $4, $5)")
        .bind(int(undo.ancestor))
        .bind(int(undo.old.number))
        .bind(undo.old.hash.as_slice())
        .bind(int(undo.new.number))
        .bind(undo.new.hash.as_slice())
        .execute(conn)
        .await?;
    Ok(())
}

/// The tables of raw rows, with how many columns each has.
const TABLES: [(&str, i16); 6] =
    [("blocks", 5), ("transactions", 7), ("contracts", 4), ("events", 8), ("event_keys", 3), ("transfers", 8)];

/// The types of rows that statements take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowTypes {
    /// Of [`TABLES`].
    raw: [RowType; TABLES.len()],
    pub(super) balances: RowType,
}

impl RowTypes {
    pub(crate) async fn load(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut types = Self { balances: RowType::load(conn, "balances").await?, ..Self::default() };
        for (of, (table, _)) in types.raw.iter_mut().zip(TABLES) {
            *of = RowType::load(conn, table).await?;
        }
        Ok(types)
    }
}

/// The raw rows of blocks, in the order of [`TABLES`].
pub(super) struct Rows([Tuples; TABLES.len()]);

impl Rows {
    pub(super) fn of(blocks: &[Block]) -> Self {
        let mut rows = Self(TABLES.map(|(_, columns)| Tuples::new(columns)));
        blocks.iter().for_each(|block| rows.add(block));
        rows
    }

    /// Adds them, fast when there are many.
    pub(super) async fn copy(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (tuples, (table, _)) in self.0.into_iter().zip(TABLES) {
            tuples.copy(conn, table).await?;
        }
        Ok(())
    }

    /// Each table's as a value of a statement.
    pub(super) fn arrays(self, types: &RowTypes) -> impl Iterator<Item = Array> {
        self.0.into_iter().zip(types.raw).map(|(tuples, of)| tuples.array(of))
    }

    fn add(&mut self, block: &Block) {
        let [blocks, transactions, contracts, events, keys, transfers] = &mut self.0;
        let number = int(block.number);
        let proof = match block.proof {
            Proof::Bloom => b'b',
            Proof::Receipts => b'r',
            Proof::Told => b't',
        };
        blocks.row().bigint(number).bytes(block.hash.as_slice()).bytes(block.parent_hash.as_slice());
        blocks.timestamp(block.timestamp).letter(proof);
        for tx in &block.transactions {
            transactions.row().bigint(number).integer(tx.index).bytes(tx.hash.as_slice()).bytes(tx.sender.as_slice());
            let recipient = tx.recipient.as_ref().map(|to| to.as_slice());
            transactions.optional(recipient).bigint(int(tx.gas_used)).bigint(int(tx.gas_price));
        }
        for child in &block.children {
            let kind = Some(child.kind.as_str());
            contracts.row().bytes(child.address.as_slice()).text(kind).bigint(number).integer(child.log_index);
        }
        block.events.iter().for_each(|event| add_event(events, keys, number, event));
        for transfer in &block.transfers {
            transfers.row().bigint(number).integer(transfer.log_index).integer(transfer.tx_index);
            transfers.bytes(transfer.token.as_slice()).bytes(transfer.sender.as_slice()).bytes(transfer.recipient.as_slice());
            transfers.bigint(transfer.amount).optional(transfer.authorization_nonce.as_ref().map(|nonce| nonce.as_slice()));
        }
    }
}

fn add_event(events: &mut Tuples, keys: &mut Tuples, number: i64, event: &Event) {
    let log = &event.log;
    events.row().bigint(number).integer(event.log_index).integer(event.tx_index).bytes(log.address.as_slice());
    events.bytes_array(log.topics.iter().map(|topic| topic.as_slice())).bytes(&log.data);
    let Some(decoded) = &event.decoded else {
        events.text(None).jsonb(None);
        return;
    };
    events.text(Some(&decoded.name)).jsonb(Some(&decoded.args.to_string()));
    for key in decode::keys(&decoded.args) {
        keys.row().bytes(&key).bigint(number).integer(event.log_index);
    }
}
