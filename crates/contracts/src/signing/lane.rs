//! The byte layouts of an AgentWallet's x402 lane, as `contracts/src/LaneCodec.sol` defines them.

use alloy::primitives::{Address, B256, Signature};
use money::Usdc;
use x402::{Eip3009Authorization, TokenAmount};

/// Bytes of a lane signature.
pub const SIGNATURE_BYTES: usize = 128;
/// How long before its beginning a period's authorizations are accepted.
const GRACE_SECONDS: u64 = 300;
/// The wallet reads amounts of five bytes.
const VALUE_MAX: u64 = (1 << 40) - 1;

/// One slot of one period of one operator's lane: what the nonce says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Epoch of the operator; signatures of another epoch are void.
    pub epoch: u32,
    /// `floor(validBefore / seconds per period)`.
    pub period: u32,
    /// Number of the operator's registration.
    pub lane: u32,
    /// Counts from zero within the period.
    pub slot: u32,
}

impl Slot {
    /// The EIP-3009 nonce, which the token burns: each slot is spent at most once.
    pub fn nonce(self) -> B256 {
        let mut bytes = [0; 32];
        for (at, field) in [(16, self.epoch), (20, self.period), (24, self.lane), (28, self.slot)] {
            bytes[at..at + 4].copy_from_slice(&field.to_be_bytes());
        }
        B256::from(bytes)
    }
}

/// The last `validBefore`, up to `valid_before_max`, that the wallet accepts at `now`: its period must begin within the grace.
/// Unix seconds. `None` when that is not after `now`.
pub fn valid_before(now: u64, valid_before_max: u64, period_seconds: u64) -> Option<u64> {
    let periods_begun = (now + GRACE_SECONDS).checked_div(period_seconds)?;
    let last_second = (periods_begun + 1) * period_seconds - 1;
    Some(valid_before_max.min(last_second).min(u64::from(u32::MAX))).filter(|until| *until > now)
}

/// A payment from a lane: what is signed, and how the wallet reads it.
#[derive(Clone, Copy, Debug)]
pub struct LanePayment {
    /// The wallet that pays.
    pub wallet: Address,
    /// Who is paid.
    pub to: Address,
    /// How much, at most 1,099,511 USDC.
    pub value: Usdc,
    /// Unix seconds; valid strictly before.
    pub valid_before: u32,
    /// The slot it uses up.
    pub slot: Slot,
}

impl LanePayment {
    /// The authorization whose EIP-712 hash the operator signs.
    pub fn authorization(&self) -> Eip3009Authorization {
        Eip3009Authorization {
            from: self.wallet,
            to: self.to,
            value: self.value.into(),
            valid_after: TokenAmount::ZERO,
            valid_before: u64::from(self.valid_before).into(),
            nonce: self.slot.nonce(),
        }
    }

    /// The signature bytes that the wallet's `isValidSignature` takes apart. `None` when the value or the slot do not fit their fields.
    pub fn signature(&self, domain_separator: B256, operator: &Signature) -> Option<[u8; SIGNATURE_BYTES]> {
        if self.value.base_units() > VALUE_MAX || self.slot.slot >= 1 << 24 {
            return None;
        }
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes[..32].copy_from_slice(domain_separator.as_slice());
        bytes[32..52].copy_from_slice(self.to.as_slice());
        bytes[52..57].copy_from_slice(&self.value.base_units().to_be_bytes()[3..]);
        bytes[57..61].copy_from_slice(&self.valid_before.to_be_bytes());
        bytes[61..64].copy_from_slice(&self.slot.slot.to_be_bytes()[1..]);
        bytes[64..].copy_from_slice(&operator.as_erc2098());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_never_ends_in_a_period_that_the_wallet_does_not_accept_yet() {
        for (now, max, expected) in [
            (7_200, 7_260, Some(7_260)),    // plenty of the period is left
            (10_000, 11_000, Some(10_799)), // the next period begins at 10,800, further away than the grace
            (10_500, 11_000, Some(11_000)), // within the grace the next period is open
            (10_499, 90_000, Some(10_799)), // one second earlier it is not
            (10_500, 90_000, Some(14_399)), // and then to its end
            (7_200, 7_200, None),           // over before it begins
        ] {
            assert_eq!(valid_before(now, max, 3_600), expected, "now {now}, at most {max}");
        }
        assert_eq!(valid_before(7_200, 7_260, 0), None);
    }

    #[test]
    fn the_nonce_has_its_fields_where_the_wallet_looks_for_them() {
        let nonce = Slot { epoch: 0x0102_0304, period: 0x0506_0708, lane: 0x090a_0b0c, slot: 0x0d0e_0f10 }.nonce();
        assert_eq!(nonce, alloy::primitives::b256!("000000000000000000000000000000000102030405060708090a0b0c0d0e0f10"));
    }
}
