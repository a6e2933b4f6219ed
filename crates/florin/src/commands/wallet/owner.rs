//! The owner's affairs: the money, the wallet itself, who helps.

use alloy::primitives::Address;
use anyhow::Result;
use contracts::agent_wallet::AgentWallet;
use money::Usdc;

use crate::chain::Target;

/// Take money out, as the owner
///
/// Example: florin wallet withdraw --to 0xME --amount 100
#[derive(clap::Args, Debug)]
pub(super) struct Withdraw {
    /// Who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: Address,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,
}

impl Withdraw {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, wallet) = target.sender().await?;
        let token = sender.chain.deployment.usdc;
        let call = AgentWallet::withdrawCall { token, to: self.to, amount: self.amount.into() };
        sender.send(wallet, &call).await.map(drop)
    }
}

/// Offer the wallet to another owner, who has to accept it; the zero address takes the offer back
///
/// Example: florin wallet transfer-ownership 0xNEW
#[derive(clap::Args, Debug)]
pub(super) struct TransferOwnership {
    /// Who is to own it
    new_owner: Address,
}

impl TransferOwnership {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        target.send(&AgentWallet::transferOwnershipCall { newOwner: self.new_owner }).await
    }
}

/// Take over a wallet that its owner offered to the key
///
/// Example: florin wallet accept-ownership
#[derive(clap::Args, Debug)]
pub(super) struct AcceptOwnership {}

impl AcceptOwnership {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        target.send(&AgentWallet::acceptOwnershipCall {}).await
    }
}

/// Set who may freeze operators and recover a lost owner; the zero address for nobody
///
/// Example: florin wallet set-guardian 0xGUARDIAN
#[derive(clap::Args, Debug)]
pub(super) struct SetGuardian {
    /// The guardian
    guardian: Address,
}

impl SetGuardian {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        target.send(&AgentWallet::setGuardianCall { newGuardian: self.guardian }).await
    }
}

/// Set who may approve large payments in the owner's place; voids every approval given before. Without any, only the owner approves
///
/// Example: florin wallet set-approvers 0xA 0xB 0xC --approvals 2
#[derive(clap::Args, Debug)]
pub(super) struct SetApprovers {
    /// The approvers
    #[arg(requires = "approvals")]
    approvers: Vec<Address>,

    /// How many of them replace the owner
    #[arg(long, value_name = "COUNT", requires = "approvers")]
    approvals: Option<u8>,
}

impl SetApprovers {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let approvals = self.approvals.unwrap_or_default();
        target.send(&AgentWallet::setApproversCall { approvers: self.approvers, approvalsRequired: approvals }).await
    }
}

/// Hand the wallet of a lost owner to another: by the guardian, after seven days in which the owner can object
#[derive(clap::Subcommand, Debug)]
pub(super) enum Recover {
    /// Begin, as the guardian
    ///
    /// Example: florin wallet recover start 0xNEW
    Start {
        /// Who is to own the wallet
        new_owner: Address,
    },
    /// Take the wallet over, as the new owner, when seven days have passed
    ///
    /// Example: florin wallet recover finish
    Finish,
    /// Object, as the owner
    ///
    /// Example: florin wallet recover cancel
    Cancel,
}

impl Recover {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        match self {
            Self::Start { new_owner } => target.send(&AgentWallet::startRecoveryCall { newOwner: new_owner }).await,
            Self::Finish => target.send(&AgentWallet::finishRecoveryCall {}).await,
            Self::Cancel => target.send(&AgentWallet::cancelRecoveryCall {}).await,
        }
    }
}
