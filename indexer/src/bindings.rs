//! The events of our contracts, from the interfaces that declare them.
#![allow(missing_docs, clippy::all, unreachable_pub, dead_code, reason = "generated")]

use alloy::{json_abi::Event, sol};

sol! {
    #![sol(abi)]
    "../contracts/src/interfaces/IAgentWallet.sol"
}
sol! {
    #![sol(abi)]
    "../contracts/src/interfaces/ITreasury.sol"
}
sol! {
    #![sol(abi)]
    "../contracts/src/interfaces/IEscrow.sol"
}
// These interfaces use structs of the ones above, which `sol!` cannot find in another file.
sol! {
    #![sol(abi)]
    interface IAgentWalletFactory {
        event WalletCreated(address indexed wallet, address indexed owner, bytes32 indexed configHash);
    }
    interface ITreasuryFactory {
        event TreasuryCreated(address indexed treasury, bytes32 indexed salt, address[] owners, uint256 threshold);
    }
}

/// Every event there is.
pub(crate) fn events() -> Vec<Event> {
    let interfaces = [
        IAgentWallet::abi::events(),
        ITreasury::abi::events(),
        IEscrow::abi::events(),
        IAgentWalletFactory::abi::events(),
        ITreasuryFactory::abi::events(),
    ];
    interfaces.into_iter().flat_map(|events| events.into_values().flatten()).collect()
}
