//! The accounts of the dev chain: ten keys that everybody knows.

use std::fmt;

use alloy::{
    primitives::{Address, B256, b256},
    signers::local::PrivateKeySigner,
};

/// The keys of the mnemonic `test test … junk`, which anvil makes accounts of. They are in every tutorial and no secret.
const KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// An account of the dev chain, with ETH, USDC and a key that is no secret.
#[derive(Clone)]
pub struct Account {
    /// Its place among the ten.
    pub index: usize,
    /// Its address.
    pub address: Address,
    /// Its key.
    pub signer: PrivateKeySigner,
}

impl Account {
    /// How many there are.
    pub const COUNT: usize = KEYS.len();
    /// The one that pays gas for the facilitator.
    pub const FACILITATOR: usize = 0;
    /// The one that issues the dev chain's USDC.
    pub const ISSUER: usize = 9;

    /// All of them.
    pub fn all() -> Vec<Self> {
        (0..Self::COUNT).map(Self::at).collect()
    }

    /// One of them, by its place.
    ///
    /// # Panics
    /// When `index` is not below [`Account::COUNT`].
    pub fn at(index: usize) -> Self {
        let signer = PrivateKeySigner::from_bytes(&KEYS[index]).expect("each key is a scalar of the curve");
        Self { index, address: signer.address(), signer }
    }

    /// Its key as people paste it into a wallet.
    pub fn key(&self) -> String {
        KEYS[self.index].to_string()
    }

    /// What the stack uses it for, if for anything.
    pub const fn role(&self) -> Option<&'static str> {
        match self.index {
            Self::FACILITATOR => Some("facilitator"),
            Self::ISSUER => Some("USDC issuer"),
            _ => None,
        }
    }
}

/// Without the key, as everywhere: a habit that makes no exception for keys that do not matter.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("index", &self.index).field("address", &self.address).finish_non_exhaustive()
    }
}
