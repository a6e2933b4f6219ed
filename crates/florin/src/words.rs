//! Events and errors of the contracts as sentences: amounts in USDC, times in UTC.

use alloy::primitives::Address;
use contracts::{ContractError, Event};
use money::Usdc;
use serde_json::{Map, Value, json};

use crate::values::{Span, shown_reference, utc};

/// What the arguments of these names are; whoever names one in Solidity means the same.
const AMOUNTS: &[&str] = &[
    "amount",
    "amountMax",
    "charged",
    "oldPrice",
    "price",
    "stake",
    "totalMax",
    "unbonding",
    "approvalAbove",
    "available",
    "bond",
    "dailyLimit",
    "disputeBond",
    "fee",
    "funded",
    "moved",
    "needed",
    "orderMax",
    "paymentMax",
    "released",
    "remaining",
    "toBuyer",
    "toSeller",
    "total",
    "value",
    "windowSpend",
];
const TIMES: &[&str] = &[
    "allowedFrom",
    "changesAt",
    "dueAt",
    "unbondsAt",
    "arbitrationEnds",
    "deadline",
    "deliverBy",
    "expiresAt",
    "from",
    "opensAt",
    "readyAt",
    "reviewEnds",
    "timestamp",
    "validUntil",
];
const SPANS: &[&str] = &[
    "arbitrationPeriod",
    "changeDelay",
    "delay",
    "delayMax",
    "delayMin",
    "periodSeconds",
    "periodSecondsMin",
    "recipientCooldown",
    "reviewPeriod",
];
const REFERENCES: &[&str] = &["category", "paymentRef"];

