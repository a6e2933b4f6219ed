use sqlx::{
    Encode, PgConnection, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, types::Oid},
};

/// Bytes sent to Postgres at a time.
const CHUNK_BYTES: usize = 1 << 20;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Unix seconds of 2000-01-01, where Postgres counts from.
const EPOCH_SECONDS: i64 = 946_684_800;
/// Latest time written: the year 9999, so that no header's timestamp is out of range.
const TIMESTAMP_SECONDS_MAX: u64 = 253_402_300_799;

/// Types as `pg_type` numbers them, on every server the same.
mod oid {
    pub(super) const BYTEA: u32 = 17;
    pub(super) const CHAR: u32 = 18;
    pub(super) const BIGINT: u32 = 20;
    pub(super) const INTEGER: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const BYTEA_ARRAY: u32 = 1001;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const JSONB: u32 = 3802;
}

/// Rows of one table, in the binary format of `COPY`. Columns are those of the table, in the order of the calls after [`Tuples::row`].
#[derive(Default)]
pub(crate) struct Tuples {
    buffer: Vec<u8>,
    columns: i16,
    rows: u32,
    /// Of the columns, learned from the first row.
    types: Vec<u32>,
}

/// The type that a table's rows have, and that of arrays of them. Each database numbers them differently.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowType {
    row: Oid,
    array: Oid,
}

impl RowType {
    pub(super) async fn load(conn: &mut PgConnection, table: &str) -> Result<Self, sqlx::Error> {
        let select = "SELECT oid, typarray FROM pg_type WHERE oid = to_regtype('chain.' || $1)";
        let (row, array) = sqlx::query_as(select).bind(table).fetch_one(conn).await?;
        Ok(Self { row, array })
    }
}

impl Tuples {
    pub(crate) fn new(columns: i16) -> Self {
        Self { columns, ..Self::default() }
    }

    pub(crate) fn row(&mut self) -> &mut Self {
        if self.rows == 0 {
            self.buffer.extend_from_slice(SIGNATURE);
        }
        self.rows += 1;
        self.buffer.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    fn value(&mut self, of: u32, value: Option<&[u8]>) -> &mut Self {
        self.column(of);
        match value {
            Some(value) => {
                self.length(value.len());
                self.buffer.extend_from_slice(value);
            }
            None => self.buffer.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
        self
    }

    fn column(&mut self, of: u32) {
        if self.rows == 1 {
            self.types.push(of);
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.optional(Some(value))
    }

    pub(crate) fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.value(oid::BYTEA, value)
    }

    pub(crate) fn text(&mut self, value: Option<&str>) -> &mut Self {
        self.value(oid::TEXT, value.map(str::as_bytes))
    }

    /// Of the type `"char"`.
    pub(crate) fn letter(&mut self, value: u8) -> &mut Self {
        self.value(oid::CHAR, Some(&[value]))
    }

    pub(crate) fn bigint(&mut self, value: i64) -> &mut Self {
        self.optional_bigint(Some(value))
    }

    pub(crate) fn optional_bigint(&mut self, value: Option<i64>) -> &mut Self {
        self.value(oid::BIGINT, value.map(i64::to_be_bytes).as_ref().map(|bytes| bytes.as_slice()))
    }

    pub(crate) fn integer(&mut self, value: u32) -> &mut Self {
        self.value(oid::INTEGER, Some(&i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes()))
    }

    pub(crate) fn timestamp(&mut self, unix_seconds: u64) -> &mut Self {
        let seconds = i64::try_from(unix_seconds.min(TIMESTAMP_SECONDS_MAX)).expect("it was just bounded");
        self.value(oid::TIMESTAMPTZ, Some(&((seconds - EPOCH_SECONDS) * 1_000_000).to_be_bytes()))
    }

    pub(crate) fn jsonb(&mut self, value: Option<&str>) -> &mut Self {
        const VERSION: u8 = 1;
        let Some(value) = value else { return self.value(oid::JSONB, None) };
        self.column(oid::JSONB);
        self.length(value.len() + 1);
        self.buffer.push(VERSION);
        self.buffer.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn bytes_array<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a [u8]>) -> &mut Self {
        self.column(oid::BYTEA_ARRAY);
        let start = self.buffer.len();
        self.length(0);
        array_header(&mut self.buffer, oid::BYTEA, values.len());
        for value in values {
            self.length(value.len());
            self.buffer.extend_from_slice(value);
        }
        let length = length(self.buffer.len() - start - 4);
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn length(&mut self, bytes: usize) {
        self.buffer.extend_from_slice(&length(bytes).to_be_bytes());
    }

    /// Copies all rows into the table; nothing at all when there are none.
    pub(crate) async fn copy(mut self, conn: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
        if self.rows == 0 {
            return Ok(());
        }
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = conn.copy_in_raw(&format!("COPY chain.{table} FROM STDIN BINARY")).await?;
        for chunk in self.buffer.chunks(CHUNK_BYTES) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        Ok(())
    }

    /// The rows as one value of a statement, of the type `table[]`.
    pub(crate) fn array(self, of: RowType) -> Array {
        Array { tuples: self, of }
    }

    fn write_array(&self, out: &mut Vec<u8>, of: RowType) {
        array_header(out, of.row.0, usize::try_from(self.rows).unwrap_or(usize::MAX));
        let mut rest = self.buffer.get(SIGNATURE.len()..).unwrap_or_default();
        for _ in 0..self.rows {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&i32::from(self.columns).to_be_bytes());
            (_, rest) = rest.split_at(size_of::<i16>());
            for of in &self.types {
                out.extend_from_slice(&of.to_be_bytes());
                let (head, tail) = rest.split_at(size_of::<i32>());
                // -1, which is no length, is null.
                let bytes = i32::from_be_bytes(head.try_into().expect("it was split there"));
                let (value, tail) = tail.split_at(usize::try_from(bytes).unwrap_or(0));
                out.extend_from_slice(head);
                out.extend_from_slice(value);
                rest = tail;
            }
            let length = length(out.len() - start - 4);
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// See [`Tuples::array`].
pub(crate) struct Array {
    tuples: Tuples,
    of: RowType,
}

impl Type<Postgres> for Array {
    /// Unused: [`Self::produces`] knows the table's.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("record[]")
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, out: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.tuples.write_array(out, self.of);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.of.array))
    }
}

/// How an array of so many elements begins.
fn array_header(out: &mut Vec<u8>, element: u32, count: usize) {
    let dimensions = i32::from(count > 0);
    for word in [dimensions.to_be_bytes(), [0; 4], element.to_be_bytes()] {
        out.extend_from_slice(&word);
    }
    if dimensions == 1 {
        out.extend_from_slice(&length(count).to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a log is bounded by its block's gas, far below 2 GiB")
}
