use std::collections::BTreeMap;

use alloy::primitives::Address;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, types::Json};

use crate::{
    block::{Block, Event},
    store::int,
};

/// 20 or 32 bytes that name an object.
pub(super) type Key = Vec<u8>;

/// What a version says, and where what changes it comes from.
pub(super) trait Object:
    Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + Unpin + 'static
{
    /// Table of the versions.
    const TABLE: &'static str;
    /// What an event does to an object.
    type Change: Send;

    /// The object that an event changes, and how.
    fn change(event: &Event) -> Option<(Key, Self::Change)>;

    /// Whether an object can begin with this change. What changes only an object that is there is passed over before.
    fn begins(_: &Self::Change) -> bool {
        true
    }

    /// Follows a change. Changes come in the order of the chain.
    fn apply(&mut self, change: Self::Change, at: At);
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) block: u64,
    /// Of the block, in Unix seconds.
    pub(super) time: u64,
    pub(super) contract: Address,
}

/// Reads an event as one of an enum of events, by name.
pub(super) fn read<T: DeserializeOwned>(event: &Event) -> Option<T> {
    let decoded = event.decoded.as_ref()?;
    let named = Value::Object(
        [("name".into(), decoded.name.clone().into()), ("args".into(), decoded.args.clone())].into_iter().collect(),
    );
    serde_json::from_value(named).ok()
}

/// A run of versions of one object.
struct Versions<T> {
    /// Whether the first is in the table already and current there.
    continues: bool,
    versions: Vec<(u64, T)>,
}

/// Adds the versions that the new blocks make: at most one per object and block, none where nothing changed.
pub(super) async fn apply<T: Object>(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    let mut changes: Vec<(Key, At, T::Change)> = Vec::new();
    for block in blocks {
        for event in &block.events {
            let at = At { block: block.number, time: block.timestamp, contract: event.log.address };
            changes.extend(T::change(event).map(|(key, change)| (key, at, change)));
        }
    }
    fold::<T>(conn, changes).await
}

/// The same for changes that are known, in the order of the chain.
pub(super) async fn fold<T: Object>(conn: &mut PgConnection, changes: Vec<(Key, At, T::Change)>) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut objects = load::<T>(conn, &changes).await?;
    for (key, at, change) in changes {
        if !T::begins(&change) && !objects.contains_key(&key) {
            continue;
        }
        let object = objects.entry(key).or_insert_with(|| Versions { continues: false, versions: Vec::new() });
        let mut next = object.versions.last().map(|(_, state)| state.clone()).unwrap_or_default();
        next.apply(change, at);
        match object.versions.last_mut() {
            Some((_, state)) if *state == next => {}
            Some((block, state)) if *block == at.block => *state = next,
            _ => object.versions.push((at.block, next)),
        }
    }
    store::<T>(conn, objects).await
}

async fn load<T: Object>(
    conn: &mut PgConnection,
    changes: &[(Key, At, T::Change)],
) -> Result<BTreeMap<Key, Versions<T>>, sqlx::Error> {
    let mut keys: Vec<&[u8]> = changes.iter().map(|(key, ..)| key.as_slice()).collect();
    keys.sort_unstable();
    keys.dedup();
    let select = format!("SELECT key, from_block, state FROM chain.{} WHERE key = ANY($1) AND until_block IS NULL", T::TABLE);
    let current: Vec<(Key, i64, Json<T>)> = sqlx::query_as(AssertSqlSafe(select)).bind(keys).fetch_all(conn).await?;
    let versions = |block: i64, state| Versions { continues: true, versions: vec![(block.unsigned_abs(), state)] };
    Ok(current.into_iter().map(|(key, block, Json(state))| (key, versions(block, state))).collect())
}

async fn store<T: Object>(conn: &mut PgConnection, objects: BTreeMap<Key, Versions<T>>) -> Result<(), sqlx::Error> {
    let mut closed: (Vec<Key>, Vec<i64>) = Default::default();
    let (mut keys, mut from, mut until, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (key, object) in objects {
        let blocks: Vec<u64> = object.versions.iter().map(|(block, _)| *block).collect();
        for (i, (block, state)) in object.versions.into_iter().enumerate() {
            let next = blocks.get(i + 1).map(|block| int(*block));
            if i == 0 && object.continues {
                if let Some(next) = next {
                    closed.0.push(key.clone());
                    closed.1.push(next);
                }
                continue;
            }
            keys.push(key.clone());
            from.push(int(block));
            until.push(next);
            states.push(Json(state));
        }
    }
    let close = format!(
        "UPDATE chain.{table} AS t SET until_block = c.until_block FROM unnest($1::bytea[], $2::bigint[]) AS c (key, until_block)
         WHERE t.key = c.key AND t.until_block IS NULL",
        table = T::TABLE
    );
    sqlx::query(AssertSqlSafe(close)).bind(closed.0).bind(closed.1).execute(&mut *conn).await?;
    let insert = format!(
        "INSERT INTO chain.{} (key, from_block, until_block, state)
         SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::jsonb[])",
        T::TABLE
    );
    sqlx::query(AssertSqlSafe(insert)).bind(keys).bind(from).bind(until).bind(states).execute(conn).await?;
    Ok(())
}
