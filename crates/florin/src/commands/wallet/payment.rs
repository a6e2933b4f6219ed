//! Paying as an operator: by transaction, or by signatures that anybody relays.

use std::path::PathBuf;

use alloy::primitives::{Address, B256, Bytes, U256};
use anyhow::{Result, bail};
use contracts::{
    agent_wallet::{AgentWallet, IAgentWallet},
    signing::{
        Approvals, Message,
        wallet::{self as signing, Epochs},
    },
};
use money::Usdc;

use crate::{
    chain::{Chain, Target},
    document, values,
    values::When,
    words::{known_usdc, unless_usdc},
};

/// Whom to pay and how much.
#[derive(clap::Args, Clone, Debug)]
struct PaymentOptions {
    /// Who is paid
    #[arg(long, value_name = "ADDRESS")]
    to: Address,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,

    /// Payment id: text or 32 bytes in hex; one id is paid once [default: a fresh one, printed]
    #[arg(long, value_name = "ID", value_parser = values::reference)]
    id: Option<B256>,
}

impl PaymentOptions {
    /// The id, which a person who repeats the payment needs to know.
    fn id(&self) -> B256 {
        self.id.unwrap_or_else(values::fresh_id)
    }
}

/// Pay as an operator, within its limits; repeating with the same --id is safe
///
/// Example: florin wallet pay --to 0xSELLER --amount 2.50 --id "order 4711"
#[derive(clap::Args, Debug)]
pub(super) struct Pay {
    #[command(flatten)]
    payment: PaymentOptions,
}

impl Pay {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, wallet) = target.sender().await?;
        let PaymentOptions { to, amount, id } = self.payment;
        // The wallet would say first that the limit has no room for a second one.
        if let Some(id) = id
            && AgentWallet::new(wallet, sender.chain.provider()).isPaymentExecuted(id).call().await?
        {
            bail!("the payment {} was made before; it is not made twice", values::shown_reference(id));
        }
        let call = AgentWallet::executePaymentCall {
            token: sender.chain.deployment.usdc,
            to,
            amount: amount.into(),
            paymentId: self.payment.id(),
        };
        sender.send(wallet, &call).await.map(drop)
    }
}

/// Sign a payment as its operator: writes the payment to a file, prints the signature, sends nothing
///
/// Example: florin wallet sign-payment --to 0xSELLER --amount 80 --out payment.json > agent.sig
#[derive(clap::Args, Debug)]
pub(super) struct SignPayment {
    #[command(flatten)]
    payment: PaymentOptions,

    /// Until when the payment may be made: a duration or a time
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    valid: When,

    /// File to write the payment to, for approvers and for whoever relays it
    #[arg(long, value_name = "FILE", default_value = "payment.json")]
    out: PathBuf,
}

impl SignPayment {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let operator = target.options.key.signer()?;
        let (chain, wallet) = target.connect().await?;
        let payment = IAgentWallet::Payment {
            operator: operator.address(),
            token: chain.deployment.usdc,
            to: self.payment.to,
            amount: self.payment.amount.into(),
            paymentId: self.payment.id(),
            deadline: U256::from(self.valid.from(chain.now)),
        };
        let message = signing::payment(&payment, epochs(&chain, wallet, operator.address()).await?, wallet, chain.id());
        document::write(&message, &self.out)?;
        eprintln!("{}written to {}", in_words(&message), self.out.display());
        document::give(&message.sign(&operator)?, None)
    }
}

/// Approve a payment above the tier as the owner or an approver: signs on a machine without a network, says first what it is
///
/// Example: florin wallet approve payment.json --out owner.sig
#[derive(clap::Args, Debug)]
pub(super) struct Approve {
    /// File with the payment
    file: PathBuf,

    /// File to write the signature to [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Approve {
    pub(super) fn run(self, target: &Target) -> Result<()> {
        let (message, wallet, _) = load(&self.file)?;
        if target.address.is_some_and(|named| named != wallet) {
            bail!("{} is for the wallet {wallet}, not the one named with --wallet", self.file.display());
        }
        let signer = target.options.key.signer()?;
        eprintln!("{}signed by {}", in_words(&message), signer.address());
        document::give(&message.sign(&signer)?, self.out.as_deref())
    }
}

