use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Asset;

/// Legs of a transfer, at most.
const LEGS_MAX: usize = 16;
/// Length of what stands before the legs.
const HEADER_LEN_BYTES: usize = 1 + 8 + 8 + 1 + 16;
const LEG_LEN_BYTES: usize = 8 + 1 + 8;
/// Tells the layout of a body.
const VERSION: u8 = 1;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal,)+) => {
        /// Why money moved. Numbers and names are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Kind { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl Kind {
            /// By its number in the ledger.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// Came in from outside.
    Deposit = 1,
    /// A purchase, with its fee, burn, bonus and royalty.
    Sale = 2,
    /// From one user to another.
    Transfer = 3,
    /// Minted for who is new, or for a good cause.
    Bonus = 4,
    /// Set aside.
    Hold = 5,
    /// Paid out of what was set aside; the rest given back.
    Post = 6,
    /// Given back from what was set aside.
    Void = 7,
    /// Undoes another transfer.
    Reversal = 8,
    /// Went outside.
    Withdrawal = 9,
}

/// One account's part of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The account's number.
    pub account: u64,
    /// Of what.
    pub asset: Asset,
    /// Millionths that the account gets, or gives when negative; never zero.
    pub amount: i64,
}

/// What moved together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its place in the ledger, from 1 without a gap.
    pub id: u64,
    /// When it was written, to the microsecond.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Why.
    pub kind: Kind,
    /// What it is about: a purchase, a deposit, a hold; all zeros for nothing.
    pub reference: Uuid,
    /// At most one per account; they sum to zero in each asset.
    pub legs: Vec<Leg>,
}

/// Why bytes are not a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not a transfer of this ledger: ask for the proof again")]
pub struct BodyError;

impl Transfer {
    /// Whether the legs sum to zero in each asset, none is empty, and no account has two.
    pub fn is_balanced(&self) -> bool {
        let sum = |asset| self.legs.iter().filter(|leg| leg.asset == asset).map(|leg| i128::from(leg.amount)).sum::<i128>();
        let alone = |(i, leg): (usize, &Leg)| self.legs[..i].iter().all(|other| other.account != leg.account);
        let whole = self.legs.iter().enumerate().all(|(i, leg)| leg.amount != 0 && alone((i, leg)));
        whole && sum(Asset::Usdc) == 0 && sum(Asset::Ard) == 0
    }

    /// What is sealed, all numbers big endian: a version byte 1, id (8 bytes), microseconds since 1970 (8), kind (1), reference (16), then per leg
    /// account (8), asset (1) and amount (8, two's complement).
    pub fn body(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN_BYTES + LEG_LEN_BYTES * self.legs.len());
        bytes.push(VERSION);
        bytes.extend(self.id.to_be_bytes());
        let micros = i64::try_from(self.at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        bytes.extend(micros.to_be_bytes());
        bytes.push(self.kind as u8);
        bytes.extend(self.reference.as_bytes());
        for leg in &self.legs {
            bytes.extend(leg.account.to_be_bytes());
            bytes.push(leg.asset as u8);
            bytes.extend(leg.amount.to_be_bytes());
        }
        bytes
    }

    /// Reads [`Self::body`]; what does not balance is not a transfer.
    ///
    /// # Errors
    /// When it is not a body.
    pub fn from_body(bytes: &[u8]) -> Result<Self, BodyError> {
        let (header, legs) = bytes.split_at_checked(HEADER_LEN_BYTES).ok_or(BodyError)?;
        if header[0] != VERSION || legs.len() % LEG_LEN_BYTES != 0 || legs.len() > LEGS_MAX * LEG_LEN_BYTES {
            return Err(BodyError);
        }
        let eight = |bytes: &[u8], at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).expect("eight bytes");
        let micros = i64::from_be_bytes(eight(header, 9));
        let legs = legs.chunks_exact(LEG_LEN_BYTES).map(|leg| {
            let asset = Asset::from_number(leg[8]).ok_or(BodyError)?;
            Ok(Leg { account: u64::from_be_bytes(eight(leg, 0)), asset, amount: i64::from_be_bytes(eight(leg, 9)) })
        });
        let transfer = Self {
            id: u64::from_be_bytes(eight(header, 1)),
            at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| BodyError)?,
            kind: Kind::from_number(header[17]).ok_or(BodyError)?,
            reference: Uuid::from_slice(&header[18..34]).map_err(|_| BodyError)?,
            legs: legs.collect::<Result<_, _>>()?,
        };
        if transfer.is_balanced() { Ok(transfer) } else { Err(BodyError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_again_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(transfer) = Transfer::from_body(&bytes) {
                prop_assert_eq!(transfer.body(), bytes);
            }
        }

        #[test]
        fn a_body_reads_back_and_every_changed_byte_shows(id in 1_u64.., amount in 1_i64.., at in 0_i64..4_000_000_000_000_000, byte in 0_usize..68, bit in 0_u8..8) {
            let leg = |account, amount| Leg { account, asset: Asset::Ard, amount };
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000).unwrap();
            let reference = Uuid::from_u128(7);
            let transfer = Transfer { id, at, kind: Kind::Sale, reference, legs: vec![leg(100, -amount), leg(101, amount)] };
            let mut body = transfer.body();
            prop_assert_eq!(Transfer::from_body(&body), Ok(transfer.clone()));
            body[byte] ^= 1 << bit;
            prop_assert_ne!(Transfer::from_body(&body), Ok(transfer));
        }
    }
}
