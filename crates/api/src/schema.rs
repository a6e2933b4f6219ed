//! How values that are not JSON's own look in a schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident $schema:tt)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) struct $name;

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        )+
    };
}

texts! {
    /// An address of a chain.
    HexAddress {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]}
    /// 32 bytes.
    Hash {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"}
    /// Any bytes.
    Hex {"type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$"}
    /// A UUID.
    Id {"type": "string", "format": "uuid"}
    /// A time.
    Time {"type": "string", "format": "date-time"}
    /// A URL.
    Link {"type": "string", "format": "uri"}
    /// An amount of a currency.
    Decimal {"type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,6})?$", "examples": ["0.05"]}
    /// A share in basis points.
    BasisPoints {"type": "integer", "minimum": 0, "maximum": 10000}
}
