//! Why a call was refused, in words: what is wrong, in USDC and UTC, and what to do about it.

use std::fmt;

use alloy::{
    primitives::{U256, hex},
    sol_types::{Panic, Revert, SolError},
};
use money::Usdc;
use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

use crate::reading;

/// Why a call was refused, in one line.
///
/// `5.00 USDC is more than the 1.00 USDC that the daily limit leaves now: pay less, wait, or have the limit raised (SpendingLimitExceeded)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractError {
    text: String,
    named: Option<(String, Vec<(String, Value)>)>,
}

impl ContractError {
    /// Reads the data of a revert: errors of our contracts, of OpenZeppelin, Permit2 and the x402 proxies, messages of USDC and others,
    /// panics; anything else as hex.
    pub fn decode(data: &[u8]) -> Self {
        if let Some((name, arguments)) = reading::error(data) {
            let text = sentence(&name, &arguments).map_or_else(|| listed(&name, &arguments), |text| format!("{text} ({name})"));
            return Self { text, named: Some((name, arguments)) };
        }
        let message = || Revert::abi_decode(data).ok().map(|revert| message(revert.reason));
        let panic = || Panic::abi_decode(data).ok().map(|panic| format!("a defect of the contract, please report it ({panic})"));
        let raw = || match data {
            [] => "it gave no reason: is there a contract at this address, on this chain?".to_owned(),
            data => format!("it gave a reason unknown here: {}", hex::encode_prefixed(data)),
        };
        Self { text: message().or_else(panic).unwrap_or_else(raw), named: None }
    }

