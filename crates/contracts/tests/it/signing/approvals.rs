use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256, uint},
    signers::{SignerSync, local::PrivateKeySigner},
};
use contracts::signing::{ApprovalError, Approvals};

const DIGEST: B256 = B256::repeat_byte(0xdd);

fn key(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

#[test]
fn whoever_approves_first_the_bytes_ascend_by_owner() {
    let keys = ["a", "b", "c"].map(key);
    let contract = Address::repeat_byte(0x80);
    let collect = |order: [usize; 3]| {
        let mut approvals = Approvals::of(DIGEST);
        approvals.add_contract(contract, Bytes::from_static(&[1, 2, 3])).unwrap();
        for index in order {
            assert_eq!(approvals.add(keys[index].sign_hash_sync(&DIGEST).unwrap()).unwrap(), keys[index].address());
        }
        approvals
    };
    let approvals = collect([0, 1, 2]);
    assert_eq!(approvals, collect([2, 0, 1]));
    let mut ascending: Vec<_> = keys.iter().map(PrivateKeySigner::address).chain([contract]).collect();
    ascending.sort();
    assert_eq!(approvals.signers().collect::<Vec<_>>(), ascending);
    let listed = approvals.for_wallet().unwrap();
    assert_eq!(listed.iter().map(|approval| approval.signer).collect::<Vec<_>>(), ascending);
    assert_eq!(Approvals::parse(DIGEST, &approvals.for_treasury()).unwrap(), approvals);
}

#[test]
fn each_kind_has_its_layout() {
    let (signer, owner) = (key("a"), Address::repeat_byte(0x11));
    let signature = signer.sign_hash_sync(&DIGEST).unwrap();
    let mut approvals = Approvals::of(DIGEST);
    approvals.add(signature).unwrap();
    assert_eq!(approvals.for_treasury()[..], [&[0], &signature.as_bytes()[..]].concat());
    let mut approvals = Approvals::of(DIGEST);
    approvals.add_transaction(owner);
    assert_eq!(approvals.for_treasury()[..], [&[1], owner.as_slice()].concat());
    assert_eq!(approvals.for_wallet(), Err(ApprovalError::NotSigned(owner)));
    let mut approvals = Approvals::of(DIGEST);
    approvals.add_contract(owner, vec![7; 258].into()).unwrap();
    assert_eq!(approvals.for_treasury()[..], [&[2], owner.as_slice(), &[1, 2], &[7; 258]].concat());
}

#[test]
fn a_signature_of_something_else_is_noticed() {
    let signer = key("a");
    let mut approvals = Approvals::of(DIGEST);
    let other = signer.sign_hash_sync(&B256::ZERO).unwrap();
    let error = approvals.add_from(signer.address(), other).unwrap_err();
    assert!(matches!(error, ApprovalError::WrongSigner { expected, .. } if expected == signer.address()), "{error}");
    assert_eq!(approvals.signers().len(), 0);
    approvals.add_from(signer.address(), signer.sign_hash_sync(&DIGEST).unwrap()).unwrap();
    let long = approvals.add_contract(signer.address(), vec![0; 65_536].into());
    assert!(matches!(long, Err(ApprovalError::TooLong { bytes: 65_536, .. })));
}

/// Some devices make signatures with a high `s`, which the contracts refuse.
#[test]
fn a_high_s_is_made_low() {
    let order = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    let signer = key("a");
    let low = signer.sign_hash_sync(&DIGEST).unwrap();
    let high = alloy::primitives::Signature::new(low.r(), order - low.s(), !low.v());
    assert!(high.s() > order >> 1_usize);
    let mut approvals = Approvals::of(DIGEST);
    assert_eq!(approvals.add(high).unwrap(), signer.address());
    assert_eq!(approvals.for_treasury()[1..], low.as_bytes());
    assert_ne!(low.s(), U256::ZERO);
}

#[test]
fn cut_off_or_unknown_approvals_are_refused_where_they_break() {
    let mut approvals = Approvals::of(DIGEST);
    approvals.add(key("a").sign_hash_sync(&DIGEST).unwrap()).unwrap();
    let bytes = approvals.for_treasury();
    for cut in 1..bytes.len() {
        assert_eq!(Approvals::parse(DIGEST, &bytes[..cut]), Err(ApprovalError::Malformed(0)));
    }
    assert_eq!(Approvals::parse(DIGEST, &[&bytes[..], &[9]].concat()), Err(ApprovalError::Malformed(66)));
    let mut contract = Approvals::of(DIGEST);
    contract.add_contract(Address::repeat_byte(1), vec![1, 2, 3].into()).unwrap();
    let bytes = contract.for_treasury();
    for cut in 1..bytes.len() {
        assert_eq!(Approvals::parse(DIGEST, &bytes[..cut]), Err(ApprovalError::Malformed(0)));
    }
    assert_eq!(Approvals::parse(DIGEST, &[]).unwrap(), Approvals::of(DIGEST));
}
