//! How values that are text in JSON are described: `#[schemars(with = "schema::Address")]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! text {
    ($($(#[$doc:meta])* $name:ident, $schema:tt;)*) => {$(
        $(#[$doc])*
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
    )*};
}

text! {
    /// An account.
    Address, { "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "examples": ["0x036CbD53842c5426634e7929541eC2318f3dCF7e"] };
    /// A hash, id or reference.
    Hash, { "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" };
    /// An address or a hash.
    Key, { "type": "string", "pattern": "^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$" };
    /// An amount in base units.
    Units, { "type": "string", "pattern": "^[0-9]+$" };
    /// An amount of USDC, as people write it.
    Usdc, { "type": "string", "pattern": "^-?[0-9]+\\.[0-9]{2,6}$", "examples": ["12.50"] };
    /// A time, in UTC.
    Time, { "type": "string", "format": "date-time" };
    /// A UUID.
    Id, { "type": "string", "format": "uuid" };
    /// A day.
    Date, { "type": "string", "format": "date" };
    /// Where a page continues.
    Cursor, { "type": "string", "pattern": "^[0-9]{1,20}-[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,19}$" };
}