    /// Name and arguments of a contract's own error, the arguments as in [`Event::to_json`](crate::Event::to_json).
    pub fn named(&self) -> Option<(&str, &[(String, Value)])> {
        self.named.as_ref().map(|(name, arguments)| (name.as_str(), arguments.as_slice()))
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ContractError {}

/// A sentence for each error. `{usdc x}` is the argument `x` as USDC, `{utc x}` as a time, `{span x}` as a duration, `{status x}` as the state
/// of an agreement, `{x}` as it is. Where contracts have errors of one name with other arguments, the first sentence that finds all of its
/// own is taken.
const SENTENCES: &[(&str, &str)] = &[
    // Who calls
    ("NotOwner", "{caller} is not the owner {owner}: use the owner's key"),
    ("NotOwner", "{caller} is no owner: use an owner's key; if it is one, check that it signed exactly this"),
    ("NotOwnerOrGuardian", "{caller} is neither an owner nor a guardian"),
    ("NotSpenderOrOwner", "{caller} is neither the spender {spender} nor an owner"),
    ("NotSelf", "only a change of the owners does this: `florin treasury change`"),
    ("NotPendingOwner", "{caller} was not offered this, {pendingOwner} was: accept with its key"),
    ("NotGuardian", "{caller} is not the guardian {guardian}"),
    ("NotOperator", "{caller} is no operator: the owner adds it with `florin wallet operator add`"),
    ("NotFactory", "only the factory {factory} does this, when it creates the wallet"),
    ("NotApprover", "{signer} is neither owner nor approver, or approves its own payment, or signed something else"),
    ("NotEscrowOpener", "{caller} did not open this agreement; its opener or the owner releases it"),
    ("NotBuyer", "{caller} is not the buyer {buyer}"),
    ("NotSeller", "{caller} is not the seller {seller}"),
    ("NotArbiter", "{caller} is not the arbiter {arbiter}"),
    ("NotPayer", "{caller} is not the payer {payer}"),
    ("NotPayee", "{caller} is not the payee {payee}"),
    ("NotPayerOrPayee", "{caller} is neither the payer {payer} nor the payee {payee}"),
    // Who may be what
    ("AddressRefused", "{account} cannot have this part: it is zero, the wallet itself, or has another part already"),
    ("InvalidOwner", "{owner} cannot be an owner: it is zero or the treasury itself"),
    ("InvalidOwner", "the owner is not valid"),
    ("OwnerExists", "{owner} is an owner already"),
    ("OwnerUnknown", "{owner} is no owner"),
    ("TooManyOwners", "{owners} owners are more than the {ownersMax} that a treasury has"),
    ("InvalidThreshold", "{threshold} of {owners} owners cannot be the rule: it takes at least one and at most all"),
    ("InvalidGuardian", "{guardian} cannot be a guardian"),
    ("OperatorExists", "{operator} is an operator already"),
    ("OperatorIsFrozen", "the operator {operator} is frozen: the owner unfreezes it with `florin wallet unfreeze`"),
    ("ApproversInvalid", "{approvalsRequired} of {approvers} approvers cannot be the rule"),
    ("PartyInvalid", "{party} cannot have this part: it is zero, a contract of the deal, or has another part already"),
    ("BuyerIsNotThisWallet", "the terms name {buyer} as the buyer instead of this wallet"),
    ("AlreadyInitialized", "it is configured already"),
    ("RecoveryNotReady", "the recovery can be finished from {utc readyAt} on; the owner can object until then"),
    // Signatures and approvals
    ("ApprovalsNotAscending", "approvals must ascend by signer, and none may come twice"),
    ("ApprovalInvalid", "the signature of {owner} is not one of {id}: have it signed anew"),
    ("ApprovalMissing", "{owner} has not approved {id} by transaction"),
    ("ApprovalsMalformed", "the approvals are cut off or of no known kind"),
    ("ApprovalsBelowThreshold", "{approvals} owners approved and {threshold} must: collect more"),
    ("NotEnoughApprovals", "{approvals} approvers signed and {approvalsRequired} must, or the owner alone"),
    (
        "ApprovalSignatureInvalid",
        "the signature of {signer} is not one of this payment, or its epochs have moved on: have it signed anew",
    ),
    (
        "OperatorSignatureInvalid",
        "{signer} signed and not the operator {operator}, or something else was signed, or the epochs have moved on: sign anew",
    ),
    ("SignatureInvalid", "the signature is not one of {signer} for exactly this: have it signed anew"),
    ("PaymentDeadlinePassed", "the signatures held until {utc deadline} and it is {utc timestamp}: have it signed anew"),
    ("DeadlinePassed", "too late: this was possible until {utc deadline} and it is {utc timestamp}"),
    ("Expired", "it expired at {utc validUntil} and it is {utc timestamp}: make it anew"),
    ("OwnersStale", "owners or threshold changed since this was made (epoch {epoch}, now {current}): make it anew"),
    ("PolicyStale", "the policy changed since this was made (epoch {epoch}, now {current}): make it anew"),
    (
        "NonceUsed",
        "it was executed or cancelled before, or something else took its nonce {nonce}: make it anew if it is still wanted",
    ),
    // Limits
    (
        "SpendingLimitExceeded",
        "{usdc amount} is more than the {usdc remaining} that the daily limit leaves now: pay less, wait, or have the limit raised",
    ),
    (
        "OrderMaxExceeded",
        "{usdc total} is more than the {usdc orderMax} that one order may move: split it, or have the policy raised",
    ),
    (
        "PaymentAboveMaximum",
        "{usdc amount} is more than the {usdc paymentMax} that one payment may carry: split it, or have the policy raised",
    ),
    (
        "ApprovalRequired",
        "with this {usdc windowSpend} leave in 24 hours and above {usdc approvalAbove} others must approve: `florin wallet sign-payment`",
    ),
    (
        "PolicyInactive",
        "{spender} has no policy for the token {token}: the owners give it one by `florin treasury change set-policy`",
    ),
    (
        "PolicyMissing",
        "{operator} has no policy for the token {token}: the owner sets one with `florin wallet operator set-policy`",
    ),
    ("PolicyExpired", "the operator's policy ended at {utc expiresAt}: the owner sets a new one"),
    ("InvalidPolicy", "neither the order maximum nor the tier may be above the daily limit"),
    ("NotLower", "the new policy raises something: raising takes a change of the owners, `florin treasury change set-policy`"),
    (
        "RecipientNotAllowed",
        "{recipient} may be paid from {utc allowedFrom} on, if at all: the owners put it on the allowlist by a change",
    ),
    ("RecipientNotAllowed", "{recipient} may not be paid: it is not on the allowlist, or could not give the money back"),
    ("IsPaused", "the treasury is paused: the owners unpause it by a change"),
    ("LanePeriodTooShort", "a lane's period of {span periodSeconds} is too short: it takes {span periodSecondsMin} or more"),
    ("InvalidDelay", "the delay of {span delay} must be between {span delayMin} and {span delayMax}"),
    ("TooMany", "{count} are too many, at most {maximum}"),
    // Payments
    ("InvalidPayee", "{payee} cannot be paid: it is zero, the treasury itself, or the token"),
    ("ZeroAmount", "the amount is zero"),
    ("AmountZero", "the amount is zero"),
    ("PaymentAmountZero", "the amount is zero"),
    ("AmountTooLarge", "{usdc amount} is more than the {usdc max} that fit"),
    (
        "PaymentAlreadyExecuted",
        "the payment {paymentId} was made before; it is not made twice: take another id for another payment",
    ),
    (
        "PaymentExecuted",
        "the payment {paymentId} of {payer} was made before; it is not made twice: take another id for another payment",
    ),
    ("InvalidPaymentCount", "{payments} payments in one order are not possible here, at most {paymentsMax} are"),
    ("TooManyPayments", "{count} payments are too many, at most {countMax}"),
    ("NoPayees", "nobody is to be paid"),
    ("SharesInvalid", "the shares are {bps} basis points together and must be {bpsExpected}"),
    ("PackedInvalid", "the packed payments are cut off"),
    ("NotAToken", "{token} is no token"),
    ("DetailsMismatch", "the details speak of another payee, amount, token, buyer or id than the payment: make the order anew"),
    ("PaymentRefused", "the token refused to pay {usdc amount} to {to}: its issuer may have blocked that account or paused it"),
    ("InsufficientFunds", "{usdc needed} are needed and {usdc available} are there: fund it first"),
    ("InsufficientGas", "{gas} gas is left and {gasMin} must be: send the transaction with more"),
    ("BalanceMismatch", "the token moved {usdc moved} instead of {usdc expected}: it takes a fee, and none such is used here"),
    (
        "TokenMovedOtherAmount",
        "the token moved {usdc moved} instead of {usdc expected}: it takes a fee, and none such is used here",
    ),
    ("NothingToWithdraw", "nothing waits for {account}"),
    // Changes
    ("ChangeEmpty", "the change calls nothing"),
    ("ChangeAlreadyScheduled", "the change {id} was scheduled before: take another nonce for another one"),
    ("ChangeNotScheduled", "the change {id} is not scheduled, or is over"),
    ("ChangeNotReady", "the change can be executed from {utc readyAt} on; it is {utc timestamp}"),
    ("InvalidTarget", "a change cannot call {target}"),
    ("InvalidToken", "{token} is no token that can have a policy"),
    // Agreements
    ("WrongStatus", "the agreement is {status status}, and then this is not possible"),
    ("FeeInvalid", "a fee of {feeBps} basis points is more than {feeBpsMax}"),
    ("TooEarly", "only the seller can do this now; anyone can from {utc opensAt} on"),
    ("ReviewOver", "the review ended at {utc reviewEnds}: it can no longer be disputed"),
    ("ReviewNotOver", "the buyer may still dispute; anyone can release from {utc reviewEnds} on"),
    ("ArbitrationOver", "the arbitration ended at {utc arbitrationEnds}: apply the default"),
    ("ArbitrationNotOver", "the arbiter may still rule; anyone can apply the default from {utc arbitrationEnds} on"),
    ("NothingToRelease", "{usdc released} are released already, and {usdc total} is not more"),
    ("MoreThanFunded", "{usdc total} is more than the {usdc funded} that are there"),
    // Subscriptions
    ("PriceZero", "the price is zero"),
    ("PeriodZero", "the period is zero"),
    ("PriceAboveTotal", "the price of {usdc price} is more than the {usdc totalMax} that the subscription may cost in all"),
    ("PriceNotLower", "{usdc price} is not lower than {usdc oldPrice}: the payer signs a higher price"),
    ("PriceNotHigher", "{usdc price} is not higher than {usdc oldPrice}: the payee lowers a price alone"),
    ("SubscriptionExists", "the subscription {id} exists already: take another salt for another one"),
    ("SubscriptionUnknown", "there is no subscription {id}, or it is over"),
    ("NotDue", "nothing is due before {utc dueAt}, and it is {utc timestamp}"),
    ("SubscriptionEnded", "the subscription ended with period {endPeriod}"),
    ("TotalReached", "that would be {usdc total} in all and at most {usdc totalMax} may be charged"),
    // Services
    ("ServiceExists", "the service {service} is registered already: choose another --name"),
    ("ServiceUnknown", "there is no service {service}"),
    ("ServiceIsRetired", "the service {service} is retired"),
    ("PeriodInvalid", "a subscription, and nothing else, has a period"),
    ("MoreThanStaked", "{usdc amount} is more than the stake of {usdc stake}"),
    ("NothingUnbonding", "the service {service} has no stake on the way out"),
    ("StillUnbonding", "it can be withdrawn from {utc unbondsAt} on"),
    ("PayeeMismatch", "the agreement's seller {seller} is not the service's payee {payee}"),
    ("ArbiterMismatch", "the agreement's arbiter {arbiter} is not the service's arbiter {expected}"),
    ("TokenMismatch", "the agreement is about the token {token}, the stake about {expected}"),
    ("NoFinding", "the arbiter did not rule against the seller of agreement {agreement}"),
    ("AlreadySlashed", "agreement {agreement} was slashed for before"),
    ("SlashTooLarge", "{usdc amount} is more than the {usdc amountMax} that this agreement can cost the stake"),
    ("NoPayment", "nothing was paid to this service under {payment}"),
    ("AlreadyRated", "this payment was rated before: {payment}"),
    ("SelfFeedback", "{payer} rates itself"),
    ("ScoreTooHigh", "a score of {score} is above {scoreMax}"),
    // Anchors
    ("SequenceInvalid", "the next batch is {expected} and not {sequence}"),
    ("BatchEmpty", "batch {sequence} is empty"),
    // OpenZeppelin
    (
        "SafeERC20FailedOperation",
        "the token {token} refused: check balance and allowance, and whether its issuer blocked an account",
    ),
    ("ReentrancyGuardReentrantCall", "the contract was called again while it was at work"),
    ("AddressEmptyCode", "there is no contract at {target}"),
    ("FailedCall", "a call that this makes failed and gave no reason"),
    ("FailedDeployment", "the contract could not be created"),
    ("InsufficientBalance", "{needed} wei are needed and {balance} are there"),
    ("StringTooLong", "a text of {length} bytes is too long, at most {lengthMax} fit"),
    ("StringTooLong", "the text {str} is too long"),
    ("SafeCastOverflowedUintDowncast", "{value} is more than {bits} bits hold"),
    ("InvalidShortString", "a short text is malformed"),
    // Permit2 and the x402 proxies
    ("AllowanceExpired", "the allowance ended at {utc deadline}"),
    ("InsufficientAllowance", "{usdc amount} is all that Permit2 may take: the payer approves more"),
    ("AmountExceedsPermitted", "more is asked for than was signed for"),
    ("UnauthorizedFacilitator", "another facilitator than this was signed for"),
    ("ExcessiveInvalidation", "too many nonces at once"),
    ("InvalidAmount", "more is asked for than the {usdc maxAmount} that were signed for"),
    ("InvalidAmount", "the amount is not the one that was signed for"),
    ("InvalidContractSignature", "the payer's contract does not accept the signature"),
    ("InvalidNonce", "the nonce was used before: this was settled, or needs another nonce"),
    ("InvalidSignature", "the signature is malformed"),
    ("InvalidSignatureLength", "the signature has a wrong length"),
    ("InvalidSigner", "another key signed, or something else was signed"),
    ("LengthMismatch", "two lists must be of one length"),
    ("SignatureExpired", "the signature held until {utc signatureDeadline}: have it signed anew"),
    ("InvalidDestination", "the payee is zero"),
    ("InvalidPermit2Address", "Permit2 is not where it should be"),
    ("PaymentTooEarly", "the payment is not valid yet"),
    ("Permit2612AmountMismatch", "the permit is about another amount than the payment"),
];

/// What USDC says, by the part of it that tells. The first that fits is taken.
const MESSAGES: &[(&str, &str)] = &[
    ("transfer amount exceeds balance", "the payer has too little USDC"),
    ("transfer amount exceeds allowance", "the payer allowed less USDC than this takes: approve more first"),
    ("decreased allowance below zero", "the allowance is lower than that"),
    ("is blacklisted", "the issuer of USDC has blocked one of the accounts"),
    ("Pausable: paused", "USDC is paused by its issuer: try again later"),
    ("authorization is not yet valid", "the authorization is not valid yet"),
    ("authorization is expired", "the authorization has expired: have it signed anew"),
    ("authorization is used or canceled", "the authorization was used or cancelled before"),
    ("caller must be the payee", "only the payee carries out this authorization"),
    ("permit is expired", "the permit has expired: have it signed anew"),
    ("invalid signature", "USDC does not accept the signature: another key signed, or something else was signed"),
    ("to the zero address", "the zero address cannot be paid or approved"),
    ("from the zero address", "the zero address cannot pay or approve"),
    ("mint amount exceeds minterAllowance", "more is minted than the minter may"),
    ("amount not greater than 0", "the amount is zero"),
    ("burn amount exceeds balance", "more is burnt than is there"),
    ("caller is not", "the account has no such right over USDC"),
];

/// What a `require` said, in words where it is known, with its own.
fn message(said: String) -> String {
    match MESSAGES.iter().find(|(part, _)| said.contains(part)) {
        Some((_, words)) => format!("{words} ({said})"),
        None => said,
    }
}

fn sentence(name: &str, arguments: &[(String, Value)]) -> Option<String> {
    SENTENCES.iter().filter(|(known, _)| *known == name).find_map(|(_, template)| filled(template, arguments))
}

/// `None` when an argument that the template names is missing.
fn filled(template: &str, arguments: &[(String, Value)]) -> Option<String> {
    let mut parts = template.split(['{', '}']);
    let mut text = parts.next()?.to_owned();
    while let (Some(slot), Some(after)) = (parts.next(), parts.next()) {
        let (kind, name) = slot.split_once(' ').unwrap_or(("", slot));
        let (_, value) = arguments.iter().find(|(argument, _)| argument == name)?;
        text += &shown(kind, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        text += after;
    }
    Some(text)
}

fn shown(kind: &str, value: String) -> String {
    let number = || value.parse::<U256>().ok();
    let shown = match kind {
        "usdc" => number().and_then(|units| Usdc::try_from(units).ok()).map(|amount| format!("{amount} USDC")),
        "utc" => number().map(utc),
        "span" => number().and_then(|seconds| u64::try_from(seconds).ok()).map(span),
        "status" => number().and_then(|status| usize::try_from(status).ok()).and_then(status),
        _ => None,
    };
    shown.unwrap_or(value)
}

/// A time further away than a calendar goes is how contracts say never.
fn utc(seconds: U256) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| "never".to_owned())
}

fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length)).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