/// Sentences for what happened. An event that is not here is told by its name and arguments.
const EVENTS: &[(&str, &str)] = &[
    ("Approval", "{spender} may take {value} of {owner}"),
    ("TreasuryCreated", "treasury {treasury} created, {threshold} owners decide"),
    ("OrderProposed", "order {id} waits for the owners"),
    ("OrderExecuted", "{amount} to {to}, reference {paymentRef}, category {category}"),
    ("PaymentCredited", "the token refused {to}: {amount} wait there for it to withdraw"),
    ("Approved", "{owner} approved {id}"),
    ("ApprovalWithdrawn", "{owner} no longer approves {id}"),
    ("NonceCancelled", "number {nonce} of spender {spender} is void, and every order that carries it"),
    ("ChangeScheduled", "change {id} is scheduled and can be executed from {readyAt} on"),
    ("ChangeExecuted", "change {id} is in force"),
    ("ChangeCancelled", "change {id} is off"),
    ("Paused", "paused: no order moves money until the owners unpause by a change"),
    ("Unpaused", "orders move money again"),
    ("OwnerAdded", "{owner} is an owner"),
    ("OwnerRemoved", "{owner} is no owner any more"),
    ("ThresholdSet", "{threshold} owners decide; what was approved before is void"),
    ("DelaysSet", "changes wait {changeDelay}, new recipients {recipientCooldown}"),
    ("GuardianSet", "{guardian} is a guardian: {active}"),
    ("PolicySet", "spender {spender} now has: {policy}"),
    ("PolicyRemoved", "spender {spender} can spend nothing any more"),
    ("RecipientAllowed", "spender {spender} can pay {recipient} from {from} on"),
    ("RecipientRemoved", "spender {spender} cannot pay {recipient} any more"),
    ("WalletCreated", "wallet {wallet} created, owned by {owner}"),
    ("PaymentExecuted", "paid {amount} to {to}, payment id {paymentId}"),
    ("Withdrawn", "withdrew {amount} to {to}"),
    ("GuardianChanged", "the guardian is {newGuardian}"),
    ("PolicyChanged", "{operator} now has: {policy}"),
    ("RecipientChanged", "{operator} may pay {recipient}: {allowed}"),
    ("LaneOpened", "{operator} pays by x402: {lane}"),
    ("LaneClosed", "{operator} pays no more by x402"),
    ("OperatorAdded", "{operator} is an operator"),
    ("OperatorRemoved", "{operator} is no operator any more; what it signed is void"),
    ("OperatorFrozen", "{operator} is frozen and pays nothing"),
    ("OperatorUnfrozen", "{operator} pays again"),
    ("EpochChanged", "what {operator} signed before is void"),
    ("OwnershipTransferStarted", "ownership is offered to {newOwner}, who has to accept it"),
    ("OwnershipTransferred", "{newOwner} owns the wallet now"),
    ("RecoveryStarted", "{newOwner} can take the wallet over from {readyAt} on, unless the owner objects"),
    ("RecoveryCancelled", "{newOwner} will not take the wallet over"),
    ("AgreementFunded", "agreement {id} is funded"),
    ("AgreementToppedUp", "{amount} added: {funded} in agreement {id}"),
    ("AgreementDelivered", "delivered; the buyer may dispute before {reviewEnds}"),
    ("AgreementReleased", "released {amount} to the seller, of it {fee} fee; {released} in all"),
    ("AgreementRefunded", "refunded {amount} to the buyer"),
    ("AgreementDisputed", "disputed with a bond of {bond}; the arbiter may rule before {arbitrationEnds}"),
    ("AgreementResolved", "resolved: {toSeller} to the seller, of it {fee} fee, {toBuyer} to the buyer, the bond to {bondTo}"),
    ("EscrowOpened", "agreement {agreement} opened with {amount}"),
    ("PayoutCredited", "the token refused {account}: {amount} wait in the contract for it to withdraw"),
    ("PaymentRecorded", "{amount} to {payee}, recorded under payment id {paymentId}"),
    ("BatchPaid", "{total} paid, reference {paymentRef}"),
    ("SplitPaid", "{amount} split, reference {paymentRef}"),
    ("SubscriptionCreated", "subscription {id} of {payer} to {payee}"),
    ("SubscriptionCharged", "charged {amount} to {payee} for {periods} periods; {charged} in all"),
    ("SubscriptionCancelled", "subscription {id} is cancelled; its period {endPeriod} is the first that is not charged"),
    ("SubscriptionPriceChanged", "a period costs {price} instead of {oldPrice}"),
    ("ServiceRegistered", "service {service} registered, paid to {payee}"),
    ("OfferPublished", "offer published: {offer}"),
    ("ServiceRetired", "service {service} is retired"),
    ("OwnershipOffered", "service {service} is offered to {pendingOwner}, who has to accept it"),
    ("OwnershipAccepted", "{newOwner} owns service {service} now"),
    ("PartiesAnnounced", "from {changesAt} on payee {payee}, arbiter {arbiter}"),
    ("StakeAdded", "{amount} added: the stake is {stake}"),
    ("UnbondingBegun", "{unbonding} can be withdrawn from {unbondsAt} on, and slashed until then"),
    ("UnbondingCancelled", "{amount} bonded again: the stake is {stake}"),
    ("StakeWithdrawn", "withdrew {amount} to {to}"),
    ("StakeSlashed", "slashed {amount}, paid to the buyer {buyer}"),
    ("FeedbackGiven", "rated {score} of 100 for {amount}"),
    ("BatchAnchored", "batch {sequence} with {entryCount} entries anchored, root {root}; {entries} entries in all"),
    ("CreditWithdrawn", "withdrew {amount} to {to}"),
];

/// Events that only say over again what another one said.
const SILENT: &[&str] = &["Transfer", "AuthorizationUsed"];

