use std::{fmt, ops::Deref};

use alloy::{
    primitives::{Address, B256, Bloom, Bytes, U64, U256},
    rlp::{BufMut, Encodable, Header as ListHeader},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

/// First byte of a deposit's receipt on OP-stack chains (Base).
const DEPOSIT_TYPE: u64 = 0x7e;

/// A receipt as the node tells it: what the receipts root commits to, and what is kept besides.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    #[serde(rename = "type", default)]
    kind: U64,
    /// Absent before Byzantium, where `root` is in its place.
    status: Option<U64>,
    root: Option<B256>,
    cumulative_gas_used: U64,
    logs_bloom: Bloom,
    pub(crate) logs: Vec<Log>,
    /// Only in deposits of OP-stack chains.
    deposit_nonce: Option<U64>,
    deposit_receipt_version: Option<U64>,
    pub(crate) transaction_hash: B256,
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) gas_used: U64,
    #[serde(default)]
    pub(crate) effective_gas_price: U256,
}

/// A log, without its place: that follows from the receipts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Log {
    pub(crate) address: Address,
    pub(crate) topics: Topics,
    pub(crate) data: Bytes,
}

/// The topics of a log, in place: a log has at most four.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Topics {
    words: [B256; 4],
    count: usize,
}

impl Deref for Topics {
    type Target = [B256];

    fn deref(&self) -> &[B256] {
        &self.words[..self.count]
    }
}

impl FromIterator<B256> for Topics {
    /// Of the first four.
    fn from_iter<T: IntoIterator<Item = B256>>(words: T) -> Self {
        let mut topics = Self::default();
        for (place, word) in topics.words.iter_mut().zip(words) {
            *place = word;
            topics.count += 1;
        }
        topics
    }
}

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Topics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most four topics")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Topics, A::Error> {
                let mut topics = Topics::default();
                while let Some(word) = words.next_element()? {
                    *topics.words.get_mut(topics.count).ok_or_else(|| A::Error::invalid_length(5, &self))? = word;
                    topics.count += 1;
                }
                Ok(topics)
            }
        }
        deserializer.deserialize_seq(Words)
    }
}

impl Receipt {
    /// The leaf of the receipts trie (EIP-2718).
    pub(crate) fn encode_leaf(&self, out: &mut Vec<u8>) {
        let kind = self.kind.to::<u64>();
        if kind != 0 {
            // A type that does not fit in a byte exists nowhere; its leaf will not match.
            out.put_u8(u8::try_from(kind).unwrap_or(u8::MAX));
        }
        ListHeader { list: true, payload_length: self.fields(None) }.encode(out);
        self.fields(Some(out));
    }

    /// Length of the encoded fields; with `out`, writes them too.
    fn fields(&self, out: Option<&mut Vec<u8>>) -> usize {
        let mut fields: Vec<&dyn Encodable> = Vec::with_capacity(6);
        match (&self.root, &self.status) {
            (Some(root), None) => fields.push(root),
            (_, Some(status)) => fields.push(status),
            (None, None) => {}
        }
        fields.extend([&self.cumulative_gas_used as &dyn Encodable, &self.logs_bloom, &self.logs]);
        if self.kind.to::<u64>() == DEPOSIT_TYPE {
            fields
                .extend([&self.deposit_nonce, &self.deposit_receipt_version].into_iter().flatten().map(|v| v as &dyn Encodable));
        }
        if let Some(out) = out {
            fields.iter().for_each(|field| field.encode(out));
        }
        fields.iter().map(|field| field.length()).sum()
    }
}

impl Encodable for Log {
    fn encode(&self, out: &mut dyn BufMut) {
        ListHeader { list: true, payload_length: self.payload_length() }.encode(out);
        self.address.encode(out);
        alloy::rlp::encode_list::<B256, B256>(&self.topics, out);
        self.data.encode(out);
    }

    fn length(&self) -> usize {
        let payload = self.payload_length();
        payload + alloy::rlp::length_of_length(payload)
    }
}

impl Log {
    fn payload_length(&self) -> usize {
        self.address.length() + alloy::rlp::list_length::<B256, B256>(&self.topics) + self.data.length()
    }
}
