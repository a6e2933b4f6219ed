use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{Bps, ParseUsdcError, Usdc};

fn any_usdc() -> impl Strategy<Value = Usdc> {
    prop_oneof![any::<u64>(), 0..100_000_000_u64, (u64::MAX - 1_000_000)..=u64::MAX].prop_map(Usdc::from_base_units)
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same_amount(amount in any_usdc()) {
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        prop_assert_eq!(Usdc::parse_price(&format!("${amount}")), Ok(amount));
        prop_assert_eq!(Usdc::parse_base_units(&amount.base_units().to_string()), Ok(amount));
        prop_assert_eq!(Usdc::try_from(amount.to_decimal()), Ok(amount));
        let json = serde_json::to_string(&amount).unwrap();
        prop_assert_eq!(serde_json::from_str::<Usdc>(&json).unwrap(), amount);
    }

    #[test]
    fn an_accepted_text_is_worth_exactly_what_it_says(text in "[0-9]{1,21}(\\.[0-9]{1,9})?") {
        let exact: Decimal = text.parse().unwrap();
        match text.parse::<Usdc>() {
            Ok(amount) => prop_assert_eq!(amount.to_decimal(), exact),
            Err(ParseUsdcError::TooPrecise(_)) => prop_assert!(exact.normalize().scale() > 6),
            Err(ParseUsdcError::TooLarge(_)) => prop_assert!(exact > Usdc::MAX.to_decimal()),
            Err(other) => prop_assert!(false, "{text} is a number, yet {other}"),
        }
    }

    #[test]
    fn no_text_makes_parsing_panic_or_an_error_long(text in "\\PC{0,200}") {
        for result in [text.parse::<Usdc>(), Usdc::parse_price(&text), Usdc::parse_base_units(&text)] {
            if let Err(error) = result {
                prop_assert!(error.to_string().len() < 600, "{error}");
            }
        }
    }

    #[test]
    fn the_two_roundings_enclose_the_exact_quotient(amount in any_usdc(), n: u64, d in 1..=u64::MAX) {
        let product = u128::from(amount.base_units()) * u128::from(n);
        let (floor, ceil) = (amount.mul_div_floor(n, d), amount.mul_div_ceil(n, d));
        prop_assert_eq!(floor.is_none(), product / u128::from(d) > u128::from(u64::MAX));
        if let (Some(floor), Some(ceil)) = (floor, ceil) {
            prop_assert!(u128::from(floor.base_units()) * u128::from(d) <= product);
            prop_assert!(u128::from(ceil.base_units()) * u128::from(d) >= product);
            prop_assert!(ceil.base_units() - floor.base_units() <= 1);
        }
    }

    #[test]
    fn a_share_and_its_complement_are_the_whole(amount in any_usdc(), bps in 0..=10_000_u16) {
        let share = Bps::new(bps).unwrap();
        let rest = Bps::new(10_000 - bps).unwrap();
        prop_assert_eq!(share.of_floor(amount).checked_add(rest.of_ceil(amount)), Some(amount));
        prop_assert!(share.of_ceil(amount) <= amount);
    }

    #[test]
    fn addition_is_undone_by_subtraction_or_refused(a in any_usdc(), b in any_usdc()) {
        match a.checked_add(b) {
            Some(sum) => prop_assert_eq!(sum.checked_sub(b), Some(a)),
            None => prop_assert!(a.base_units() > u64::MAX - b.base_units()),
        }
        prop_assert_eq!(a.checked_sub(b).unwrap_or(Usdc::ZERO), a.saturating_sub(b));
    }
}

#[test]
fn what_is_not_an_amount_is_refused_with_a_hint() {
    for text in ["", ".", "1.", ".5", "-1", "+1", "1,5", "1e6", " 1", "1 ", "0x10", "١", "$1", "1.2.3", "NaN"] {
        let error = text.parse::<Usdc>().unwrap_err();
        assert_eq!(error, ParseUsdcError::NotANumber(text.to_owned()));
        assert!(error.to_string().contains("write it like 0.05"), "{error}");
    }
    for text in ["", "1.0", "-1", "+1", " 1", "$1", "1_000", "0x1"] {
        assert_eq!(Usdc::parse_base_units(text), Err(ParseUsdcError::NotBaseUnits(text.to_owned())));
    }
    assert_eq!(Usdc::parse_price("$$1"), Err(ParseUsdcError::NotANumber("$1".to_owned())));
}

