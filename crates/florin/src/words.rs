//! Events of the contracts as sentences: amounts in USDC, times in UTC.

use alloy::primitives::Address;
use contracts::{Deployment, Event};
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
    "bond",
    "dailyLimit",
    "disputeBond",
    "fee",
    "funded",
    "orderMax",
    "paymentMax",
    "released",
    "toBuyer",
    "toSeller",
    "total",
    "value",
];
const TIMES: &[&str] = &[
    "changesAt",
    "dueAt",
    "unbondsAt",
    "arbitrationEnds",
    "deadline",
    "deliverBy",
    "expiresAt",
    "from",
    "readyAt",
    "reviewEnds",
    "validUntil",
];
const SPANS: &[&str] = &["arbitrationPeriod", "changeDelay", "periodSeconds", "recipientCooldown", "reviewPeriod"];
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
    ("EscrowDisputed", "agreement {agreement} disputed by {operator}, the bond of {amount} counts against the limit"),
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

/// What happened, if it is worth a line. Amounts of another token than `usdc` are told to be.
pub(crate) fn event(event: &Event, usdc: Address) -> Option<String> {
    let name = event.name();
    if SILENT.contains(&name) {
        return None;
    }
    let Value::Object(arguments) = event.to_json() else { return None };
    let arguments: Vec<(String, Value)> = arguments.into_iter().collect();
    let token = arguments.iter().find_map(|(name, value)| token(name, value));
    let warning = token.map_or(String::new(), |token| unless_usdc(token, usdc));
    Some(format!("{}\n{warning}", sentence(name, &arguments)).trim_end().to_owned())
}

/// The token that an event is about, also when it is in a struct.
fn token(name: &str, value: &Value) -> Option<Address> {
    match value {
        Value::String(text) if name == "token" => text.parse().ok(),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| token(name, value)),
        _ => None,
    }
}

/// A loud line for somebody who decides: amounts are shown as USDC, and anybody can make a token. Nothing when it is `usdc`.
pub(crate) fn unless_usdc(token: Address, usdc: Address) -> String {
    if token == usdc { String::new() } else { format!("  IN THE TOKEN {token}, NOT IN USDC: check what it is worth\n") }
}

/// An event for programs: its arguments with amounts as decimal USDC and times as they are, in Unix seconds.
pub(crate) fn event_json(event: &Event) -> Value {
    json!({ "event": event.name(), "arguments": in_usdc("", event.to_json()) })
}

/// The sentence for `name` with its arguments filled in; without one, the name and all arguments.
fn sentence(name: &str, arguments: &[(String, Value)]) -> String {
    match EVENTS.iter().find(|(known, _)| *known == name) {
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
        _ if REFERENCES.contains(&name) => text.parse().map_or_else(|_| printable(text), shown_reference),
        _ => printable(text),
    }
}

/// Text of a stranger, without what moves the cursor of a terminal or turns the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| !c.is_control() && !turns(c)).collect()
}

/// The same, of each URL only the scheme and the host: those of nodes have keys in their paths, queries and user names.
pub(crate) fn without_secrets(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (scheme, place) = rest.split_at(at + 3);
        let end = place.find(|c: char| c.is_whitespace() || "\"'`<>)".contains(c)).unwrap_or(place.len());
        let (place, after) = place.split_at(end);
        let url = place.trim_end_matches([':', '.', ',', ';']);
        let host = url.split(['/', '?', '#']).next().unwrap_or_default();
        let path = Some(&url[host.len()..]).filter(|path| path.trim_matches('/').is_empty()).unwrap_or("/...");
        shown.extend([scheme, host.rsplit('@').next().unwrap_or_default(), path, &place[url.len()..]]);
        rest = after;
    }
    shown + rest
}

/// The USDC of a chain that florin knows without a node or a file; zero for others, so that every token there is told.
pub(crate) fn known_usdc(chain_id: u64) -> Address {
    Deployment::for_chain(chain_id).map_or(Address::ZERO, |known| known.usdc)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_no_key_of_a_node() {
        for (text, shown) in [
            ("the node https://node.example/v2/KEY does not answer", "the node https://node.example/... does not answer"),
            (
                "request for url (https://me:KEY@node.example:8545/?key=KEY): refused",
                "request for url (https://node.example:8545/...): refused",
            ),
            ("wss://node.example#KEY: no", "wss://node.example/...: no"),
            ("http://127.0.0.1:1/ and http://b: no", "http://127.0.0.1:1/ and http://b: no"),
            ("no :// at all", "no :// at all"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