/// Sentences for refusals: what is wrong, and what to do.
const ERRORS: &[(&str, &str)] = &[
    // Everywhere
    (
        "SpendingLimitExceeded",
        "{amount} is more than the {remaining} that the daily limit leaves now: pay less, wait, or have the limit raised",
    ),
    ("NothingToWithdraw", "nothing waits for {account}"),
    ("TokenMovedOtherAmount", "the token moved {moved} instead of {expected}: it is none that can be used here"),
    (
        "SafeERC20FailedOperation",
        "the token {token} refused the transfer: look at balance and allowance, and whether USDC blocks an account",
    ),
    // Treasury
    ("NotOwner", "{caller} is no owner: use an owner's key"),
    ("NotOwnerOrGuardian", "{caller} is neither owner nor guardian"),
    ("NotSpenderOrOwner", "{caller} is neither the spender {spender} nor an owner"),
    ("NotSelf", "that takes a change: `florin treasury change`"),
    ("InvalidOwner", "{owner} cannot be an owner"),
    ("OwnerExists", "{owner} is an owner already"),
    ("OwnerUnknown", "{owner} is no owner"),
    ("InvalidThreshold", "{threshold} of {owners} owners cannot be the rule: at least one and at most all"),
    ("InvalidDelay", "the delay {delay} must be between {delayMin} and {delayMax}"),
    ("ApprovalInvalid", "the signature of {owner} is not one of {id}"),
    ("ApprovalMissing", "{owner} has not approved {id}"),
    ("ApprovalsBelowThreshold", "{approvals} owners approved and {threshold} must: collect more signatures or approvals"),
    ("IsPaused", "the treasury is paused; the owners unpause it by a change"),
    (
        "PolicyInactive",
        "{spender} has no policy for the token {token}: the owners give it one by `florin treasury change set-policy`",
    ),
    ("PolicyStale", "the policy changed since the order was made: make a new order"),
    ("OwnersStale", "owners or threshold changed since this was made: make it anew"),
    ("Expired", "it expired at {validUntil}: make it anew"),
    ("NonceUsed", "this order was executed or cancelled before"),
    ("OrderMaxExceeded", "{total} is more than the {orderMax} that one order may move: split it, or have the policy raised"),
    ("RecipientNotAllowed", "{recipient} may not be paid: the policy pays only recipients on its allowlist, from their date on"),
    ("InvalidPolicy", "neither the order maximum nor the tier may be above the daily limit"),
    ("NotLower", "that raises something: raising takes a change of the owners, `florin treasury change set-policy`"),
    ("InvalidPayee", "{payee} cannot be paid"),
    ("ZeroAmount", "an amount of zero cannot be paid"),
    ("InvalidPaymentCount", "{payments} payments are not possible here, at most {paymentsMax} are"),
    ("PaymentRefused", "the token refused to pay {amount} to {to}: USDC may block that account"),
    ("InsufficientFunds", "{needed} are needed and {available} are there: fund it first"),
    ("ChangeAlreadyScheduled", "this change was scheduled before"),
    ("ChangeNotScheduled", "this change is not scheduled, or over"),
    ("ChangeNotReady", "the change can be executed from {readyAt} on"),
    // Wallet
    ("NotPendingOwner", "{caller} was not offered the wallet, {pendingOwner} was"),
    ("NotGuardian", "{caller} is not the guardian {guardian}"),
    ("NotOperator", "{caller} is no operator: the owner adds it with `florin wallet operator add`"),
    ("AddressRefused", "{account} cannot have that part: it is zero, the wallet itself, or has another part already"),
    ("RecoveryNotReady", "the recovery can be finished from {readyAt} on"),
    ("ApproversInvalid", "{approvalsRequired} of {approvers} approvers cannot be the rule"),
    ("OperatorExists", "{operator} is an operator already"),
    ("OperatorIsFrozen", "{operator} is frozen: the owner unfreezes it with `florin wallet unfreeze`"),
    (
        "PolicyMissing",
        "{operator} has no policy for the token {token}: the owner sets one with `florin wallet operator set-policy`",
    ),
    ("PolicyExpired", "the operator's policy ended at {expiresAt}: the owner sets a new one"),
    ("PaymentAmountZero", "an amount of zero cannot be paid"),
    ("PaymentAboveMaximum", "{amount} is more than the {paymentMax} that one payment may carry"),
    ("PaymentAlreadyExecuted", "the payment {paymentId} was made before; it is not made twice"),
    ("PaymentDeadlinePassed", "the payment was to be made before {deadline}: have it signed anew"),
    (
        "ApprovalRequired",
        "with this payment {windowSpend} leave in 24 hours and above {approvalAbove} others must approve: `florin wallet sign-payment`",
    ),
    ("OperatorSignatureInvalid", "{signer} signed and not the operator {operator}, or something else was signed"),
    ("NotApprover", "{signer} is neither owner nor approver, or approves its own payment; or something else was signed"),
    ("NotEnoughApprovals", "{approvals} approvals are there and {approvalsRequired} are needed (or the owner's alone)"),
    ("NotEscrowOpener", "{caller} did not open this agreement"),
    // Escrow
    ("NotBuyer", "{caller} is not the buyer {buyer}"),
    ("NotSeller", "{caller} is not the seller {seller}"),
    ("NotArbiter", "{caller} is not the arbiter {arbiter}"),
    ("AmountZero", "an amount of zero is no agreement"),
    ("DeadlinePassed", "too late: it was possible before {deadline}"),
    ("TooEarly", "only the seller can do this now; anyone can from {opensAt} on"),
    ("ReviewOver", "too late: the review ended at {reviewEnds}"),
    ("ReviewNotOver", "the buyer may still dispute; anyone can release from {reviewEnds} on"),
    ("ArbitrationOver", "too late: the arbitration ended at {arbitrationEnds}"),
    ("ArbitrationNotOver", "the arbiter may still rule; anyone can apply the default from {arbitrationEnds} on"),
    ("NothingToRelease", "{released} are released already"),
    ("MoreThanFunded", "{total} are more than the {funded} that are there"),
    ("SignatureInvalid", "the signature is not one of {signer}, or not of this"),
    // Router and subscriptions
    ("PaymentExecuted", "the payment {paymentId} was made before; it is not made twice"),
    ("SharesInvalid", "the shares are {bps} basis points together and must be {bpsExpected}"),
    ("NotPayerOrPayee", "{caller} is neither the payer {payer} nor the payee {payee}"),
    ("NotPayee", "{caller} is not the payee {payee}"),
    ("PriceAboveTotal", "the price {price} is more than the {totalMax} that may be charged in all"),
    ("PriceNotLower", "{price} is no lower than {oldPrice}; raising takes the payer's signature"),
    ("PeriodZero", "a period must be longer than nothing"),
    ("NotDue", "nothing is due before {dueAt}"),
    ("SubscriptionEnded", "the subscription is cancelled and nothing is due any more"),
    ("TotalReached", "that would be {total} in all and at most {totalMax} may be charged"),
    // Registry and anchor
    ("ServiceExists", "you registered a service of this name before: choose another --name"),
    ("ServiceUnknown", "there is no service {service}"),
    ("ServiceIsRetired", "service {service} is retired"),
    ("StringTooLong", "{length} bytes are too long: at most {lengthMax} fit"),
    ("PeriodInvalid", "a subscription, and nothing else, has a --period"),
    ("MoreThanStaked", "{amount} is more than the stake of {stake}"),
    ("NothingUnbonding", "nothing is on its way out"),
    ("StillUnbonding", "it can be withdrawn from {unbondsAt} on"),
    ("PayeeMismatch", "the seller {seller} is not the payee {payee} of the service"),
    ("ArbiterMismatch", "the agreement's arbiter {arbiter} is not the service's, {expected}"),
    ("NoFinding", "the arbiter did not rule against the seller in {agreement}"),
    ("AlreadySlashed", "the stake was slashed for this agreement before"),
    ("SlashTooLarge", "{amount} is more than the {amountMax} that this agreement can take"),
    ("NoPayment", "nothing was paid to this service under {payment}"),
    ("AlreadyRated", "this payment was rated before"),
    ("SelfFeedback", "{payer} cannot rate itself"),
    ("SequenceInvalid", "the next batch is {expected} and not {sequence}"),
    ("BatchEmpty", "a batch has at least one entry"),
    ("PartyInvalid", "{party} cannot have that part in the agreement"),
];

