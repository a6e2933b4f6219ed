use sqlx::PgConnection;

/// Bytes sent to Postgres at a time.
const CHUNK_BYTES: usize = 1 << 20;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const BYTEA_OID: i32 = 17;
/// Unix seconds of 2000-01-01, where Postgres counts from.
const EPOCH_SECONDS: i64 = 946_684_800;
/// Latest time written: the year 9999, so that no header's timestamp is out of range.
const TIMESTAMP_SECONDS_MAX: u64 = 253_402_300_799;

/// Rows in the binary format of `COPY ... FROM STDIN`, columns in the order of the calls after [`Copy::row`].
pub(crate) struct Copy {
    buffer: Vec<u8>,
    columns: i16,
}

impl Copy {
    pub(crate) fn new(columns: i16) -> Self {
        Self { buffer: Vec::new(), columns }
    }

    pub(crate) fn row(&mut self) -> &mut Self {
        if self.buffer.is_empty() {
            self.buffer.extend_from_slice(SIGNATURE);
        }
        self.buffer.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.length(value.len());
        self.buffer.extend_from_slice(value);
        self
    }

    pub(crate) fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    fn null(&mut self) -> &mut Self {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    pub(crate) fn bigint(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn integer(&mut self, value: u32) -> &mut Self {
        self.bytes(&i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes())
    }

    pub(crate) fn timestamp(&mut self, unix_seconds: u64) -> &mut Self {
        let seconds = i64::try_from(unix_seconds.min(TIMESTAMP_SECONDS_MAX)).expect("it was just bounded");
        self.bigint((seconds - EPOCH_SECONDS) * 1_000_000)
    }

    pub(crate) fn jsonb(&mut self, value: Option<&str>) -> &mut Self {
        const VERSION: u8 = 1;
        let Some(value) = value else { return self.null() };
        self.length(value.len() + 1);
        self.buffer.push(VERSION);
        self.buffer.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn bytes_array<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a [u8]>) -> &mut Self {
        let start = self.buffer.len();
        self.length(0);
        let dimensions = i32::from(values.len() > 0);
        for word in [dimensions, 0, BYTEA_OID] {
            self.buffer.extend_from_slice(&word.to_be_bytes());
        }
        if dimensions == 1 {
            self.length(values.len());
            self.buffer.extend_from_slice(&1_i32.to_be_bytes());
        }
        for value in values {
            self.bytes(value);
        }
        let length = length(self.buffer.len() - start - 4);
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn length(&mut self, bytes: usize) {
        self.buffer.extend_from_slice(&length(bytes).to_be_bytes());
    }

    /// Sends all rows; nothing at all when there are none.
    pub(crate) async fn send(mut self, conn: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = conn.copy_in_raw(statement).await?;
        for chunk in self.buffer.chunks(CHUNK_BYTES) {
            copy.send(chunk).await?;
        }
        copy.finish().await?;
        Ok(())
    }
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a log is bounded by its block's gas, far below 2 GiB")
}
