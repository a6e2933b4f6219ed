//! Events of contracts that have no artifact yet, from the interfaces that declare them.
#![allow(missing_docs, clippy::all, unreachable_pub, dead_code, reason = "generated")]

use alloy::{json_abi::Event, sol};

sol! {
    #![sol(abi)]
    "../contracts/src/interfaces/ITreasury.sol"
}
// It uses structs of the one above, which `sol!` cannot find in another file.
sol! {
    #![sol(abi)]
    interface ITreasuryFactory {
        event TreasuryCreated(address indexed treasury, bytes32 indexed salt, address[] owners, uint256 threshold);
    }
}

/// Every event there is.
pub(crate) fn events() -> Vec<Event> {
    let interfaces = [ITreasury::abi::events(), ITreasuryFactory::abi::events()];
    interfaces.into_iter().flat_map(|events| events.into_values().flatten()).collect()
}
