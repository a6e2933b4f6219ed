use alloy::{
    primitives::{Address, B256, Log, U256},
    sol_types::{SolError, SolEvent},
};
use contracts::{Contract, ContractError, Deployment, Event, Plan, agent_wallet::AgentWallet, escrow::Escrow, usdc::Usdc};
use serde_json::json;

fn log_of(event: &impl SolEvent) -> Log {
    Log { address: Address::ZERO, data: event.encode_log_data() }
}

#[test]
fn every_shipped_deployment_is_what_the_plan_computes() {
    let shipped = Deployment::for_chain(84532).unwrap();
    let planned = Plan::new(84532, shipped.usdc).deployment;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deployments/84532.json");
    if std::env::var_os("FLORIN_BLESS").is_some() {
        planned.starting_at(shipped.start_block).save(path.as_ref()).unwrap();
        return;
    }
    assert_eq!(planned.permit2, Deployment::PERMIT2);
    assert_eq!(planned.x402_exact_permit2_proxy, Deployment::X402_EXACT_PERMIT2_PROXY);
    assert_eq!(planned.x402_upto_permit2_proxy, Deployment::X402_UPTO_PERMIT2_PROXY);
    assert_eq!(
        shipped,
        planned.starting_at(shipped.start_block),
        "write it with FLORIN_BLESS=1 cargo test -p contracts deployment"
    );
}

#[test]
fn an_unknown_chain_says_what_to_do() {
    let error = Deployment::for_chain(5).unwrap_err().to_string();
    assert!(error.contains("chain 5") && error.contains("florin deploy"), "{error}");
}

#[test]
fn a_deployment_file_reads_back_and_a_typo_in_it_is_named() {
    let directory = std::env::temp_dir().join(format!("contracts-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("chain.json");
    let deployment = Deployment::for_chain(84532).unwrap().starting_at(7);
    deployment.save(&path).unwrap();
    assert_eq!(Deployment::load(&path).unwrap(), deployment);
    let text = std::fs::read_to_string(&path).unwrap().replace("escrow", "escorw");
    std::fs::write(&path, text).unwrap();
    let error = Deployment::load(&path).unwrap_err().to_string();
    assert!(error.contains("escorw") && error.contains("chain.json"), "{error}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_transfer_reads_as_names_and_decimal_strings() {
    let (from, to) = (Address::repeat_byte(1), Address::repeat_byte(0xab));
    let event = Event::decode(&log_of(&Usdc::Transfer { from, to, value: U256::MAX })).unwrap();
    assert_eq!((event.contract(), event.name()), (Contract::Usdc, "Transfer"));
    let expected = json!({"from": from.to_checksum(None), "to": to.to_checksum(None), "value": U256::MAX.to_string()});
    assert_eq!(event.to_json(), expected);
    assert_eq!(event.accounts(), [from, to]);
}

#[test]
fn the_terms_of_an_agreement_read_by_name_and_its_parties_are_found_inside_them() {
    let (buyer, seller, arbiter) = (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
    let terms = contracts::escrow::IEscrow::Terms { buyer, seller, arbiter, amount: U256::from(5), ..Default::default() };
    let funded = Escrow::AgreementFunded { id: B256::repeat_byte(9), buyer, seller, terms };
    let event = Event::decode(&log_of(&funded)).unwrap();
    assert_eq!(event.to_json()["terms"]["amount"], "5");
    assert_eq!(event.to_json()["id"], B256::repeat_byte(9).to_string());
    assert_eq!(event.accounts(), [buyer, seller, arbiter]);
    assert!(matches!(event, Event::Escrow(Escrow::EscrowEvents::AgreementFunded(read)) if read == funded));
}

#[test]
fn a_foreign_log_is_no_event() {
    let foreign = Log::new_unchecked(Address::ZERO, vec![B256::repeat_byte(7)], Default::default());
    assert_eq!(Event::decode(&foreign), None);
    assert_eq!(Event::decode(&Log::<alloy::primitives::LogData>::empty()), None);
    let cut = Usdc::Transfer { from: Address::ZERO, to: Address::ZERO, value: U256::ONE }.encode_log_data();
    let cut = Log::new_unchecked(Address::ZERO, cut.topics().to_vec(), cut.data.slice(..16));
    assert_eq!(Event::decode(&cut), None);
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let said = |data: &[u8]| ContractError::decode(data).to_string();
    let refused = AgentWallet::SpendingLimitExceeded { amount: U256::from(5_000_000), remaining: U256::from(1_250_000) };
    assert_eq!(
        said(&refused.abi_encode()),
        "5.00 USDC is more than the 1.25 USDC that the daily limit leaves now: pay less, wait, or have the limit raised (SpendingLimitExceeded)"
    );
    let named = ContractError::decode(&refused.abi_encode());
    let (name, arguments) = named.named().unwrap();
    assert_eq!((name, &arguments[1]), ("SpendingLimitExceeded", &("remaining".to_owned(), json!("1250000"))));
    let message = alloy::sol_types::Revert::from("ERC20: transfer amount exceeds balance");
    assert_eq!(said(&message.abi_encode()), "the payer has too little USDC (ERC20: transfer amount exceeds balance)");
    let unknown = alloy::sol_types::Revert::from("out of coffee");
    assert_eq!(said(&unknown.abi_encode()), "out of coffee");
    let overflow = alloy::sol_types::Panic::from(0x11);
    assert!(said(&overflow.abi_encode()).contains("0x11"), "{}", said(&overflow.abi_encode()));
    assert!(said(&[1, 2, 3, 4, 5]).ends_with("0x0102030405"));
    assert!(said(&[]).starts_with("it gave no reason"));
}

/// Contracts share names: a wallet has one owner, a treasury has several.
#[test]
fn errors_of_one_name_are_told_apart() {
    let (caller, owner) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let wallet = AgentWallet::NotOwner { caller, owner }.abi_encode();
    assert!(ContractError::decode(&wallet).to_string().contains(&owner.to_checksum(None)));
    let treasury = contracts::treasury::Treasury::NotOwner { caller }.abi_encode();
    assert!(ContractError::decode(&treasury).to_string().starts_with(&format!("{} is no owner", caller.to_checksum(None))));
}