#[test]
fn the_largest_amount_is_read_and_one_unit_more_is_refused() {
    assert_eq!("18446744073709.551615".parse(), Ok(Usdc::MAX));
    assert!(matches!("18446744073709.551616".parse::<Usdc>(), Err(ParseUsdcError::TooLarge(_))));
    assert!(matches!(Usdc::parse_base_units("18446744073709551616"), Err(ParseUsdcError::TooLarge(_))));
    assert_eq!(Usdc::from_whole(18_446_744_073_710), None);
}

#[test]
fn a_seventh_decimal_is_never_rounded_away() {
    assert!(matches!("0.0000001".parse::<Usdc>(), Err(ParseUsdcError::TooPrecise(_))));
    assert_eq!("0.0500000000".parse(), Ok(Usdc::from_base_units(50_000)));
    assert!(Usdc::try_from(Decimal::new(1, 7)).is_err());
    assert!(Usdc::try_from(Decimal::new(-1, 6)).is_err());
    assert_eq!(Usdc::try_from(Decimal::new(5_000_000, 8)), Ok(Usdc::from_base_units(50_000)));
}

#[test]
fn amounts_print_with_two_to_six_decimals() {
    for (units, text) in [(0, "0.00"), (1, "0.000001"), (50_000, "0.05"), (1_230_000, "1.23"), (12_000_000, "12.00")] {
        assert_eq!(Usdc::from_base_units(units).to_string(), text);
    }
    assert_eq!(format!("{:>8}|{:<8}|", Usdc::ONE, Usdc::ONE), "    1.00|1.00    |");
}

#[test]
fn json_takes_strings_only_so_that_no_reader_makes_a_float_of_money() {
    assert!(serde_json::from_str::<Usdc>("0.05").is_err());
    assert!(serde_json::from_str::<Usdc>("5").is_err());
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Wire(#[serde(with = "crate::base_units")] Usdc);
    let wire: Wire = serde_json::from_str("\"50000\"").unwrap();
    assert_eq!(wire.0.to_string(), "0.05");
    assert_eq!(serde_json::to_string(&wire).unwrap(), "\"50000\"");
    assert!(serde_json::from_str::<Wire>("\"0.05\"").is_err());
    assert!(serde_json::from_str::<Wire>("50000").is_err());
}

#[test]
fn more_than_the_whole_is_no_share() {
    assert_eq!(Bps::new(10_001), None);
    assert_eq!(serde_json::from_str::<Bps>("10000").unwrap(), Bps::WHOLE);
    let error = serde_json::from_str::<Bps>("10001").unwrap_err();
    assert!(error.to_string().contains("10000 is 100 %"), "{error}");
    assert_eq!(Bps::new(250).unwrap().to_string(), "2.50 %");
    assert_eq!(Usdc::ONE.mul_div_floor(1, 0), None);
    assert_eq!(Usdc::ONE.mul_div_ceil(1, 0), None);
}

#[cfg(feature = "alloy")]
mod chain {
    use super::*;
    use crate::OutOfRange;
    use alloy::primitives::U256;

    proptest! {
        #[test]
        fn an_amount_survives_the_chain(amount in any_usdc()) {
            prop_assert_eq!(Usdc::try_from(<Usdc as Into<U256>>::into(amount)), Ok(amount));
        }

        #[test]
        fn a_uint256_that_does_not_fit_is_refused_never_cut(limbs: [u64; 4]) {
            let value = U256::from_limbs(limbs);
            let fits = limbs[1..] == [0; 3];
            prop_assert_eq!(Usdc::try_from(value), if fits { Ok(Usdc::from_base_units(limbs[0])) } else { Err(OutOfRange(value)) });
        }
    }
}

#[cfg(feature = "sqlx")]
mod column {
    use super::*;
    use sqlx::{Encode, Postgres, postgres::PgArgumentBuffer};

    fn encoded(amount: Usdc) -> Option<Vec<u8>> {
        let mut buffer = PgArgumentBuffer::default();
        let written = Encode::<Postgres>::encode_by_ref(&amount, &mut buffer);
        written.is_ok().then(|| buffer.to_vec())
    }

    proptest! {
        #[test]
        fn a_column_holds_the_base_units_and_refuses_what_a_bigint_cannot(amount in any_usdc()) {
            let expected = i64::try_from(amount.base_units()).ok().map(|units| units.to_be_bytes().to_vec());
            prop_assert_eq!(encoded(amount), expected);
        }
    }
}
