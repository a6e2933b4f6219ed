//! Lines of the journal: a checksum and JSON.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use alloy::primitives::keccak256;

use super::book::{Book, Record};

/// Hex digits of a line's checksum.
const CHECK_LEN: usize = 8;

/// A record as it is written.
pub(super) fn line(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = check(&json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

fn check(json: &[u8]) -> String {
    alloy::hex::encode(&keccak256(json)[..CHECK_LEN / 2])
}

/// What the file says, and how long it is up to the last whole line.
pub(super) fn read(file: &mut File) -> io::Result<(Book, u64)> {
    let (mut book, mut len, mut number) = (Book::default(), 0, 0_u64);
    let mut lines = BufReader::new(file);
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = lines.read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok((book, len));
        }
        number += 1;
        let record = text.strip_suffix(b"\n").and_then(parse);
        match record {
            Some(record) => book.apply(record),
            // Torn, if nothing follows it.
            None if lines.fill_buf()?.is_empty() => return Ok((book, len)),
            None => {
                let said =
                    format!("line {number} is damaged; restore the file from a copy, or start with another and the same signers");
                return Err(io::Error::new(io::ErrorKind::InvalidData, said));
            }
        }
        len += read as u64;
    }
}

fn parse(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(CHECK_LEN)?;
    let json = json.strip_prefix(b" ")?;
    (sum == check(json).as_bytes()).then(|| serde_json::from_slice(json).ok())?
}
