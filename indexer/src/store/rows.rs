use sqlx::PgConnection;

use super::{Undo, copy::Copy, int};
use crate::{
    block::{Block, Proof},
    decode,
};

/// Removes every raw row above the ancestor.
pub(super) async fn undo(conn: &mut PgConnection, undo: &Undo) -> Result<(), sqlx::Error> {
    const DELETES: [&str; 6] = [
        "DELETE FROM chain.blocks WHERE number > $1",
        "DELETE FROM chain.transactions WHERE block_number > $1",
        "DELETE FROM chain.contracts WHERE block_number > $1",
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

/// Adds the raw rows of blocks.
pub(super) async fn insert(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    let mut rows = Rows::new();
    blocks.iter().for_each(|block| rows.add(block));
    rows.blocks.send(conn, "COPY chain.blocks (number, hash, parent_hash, timestamp, proof) FROM STDIN BINARY").await?;
    let transactions =
        "COPY chain.transactions (block_number, tx_index, hash, sender, recipient, gas_used, gas_price) FROM STDIN BINARY";
    rows.transactions.send(conn, transactions).await?;
    rows.contracts.send(conn, "COPY chain.contracts (address, kind, block_number, log_index) FROM STDIN BINARY").await?;
    let events = "COPY chain.events (block_number, log_index, tx_index, contract, topics, data, name, args) FROM STDIN BINARY";
    rows.events.send(conn, events).await?;
    rows.event_keys.send(conn, "COPY chain.event_keys (key, block_number, log_index) FROM STDIN BINARY").await?;
    let transfers = "COPY chain.transfers (block_number, log_index, tx_index, token, sender, recipient, amount, authorization_nonce) \
                     FROM STDIN BINARY";
    rows.transfers.send(conn, transfers).await
}

struct Rows {
    blocks: Copy,
    transactions: Copy,
    contracts: Copy,
    events: Copy,
    event_keys: Copy,
    transfers: Copy,
}

impl Rows {
    fn new() -> Self {
        Self {
            blocks: Copy::new(5),
            transactions: Copy::new(7),
            contracts: Copy::new(4),
            events: Copy::new(8),
            event_keys: Copy::new(3),
            transfers: Copy::new(8),
        }
    }

    fn add(&mut self, block: &Block) {
        let number = int(block.number);
        let proof = match block.proof {
            Proof::Bloom => b"b",
            Proof::Receipts => b"r",
        };
        self.blocks.row().bigint(number).bytes(block.hash.as_slice()).bytes(block.parent_hash.as_slice());
        self.blocks.timestamp(block.timestamp).bytes(proof);
        for tx in &block.transactions {
            self.transactions.row().bigint(number).integer(tx.index).bytes(tx.hash.as_slice()).bytes(tx.sender.as_slice());
            self.transactions
                .optional(tx.recipient.as_ref().map(|to| to.as_slice()))
                .bigint(int(tx.gas_used))
                .bigint(int(tx.gas_price));
        }
        for child in &block.children {
            let kind = child.kind.as_str().as_bytes();
            self.contracts.row().bytes(child.address.as_slice()).bytes(kind).bigint(number).integer(child.log_index);
        }
        block.events.iter().for_each(|event| self.add_event(number, event));
        for transfer in &block.transfers {
            self.transfers
                .row()
                .bigint(number)
                .integer(transfer.log_index)
                .integer(transfer.tx_index)
                .bytes(transfer.token.as_slice());
            self.transfers.bytes(transfer.sender.as_slice()).bytes(transfer.recipient.as_slice()).bigint(transfer.amount);
            self.transfers.optional(transfer.authorization_nonce.as_ref().map(|nonce| nonce.as_slice()));
        }
    }

    fn add_event(&mut self, number: i64, event: &crate::block::Event) {
        let log = &event.log;
        self.events.row().bigint(number).integer(event.log_index).integer(event.tx_index).bytes(log.address.as_slice());
        self.events.bytes_array(log.topics.iter().map(|topic| topic.as_slice())).bytes(&log.data);
        let Some(decoded) = &event.decoded else {
            self.events.optional(None).jsonb(None);
            return;
        };
        self.events.bytes(decoded.name.as_bytes()).jsonb(Some(&decoded.args.to_string()));
        for key in decode::keys(&decoded.args) {
            self.event_keys.row().bytes(&key).bigint(number).integer(event.log_index);
        }
    }
}