const TOKEN_MESSAGES: &[(&str, &str)] = &[
    ("transfer amount exceeds balance", "the payer has too little USDC"),
    ("transfer amount exceeds allowance", "the payer has not allowed the contract to take that much USDC"),
    ("account is blacklisted", "USDC blocks one of the accounts"),
    ("Pausable: paused", "USDC is paused by its issuer"),
    ("authorization is expired", "the authorization has expired: have it signed anew"),
    ("authorization is used or canceled", "the authorization was used or cancelled before"),
    ("invalid signature", "USDC does not accept the signature: another key signed, or something else was signed"),
];

/// The states of an agreement, as the contract counts them.
const STATUSES: &[&str] = &["unknown", "funded", "delivered", "disputed", "released", "refunded", "resolved"];

/// What happened, if it is worth a line.
pub(crate) fn event(event: &Event) -> Option<String> {
    let name = event.name();
    if SILENT.contains(&name) {
        return None;
    }
    let Value::Object(arguments) = event.to_json() else { return None };
    let arguments: Vec<(String, Value)> = arguments.into_iter().collect();
    Some(sentence(EVENTS, name, &arguments))
}

/// An event for programs: its arguments with amounts as decimal USDC and times as they are, in Unix seconds.
pub(crate) fn event_json(event: &Event) -> Value {
    json!({ "event": event.name(), "arguments": in_usdc("", event.to_json()) })
}

