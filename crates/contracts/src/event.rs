use std::{collections::HashMap, sync::LazyLock};

use alloy::{
    json_abi,
    primitives::{Address, Log, LogData},
    sol_types::{SolEventInterface, private::IntoLogData},
};
use serde_json::Value;

use crate::reading;

macro_rules! contracts {
    ($($contract:ident = $module:ident, $events:ident, $artifact:literal, $doc:literal;)+) => {
        /// A contract whose events we read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Contract {
            $(#[doc = $doc] $contract,)+
        }

        impl Contract {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$contract,)+];

            /// Its name in Solidity.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$contract => stringify!($contract),)+
                }
            }
        }

        /// An event of one of our contracts, or of USDC.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        // Events are read one at a time; boxing the terms of an agreement would only make them awkward to match.
        #[allow(clippy::large_enum_variant)]
        pub enum Event {
            $(#[doc = $doc] $contract(crate::$module::$contract::$events),)+
        }

        impl Event {
            /// Reads a log whose sender is known to be `contract`.
            pub fn decode_as(contract: Contract, log: &impl AsRef<Log>) -> Option<Self> {
                let log = log.as_ref();
                match contract {
                    $(Contract::$contract => {
                        let event = crate::$module::$contract::$events::decode_raw_log(log.topics(), &log.data.data);
                        event.ok().map(Self::$contract)
                    })+
                }
            }

            /// Whose event it is.
            pub const fn contract(&self) -> Contract {
                match self {
                    $(Self::$contract(_) => Contract::$contract,)+
                }
            }

            /// The log it was read from, without its sender.
            pub fn to_log_data(&self) -> LogData {
                match self {
                    $(Self::$contract(event) => event.to_log_data(),)+
                }
            }
        }

        /// Every contract with the text of its artifact.
        pub(crate) fn artifacts() -> impl Iterator<Item = (Contract, &'static str)> {
            [$((Contract::$contract, include_str!(concat!("../", $artifact))),)+].into_iter()
        }
    };
}

contracts! {
    AgentWallet = agent_wallet, AgentWalletEvents, "artifacts/AgentWallet.json", "An agent's wallet.";
    AgentWalletFactory = agent_wallet_factory, AgentWalletFactoryEvents, "artifacts/AgentWalletFactory.json", "Creates agent wallets.";
    Escrow = escrow, EscrowEvents, "artifacts/Escrow.json", "Agreements between buyer and seller.";
    PaymentRouter = payment_router, PaymentRouterEvents, "artifacts/PaymentRouter.json", "Payments that pass through, and subscriptions.";
    ServiceRegistry = service_registry, ServiceRegistryEvents, "artifacts/ServiceRegistry.json", "Services and their stakes.";
    LedgerAnchor = ledger_anchor, LedgerAnchorEvents, "artifacts/LedgerAnchor.json", "Anchors of off-chain ledgers.";
    Treasury = treasury, TreasuryEvents, "artifacts/Treasury.json", "An organisation's treasury.";
    TreasuryFactory = treasury_factory, TreasuryFactoryEvents, "artifacts/TreasuryFactory.json", "Creates treasuries.";
    Usdc = usdc, UsdcEvents, "vendor/FiatTokenV2_2.json", "Circle's USDC.";
}

static ABIS: LazyLock<HashMap<Contract, Vec<json_abi::Event>>> = LazyLock::new(|| {
    artifacts().map(|(contract, artifact)| (contract, reading::abi(artifact).events.into_values().flatten().collect())).collect()
});

impl Event {
    /// Reads a log of any of our contracts. Where two declare the same event, the first of [`Contract::ALL`] is named: pass what the sender is
    /// to [`Event::decode_as`] when you know it.
    pub fn decode(log: &impl AsRef<Log>) -> Option<Self> {
        Contract::ALL.iter().find_map(|contract| Self::decode_as(*contract, log))
    }

    /// Its name in Solidity.
    pub fn name(&self) -> &'static str {
        self.abi().name.as_str()
    }

    /// Its arguments by name: addresses with checksum, integers as decimal strings, bytes as hex, structs as objects.
    pub fn to_json(&self) -> Value {
        self.read().0
    }

    /// Every account it mentions, at any depth, each once and never zero.
    pub fn accounts(&self) -> Vec<Address> {
        self.read().1
    }

    fn abi(&self) -> &'static json_abi::Event {
        let topic = self.to_log_data().topics()[0];
        let found = ABIS[&self.contract()].iter().find(|event| event.selector() == topic);
        found.expect("sol! made the event from the same ABI")
    }

    fn read(&self) -> (Value, Vec<Address>) {
        reading::event(self.abi(), &self.to_log_data()).expect("it was read from such a log before")
    }
}