/// The states of an agreement, as the contract counts them.
fn status(number: usize) -> Option<String> {
    let states = ["unknown", "funded", "delivered", "disputed", "released", "refunded", "resolved"];
    states.get(number).map(|&state| state.to_owned())
}

/// `Name(argument: value, …)`, for an error that has no sentence.
fn listed(name: &str, arguments: &[(String, Value)]) -> String {
    let shown = arguments.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    });
    format!("{name}({})", shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The names of an error's arguments in each contract that has it, by what the chain sees of it.
    fn errors() -> BTreeMap<String, (String, Vec<Vec<String>>)> {
        let mut errors = BTreeMap::<String, (String, Vec<Vec<String>>)>::new();
        for error in reading::errors() {
            let names = error.inputs.iter().map(|input| input.name.clone()).collect();
            errors.entry(error.signature()).or_insert_with(|| (error.name.clone(), vec![])).1.push(names);
        }
        errors
    }

    #[test]
    fn every_error_of_every_contract_has_a_sentence() {
        for (signature, (name, contracts)) in errors() {
            for arguments in contracts {
                let arguments: Vec<_> = arguments.into_iter().map(|argument| (argument, Value::from("1"))).collect();
                let text = sentence(&name, &arguments);
                let text = text.unwrap_or_else(|| panic!("{signature} with {arguments:?} needs a sentence in SENTENCES"));
                assert!(!text.contains(['{', '}', '\n']), "{text}");
            }
        }
    }

    /// The chain does not say which contract refused: a sentence may name only arguments that all contracts with this error call the same.
    #[test]
    fn contracts_that_share_an_error_share_its_sentence() {
        for (signature, (name, contracts)) in errors() {
            let texts: BTreeSet<_> = contracts
                .into_iter()
                .map(|names| {
                    let arguments: Vec<_> =
                        names.into_iter().enumerate().map(|(at, name)| (name, Value::from(at.to_string()))).collect();
                    sentence(&name, &arguments)
                })
                .collect();
            assert_eq!(texts.len(), 1, "{signature}: {texts:?}");
        }
    }

    #[test]
    fn amounts_times_and_durations_read_like_such() {
        let arguments =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), Value::from(*v))).collect::<Vec<_>>();
        let ready = arguments(&[("readyAt", "1798761599"), ("timestamp", "0")]);
        let text = sentence("ChangeNotReady", &ready).unwrap();
        assert_eq!(text, "the change can be executed from 2026-12-31 23:59:59 UTC on; it is 1970-01-01 00:00:00 UTC");
        assert_eq!(utc(U256::MAX), "never");
        let delay = arguments(&[("delay", "90"), ("delayMin", "3600"), ("delayMax", "2592000")]);
        assert_eq!(sentence("InvalidDelay", &delay).unwrap(), "the delay of 90 s must be between 1 h and 30 d");
        let huge = U256::MAX.to_string();
        let total = arguments(&[("total", &huge), ("funded", "2500000")]);
        assert_eq!(sentence("MoreThanFunded", &total).unwrap(), format!("{huge} is more than the 2.50 USDC that are there"));
        let status = arguments(&[("id", "0xab"), ("status", "5")]);
        assert!(sentence("WrongStatus", &status).unwrap().starts_with("the agreement is refunded"));
    }
}
