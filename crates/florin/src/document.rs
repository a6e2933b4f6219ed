//! What is passed around to be signed, as a file: EIP-712 typed data, which `eth_signTypedData_v4`, hardware wallets and `cast wallet sign
//! --data` take as well.

use std::{fs, path::Path};

use alloy::{
    dyn_abi::{Resolver, TypedData},
    primitives::{Address, Bytes, Signature},
    sol_types::{Eip712Domain, SolStruct, SolValue},
};
use anyhow::{Context, Result, bail};
use contracts::signing::Message;

/// Writes a message to sign.
pub(crate) fn write<T: SolStruct + SolValue<SolType = T>>(message: &Message<T>, file: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(&message.typed_data())?;
    write_text(file, &json)
}

/// Writes a line of text, such as a signature.
pub(crate) fn write_text(file: &Path, text: &str) -> Result<()> {
    fs::write(file, format!("{text}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads a file that [`write`] made.
pub(crate) fn load(file: &Path) -> Result<TypedData> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no EIP-712 message as florin writes it", file.display()))
}

/// The contract and the chain that a message is for.
pub(crate) fn target(data: &TypedData) -> Result<(Address, u64)> {
    let contract = data.domain.verifying_contract.context("the message names no contract")?;
    let chain_id = data.domain.chain_id.and_then(|id| id.try_into().ok()).context("the message names no chain")?;
    Ok((contract, chain_id))
}

/// Reads a message of the type `T`. What the file says about types and domain is only compared: our own are signed.
pub(crate) fn read<T: SolStruct + SolValue<SolType = T>>(data: &TypedData, domain: Eip712Domain) -> Result<Message<T>> {
    if data.primary_type != T::NAME || data.domain != domain {
        bail!("this is a {} for another contract, not a {} for {}", data.primary_type, T::NAME, domain.name.unwrap_or_default());
    }
    let resolver = Resolver::from_struct::<T>();
    let own = TypedData { domain: domain.clone(), resolver, primary_type: T::NAME.to_owned(), message: data.message.clone() };
    let value = own.coerce().with_context(|| format!("the message is no {}", T::NAME))?;
    let content = <T as SolValue>::abi_decode(&value.abi_encode()).with_context(|| format!("the message is no {}", T::NAME))?;
    Ok(Message { domain, content })
}

/// Prints a signature, or writes it to a file.
#[allow(clippy::print_stdout)]
pub(crate) fn give(signature: &Signature, out: Option<&Path>) -> Result<()> {
    let text = Bytes::from(signature.as_bytes()).to_string();
    match out {
        Some(file) => write_text(file, &text),
        None => {
            println!("{text}");
            Ok(())
        }
    }
}
