use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

macro_rules! version {
    ($(#[$doc:meta])* $name:ident = $number:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name;

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8($number)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match u64::deserialize(deserializer)? {
                    $number => Ok(Self),
                    other => Err(D::Error::custom(format_args!("x402Version is {other}, expected {}", $number))),
                }
            }
        }
    };
}

version!(
    /// `x402Version: 1`; reading any other number fails.
    V1 = 1
);
version!(
    /// `x402Version: 2`; reading any other number fails.
    V2 = 2
);