/// Send a payment that its operator signed, with whatever approvals there are; anybody can
///
/// Example: florin wallet relay payment.json --signature agent.sig --signature owner.sig
#[derive(clap::Args, Debug)]
pub(super) struct Relay {
    /// File with the payment
    file: PathBuf,

    /// A signature or a file with one, the operator's and those of owner or approvers; `SIGNER:SIGNATURE` for one that is a contract
    #[arg(long = "signature", value_name = "SIGNATURE", required = true)]
    signatures: Vec<String>,
}

impl Relay {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (message, wallet, chain_id) = load(&self.file)?;
        let sender = target.options.sender().await?;
        if chain_id != sender.chain.id() {
            bail!("{} is for chain {chain_id} and the node is on chain {}", self.file.display(), sender.chain.id());
        }
        sender.chain.expect_contract(wallet, "wallet").await?;
        let content = &message.content;
        let current = epochs(&sender.chain, wallet, content.operator).await?;
        if current != (Epochs { operator: content.operatorEpoch, approval: content.approvalEpoch }) {
            bail!("what was signed is void: the owner changed operator or approvers since; have the payment signed anew");
        }
        let payment = IAgentWallet::Payment {
            operator: content.operator,
            token: content.token,
            to: content.to,
            amount: content.amount,
            paymentId: content.paymentId,
            deadline: content.deadline,
        };
        let (operator_signature, approvals) = self.sorted(&message)?;
        if approvals.signers().len() == 0 {
            let call = AgentWallet::executePaymentWithSigCall { payment, operatorSignature: operator_signature };
            return sender.send(wallet, &call).await.map(drop);
        }
        let approvals = approvals.for_wallet()?;
        let call = AgentWallet::executeApprovedPaymentCall { payment, operatorSignature: operator_signature, approvals };
        sender.send(wallet, &call).await.map(drop)
    }

    /// The operator's signature, and the others.
    fn sorted(&self, message: &Message<signing::Payment>) -> Result<(Bytes, Approvals)> {
        let mut approvals = Approvals::of(message.digest());
        let mut by_operator = Bytes::new();
        for text in &self.signatures {
            if let Some((signer, signature)) = values::contract_signature(text) {
                approvals.add_contract(signer, signature?)?;
                continue;
            }
            let signature = values::signature(text)?;
            if signature.recover_address_from_prehash(&message.digest()).ok() == Some(message.content.operator) {
                by_operator = signature.as_bytes().into();
            } else {
                approvals.add(signature)?;
            }
        }
        Ok((by_operator, approvals))
    }
}

/// The payment in a file, its wallet and its chain.
fn load(file: &std::path::Path) -> Result<(Message<signing::Payment>, Address, u64)> {
    let data = document::load(file)?;
    let (wallet, chain_id) = document::target(&data)?;
    let message: Message<signing::Payment> = document::read(&data, signing::domain(wallet, chain_id))?;
    if message.content.wallet != wallet {
        bail!("{} names the wallet {} and is signed for {wallet}", file.display(), message.content.wallet);
    }
    Ok((message, wallet, chain_id))
}

async fn epochs(chain: &Chain, wallet: Address, operator: Address) -> Result<Epochs> {
    let contract = AgentWallet::new(wallet, chain.provider());
    let (known, rule) = (contract.operatorOf(operator).call().await?, contract.approvalRule().call().await?);
    if known.lane == 0 {
        bail!("{operator} is no operator of the wallet {wallet}: the owner adds it with `florin wallet operator add`");
    }
    Ok(Epochs { operator: known.epoch, approval: rule.approvalEpoch })
}

fn in_words(message: &Message<signing::Payment>) -> String {
    let payment = &message.content;
    let usdc = known_usdc(message.domain.chain_id.map_or(0, |id| id.saturating_to()));
    let (amount, deadline) = (values::usdc(payment.amount), values::utc(payment.deadline.saturating_to()));
    let (wallet, operator, id) = (payment.wallet, payment.operator, values::shown_reference(payment.paymentId));
    format!(
        "payment of {amount} USDC to {}\n  from wallet {wallet} by operator {operator}\n  id {id}, until {deadline}\n",
        payment.to
    ) + &unless_usdc(payment.token, usdc)
}