/// Why a call was refused, and what to do.
pub(crate) fn error(error: &ContractError) -> String {
    let Some((name, arguments)) = error.named() else {
        let text = error.to_string();
        return TOKEN_MESSAGES.iter().find(|(said, _)| text.contains(said)).map_or(text, |(_, words)| (*words).to_owned());
    };
    if name == "WrongStatus" {
        let status = arguments.iter().find(|(name, _)| name == "status").and_then(|(_, value)| value.as_str());
        let status = status.and_then(|number| number.parse::<usize>().ok()).and_then(|number| STATUSES.get(number));
        return format!("the agreement is {}, and then this is not possible", status.unwrap_or(&"unknown"));
    }
    sentence(ERRORS, name, arguments)
}

/// The sentence for `name` with its arguments filled in; without one, the name and all arguments.
fn sentence(table: &[(&str, &str)], name: &str, arguments: &[(String, Value)]) -> String {
    match table.iter().find(|(known, _)| *known == name) {
        Some((_, template)) => arguments
            .iter()
            .fold((*template).to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &shown(name, value))),
        None => format!("{name}: {}", listed(arguments.iter().map(|(name, value)| (name, value)))),
    }
}

fn listed<'a>(arguments: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    arguments.map(|(name, value)| format!("{name} {}", shown(name, value))).collect::<Vec<_>>().join(", ")
}

fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => shown_text(name, text),
        Value::Array(values) => values.iter().map(|value| shown(name, value)).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => listed(fields.iter()),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

fn shown_text(name: &str, text: &str) -> String {
    let number = text.parse::<u64>().ok();
    match number {
        Some(units) if AMOUNTS.contains(&name) => format!("{} USDC", Usdc::from_base_units(units)),
        Some(seconds) if TIMES.contains(&name) => utc(seconds),
        Some(seconds) if SPANS.contains(&name) => {
            u32::try_from(seconds).map_or_else(|_| text.to_owned(), |s| Span(s).to_string())
        }
        // The zero spender of a treasury is the owners' own budget.
        _ if name == "spender" && text.trim_start_matches("0x").bytes().all(|digit| digit == b'0') => "owners".to_owned(),
        _ if REFERENCES.contains(&name) => text.parse().map_or_else(|_| text.to_owned(), shown_reference),
        _ => text.to_owned(),
    }
}

/// The same with every address in its checksummed form.
pub(crate) fn with_checksums(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() == 42 => text.parse::<Address>().map_or(Value::String(text), |a| a.to_string().into()),
        Value::Array(values) => values.into_iter().map(with_checksums).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, with_checksums(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn in_usdc(name: &str, value: Value) -> Value {
    match value {
        Value::String(text) if AMOUNTS.contains(&name) => {
            text.parse().map_or(Value::String(text), |units| json!(Usdc::from_base_units(units)))
        }
        Value::Array(values) => values.into_iter().map(|value| in_usdc(name, value)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name.clone(), in_usdc(&name, value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other,
    }
}
