//! Vectors as bits whose differences tell the angle between them (SimHash, Charikar 2002), so that Postgres compares them without an extension.
//!
//! Bit `i` says on which side of the `i`-th of 1,024 planes a vector is. Two vectors with an angle of `a` half turns are on different sides of a
//! random plane with probability `a`, so `a` is about the share of bits that differ. Planes that were drawn one by one would err by a standard
//! deviation of `sqrt(a (1 - a) / 1024)` half turns, which is 2.8 degrees at a right angle and 2.4 at half of one; these are no worse, because
//! those of one rotation are at right angles to each other.
//!
//! The planes are the axes after a rotation: three times, signs that follow from the constants below alone and a Walsh-Hadamard transform (Andoni
//! and others 2015). It needs no table, takes `n log n` steps, and only adds and subtracts, in one order: every machine finds the same bits.

#![allow(clippy::float_arithmetic, reason = "directions of what texts mean, which no money follows from")]

use std::iter;

pub(super) const BITS: usize = 1_024;
/// Longer vectors are not made by any model for texts.
pub(super) const DIMENSION_MAX: usize = 8_192;
const ROUNDS: u64 = 3;

/// None for what has no direction: no numbers, too many, one that is not finite, or zeros only.
pub(super) fn bits(vector: &[f32]) -> Option<[u8; BITS / 8]> {
    let is_direction = vector.iter().all(|x| x.is_finite()) && vector.iter().any(|x| *x != 0.0);
    if !is_direction || vector.len() > DIMENSION_MAX {
        return None;
    }
    let len = vector.len().next_power_of_two().max(BITS);
    let mut turned: Vec<f64> = vector.iter().copied().map(f64::from).chain(iter::repeat(0.0)).take(len).collect();
    for round in 0..ROUNDS {
        for (part, block) in (0..).zip(turned.chunks_mut(64)) {
            let signs = scrambled((round << 32) | part);
            for (at, x) in block.iter_mut().enumerate() {
                *x = if (signs >> at) & 1 == 1 { -*x } else { *x };
            }
        }
        hadamard(&mut turned);
    }
    let mut bits = [0; BITS / 8];
    for (at, _) in turned.iter().take(BITS).enumerate().filter(|(_, x)| **x >= 0.0) {
        bits[at / 8] |= 0x80 >> (at % 8);
    }
    Some(bits)
}

/// The Walsh-Hadamard transform, without the factor, which changes no sign.
fn hadamard(x: &mut [f64]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// SplitMix64. What is kept in the database follows from it: another function here would make all of that mean nothing.
fn scrambled(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// In degrees.
    fn angle(a: &[f32], b: &[f32]) -> f64 {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        (product(a, b) / (product(a, a) * product(b, b)).sqrt()).acos().to_degrees()
    }

    fn estimate(a: &[f32], b: &[f32]) -> f64 {
        let (a, b) = (bits(a).unwrap(), bits(b).unwrap());
        let differ: u32 = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum();
        f64::from(differ) * 180.0 / BITS as f64
    }

    #[test]
    fn bits_tell_the_angle_within_their_documented_error() {
        let draw = |dimension: u64, seed: u64| -> Vec<f32> {
            (0..dimension).map(|at| (scrambled((seed << 20) | at) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
        };
        for dimension in [2, 8, 384, 1_536, 4_096] {
            let (mut squares, mut count) = (0.0, 0.0);
            for seed in 1..=100 {
                let (a, noise) = (draw(dimension, 2 * seed + 1), draw(dimension, 2 * seed + 2));
                let b: Vec<_> = a.iter().zip(noise).map(|(a, noise)| a + noise * seed as f32 / 30.0).collect();
                let error = estimate(&a, &b) - angle(&a, &b);
                assert!(error.abs() < 12.0, "{dimension} numbers, {seed}: {error}");
                (squares, count) = (squares + error * error, count + 1.0);
            }
            let deviation = f64::sqrt(squares / count);
            assert!(deviation < 2.8, "{dimension} numbers: {deviation}");
        }
    }

    #[test]
    fn few_axes_are_spread_over_all_planes() {
        let axis = |at: usize, high: f32| {
            let mut vector = [0.0; 8];
            (vector[0], vector[at]) = (1.0, high);
            vector
        };
        assert_eq!(estimate(&axis(1, 0.0), &axis(1, 0.0)), 0.0);
        assert!((85.0..95.0).contains(&estimate(&axis(1, 0.0), &[0.0, 1.0, 0.0])));
        assert!((40.0..50.0).contains(&estimate(&axis(1, 0.0), &axis(1, 1.0))));
    }

    #[test]
    fn what_is_kept_keeps_its_meaning() {
        assert_eq!(bits(&[1.0, 2.0, 3.0]).unwrap()[..8], [135, 247, 47, 73, 95, 206, 232, 216]);
        assert_eq!(bits(&[0.5, 1.0, 1.5]), bits(&[1.0, 2.0, 3.0]), "only the direction counts");
    }

    #[test]
    fn what_has_no_direction_has_no_bits() {
        let long = vec![1.0; DIMENSION_MAX + 1];
        for vector in [&[][..], &[0.0, -0.0], &[1.0, f32::NAN], &[f32::INFINITY], &long] {
            assert_eq!(bits(vector), None);
        }
    }
}
