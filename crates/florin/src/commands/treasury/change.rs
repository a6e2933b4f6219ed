use std::path::PathBuf;

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};
use anyhow::Result;
use contracts::treasury::{ITreasury, Treasury as Contract};
use serde_json::json;

use super::{
    document::Document,
    policy::{self, Limits},
};
use crate::{
    chain::{Chain, Target},
    values::{self, Span, When},
};

/// Write a change of owners, threshold, policies or delays, for the owners to approve
///
/// The file is signed by owners (`sign`) or approved by transaction (`approve`), then scheduled (`schedule`); once the timelock has passed anyone
/// executes it (`execute`), unless a guardian or the owners stop it (`cancel`).
///
/// Example: florin treasury change --out change.json add-owner 0xNEW --threshold 3
#[derive(clap::Args, Debug)]
pub(super) struct Change {
    #[command(subcommand)]
    what: What,

    /// File to write the change to
    #[arg(long, value_name = "FILE", global = true, default_value = "change.json")]
    out: PathBuf,

    /// When the change expires if it is not executed: a duration or a time
    #[arg(long, value_name = "WHEN", global = true, default_value = "30d")]
    valid: When,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Add an owner. Example: florin treasury change add-owner 0xNEW --threshold 3
    AddOwner {
        owner: Address,
        /// How many owners decide afterwards
        #[arg(long, value_name = "COUNT")]
        threshold: u16,
    },
    /// Remove an owner. Example: florin treasury change remove-owner 0xOLD --threshold 2
    RemoveOwner {
        owner: Address,
        /// How many owners decide afterwards
        #[arg(long, value_name = "COUNT")]
        threshold: u16,
    },
    /// Put another owner in an owner's place. Example: florin treasury change replace-owner 0xOLD 0xNEW
    ReplaceOwner { owner: Address, successor: Address },
    /// Change how many owners decide. Example: florin treasury change set-threshold 3
    SetThreshold { threshold: u16 },
    /// Make somebody a guardian. Example: florin treasury change add-guardian 0xNEW
    AddGuardian { guardian: Address },
    /// Remove a guardian. Example: florin treasury change remove-guardian 0xOLD
    RemoveGuardian { guardian: Address },
    /// Change how long changes and new recipients wait. Example: florin treasury change set-delays --changes 48h --recipients 24h
    SetDelays {
        /// How long a change waits, from 1h to 30d
        #[arg(long, value_name = "DURATION")]
        changes: Span,
        /// How long a new recipient of an allowlist waits
        #[arg(long, value_name = "DURATION")]
        recipients: Span,
    },
    /// Give a spender a policy, or alter it; what is not named stays. Example: florin treasury change set-policy 0xSPENDER --daily 100
    SetPolicy {
        /// Whose policy; `owners` for the owners' own budget
        #[arg(value_parser = policy::spender)]
        spender: Address,
        #[command(flatten)]
        limits: Limits,
    },
    /// Enter a recipient in a spender's allowlist. Example: florin treasury change allow 0xSPENDER 0xRECIPIENT
    Allow {
        /// Whose allowlist; `owners` for the owners' own budget
        #[arg(value_parser = policy::spender)]
        spender: Address,
        /// Who may be paid, once the cool-down has passed
        recipient: Address,
    },
    /// Let orders move money again. Example: florin treasury change unpause
    Unpause,
    /// Call another contract, such as a wallet that the treasury owns. Example: florin treasury change call 0xWALLET 0x...
    Call {
        target: Address,
        /// The call, ABI-encoded: what `--calldata` of a florin command prints
        data: Bytes,
    },
}

impl Change {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, treasury) = target.connect().await?;
        let change = ITreasury::Change {
            calls: vec![self.what.call(&chain, treasury).await?],
            nonce: values::fresh(),
            validUntil: self.valid.from(chain.now),
            ownerEpoch: Contract::new(treasury, chain.provider()).ownerEpoch().call().await?,
        };
        let document = Document::change(&change, treasury, chain.id());
        document.write(&self.out)?;
        let file = self.out.display();
        let text = format!("{}written to {file}: owners sign it with `florin treasury sign {file}`", document.in_words());
        target.options.answer(&json!({ "change": document.id(), "file": self.out }), &text);
        Ok(())
    }
}

impl What {
    /// The call of itself that the treasury will make.
    async fn call(self, chain: &Chain, treasury: Address) -> Result<Bytes> {
        let token = chain.deployment.usdc;
        let call = match self {
            Self::AddOwner { owner, threshold } => {
                Contract::addOwnerCall { owner, threshold_: U256::from(threshold) }.abi_encode()
            }
            Self::RemoveOwner { owner, threshold } => {
                Contract::removeOwnerCall { owner, threshold_: U256::from(threshold) }.abi_encode()
            }
            Self::ReplaceOwner { owner, successor } => Contract::replaceOwnerCall { owner, successor }.abi_encode(),
            Self::SetThreshold { threshold } => Contract::setThresholdCall { threshold_: U256::from(threshold) }.abi_encode(),
            Self::AddGuardian { guardian } => Contract::setGuardianCall { guardian, active: true }.abi_encode(),
            Self::RemoveGuardian { guardian } => Contract::setGuardianCall { guardian, active: false }.abi_encode(),
            Self::SetDelays { changes, recipients } => {
                Contract::setDelaysCall { changeDelay: changes.0, recipientCooldown: recipients.0 }.abi_encode()
            }
            Self::SetPolicy { spender, limits } => {
                let policy = limits.over(chain, treasury, spender).await?;
                Contract::setPolicyCall { spender, token, policy }.abi_encode()
            }
            Self::Allow { spender, recipient } => Contract::allowRecipientCall { spender, token, recipient }.abi_encode(),
            Self::Unpause => Contract::unpauseCall {}.abi_encode(),
            Self::Call { target, data } => Contract::callContractCall { target, data }.abi_encode(),
        };
        Ok(call.into())
    }
}
