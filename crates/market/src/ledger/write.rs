//! A batch becomes rows: a few statements, whatever its size.

use sqlx::PgConnection;

use super::batch::Batch;

impl Batch {
    pub(super) async fn write(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        self.write_owned_keys(&mut *conn).await?;
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut lines = Lines::default();
        let mut entries: [Vec<i64>; 4] = Default::default();
        for line in &self.lines {
            let transfer = &line.transfer;
            lines.ids.push(transfer.id.cast_signed());
            lines.kinds.push(transfer.kind as i16);
            lines.references.push(transfer.reference);
            lines.bodies.push(transfer.body());
            lines.memos.push(line.memo.as_deref());
            lines.keys.push(line.key.as_ref().map(|key| key.key.as_slice()));
            lines.fingerprints.push(line.key.as_ref().map(|key| key.fingerprint.as_slice()));
            for (leg, balance) in transfer.legs.iter().zip(&line.balances) {
                let row = [leg.account.cast_signed(), transfer.id.cast_signed(), leg.amount, *balance];
                entries.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
        }
        let [accounts, transfers, amounts, balances] = entries;
        let [ids, new_balances, earned, spent] = self.accounts.changed();
        let sales = self.sales.iter();
        sqlx::query(
            "WITH appended AS (
                 INSERT INTO transfers (id, at, kind, reference, body, memo, key, fingerprint)
                 SELECT id, $1, kind, reference, body, memo, key, fingerprint
                 FROM unnest($2::bigint[], $3::smallint[], $4::uuid[], $5::bytea[], $6::text[], $7::bytea[], $8::bytea[])
                     AS line (id, kind, reference, body, memo, key, fingerprint)
             ), legs AS (
                 INSERT INTO entries (account, transfer, amount, balance)
                 SELECT * FROM unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
             ), sold AS (
                 INSERT INTO sales (transfer, id, buyer_id, listing_id, seller_id, asset, price, content_hash, content_size, content_type, owned_until,
                     rewarded)
                 SELECT * FROM unnest($18::bigint[], $19::uuid[], $20::uuid[], $21::uuid[], $22::uuid[], $23::smallint[], $24::bigint[],
                     $25::bytea[], $26::bigint[], $27::text[], $28::timestamptz[], $29::uuid[])
             ), ended AS (
                 UPDATE ledger SET last_id = $13, last_at = $1
             )
             UPDATE accounts SET balance = new.balance, earned = new.earned, spent = new.spent
             FROM unnest($14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]) AS new (id, balance, earned, spent)
             WHERE accounts.id = new.id",
        )
        .bind(self.at)
        .bind(lines.ids)
        .bind(lines.kinds)
        .bind(lines.references)
        .bind(lines.bodies)
        .bind(lines.memos)
        .bind(lines.keys)
        .bind(lines.fingerprints)
        .bind(accounts)
        .bind(transfers)
        .bind(amounts)
        .bind(balances)
        .bind(self.last_id.cast_signed())
        .bind(ids)
        .bind(new_balances)
        .bind(earned)
        .bind(spent)
        .bind(sales.clone().map(|(transfer, ..)| transfer.cast_signed()).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.id).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.buyer.id).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.listing).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.seller.id).collect::<Vec<_>>())
        .bind(sales.clone().map(|(.., asset)| *asset as i16).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.price.signed()).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.content_hash.as_slice()).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.content_size.cast_signed()).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| sale.content_type.as_str()).collect::<Vec<_>>())
        .bind(sales.clone().map(|(_, sale, _)| self.at + sale.owned_for).collect::<Vec<_>>())
        .bind(sales.map(|(_, sale, _)| sale.rewarded).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
        if !self.reversed.is_empty() {
            let reversed: Vec<i64> = self.reversed.iter().map(|id| id.cast_signed()).collect();
            let sql = "WITH reversed AS (UPDATE sales SET owned_until = $2, reversed = TRUE WHERE transfer = ANY($1) RETURNING transfer)
                 UPDATE ledger SET reversals = reversals + (SELECT count(*) FROM reversed)";
            sqlx::query(sql).bind(reversed).bind(self.at).execute(&mut *conn).await?;
        }
        self.write_holds(&mut *conn).await?;
        self.write_requests(conn).await
    }

    async fn write_owned_keys(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        if self.owned_keys.is_empty() {
            return Ok(());
        }
        let column = self.owned_keys.iter();
        sqlx::query(
            "INSERT INTO owned_keys (key, fingerprint, transfer, balance, at)
             SELECT key, fingerprint, transfer, balance, $5
             FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) AS owned (key, fingerprint, transfer, balance)",
        )
        .bind(column.clone().map(|(key, _)| key.key.as_slice()).collect::<Vec<_>>())
        .bind(column.clone().map(|(key, _)| key.fingerprint.as_slice()).collect::<Vec<_>>())
        .bind(column.clone().map(|(_, posted)| posted.transfer.cast_signed()).collect::<Vec<_>>())
        .bind(column.map(|(_, posted)| posted.balance.signed()).collect::<Vec<_>>())
        .bind(self.at)
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn write_holds(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        for held in self.holds.values().filter(|held| held.touched) {
            let hold = &held.hold;
            let state = match held.ended {
                None => 1_i16,
                Some((_, true)) => 2,
                Some((_, false)) => 3,
            };
            sqlx::query(
                "INSERT INTO holds (id, account, held, amount, state, expires_at, opened_by, ended_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (id) DO UPDATE SET state = excluded.state, ended_by = excluded.ended_by",
            )
            .bind(hold.id)
            .bind(hold.from)
            .bind(hold.held)
            .bind(hold.amount.signed())
            .bind(state)
            .bind(hold.expires_at)
            .bind(held.opened_by.cast_signed())
            .bind(held.ended.map(|(by, _)| by.cast_signed()))
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }
}

/// Columns of transfers.
#[derive(Default)]
struct Lines<'a> {
    ids: Vec<i64>,
    kinds: Vec<i16>,
    references: Vec<uuid::Uuid>,
    bodies: Vec<Vec<u8>>,
    memos: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a [u8]>>,
    fingerprints: Vec<Option<&'a [u8]>>,
}
