use alloy::primitives::{B256, Bytes, U256};

use super::*;
use crate::settlement::{Call, Expected, Method, Settlement};

fn transaction(nonce: u64) -> Transaction {
    let slot = Slot { chain_id: 1, signer: Address::repeat_byte(7), nonce };
    let address = Address::repeat_byte(1);
    let key = Key { chain_id: 1, method: Method::Eip3009, token: address, payer: address, nonce: B256::from(U256::from(nonce)) };
    let call = Call::new(address, Bytes::from_static(b"input"), 1);
    let expected = Expected::Transfer;
    let settlement =
        Settlement { key, payee: address, amount: U256::MAX, call, expected, signer: None, batchable: false, funds: None };
    let attempt = Attempt { slot, hash: B256::from(U256::from(nonce)), raw: Bytes::from_static(b"raw") };
    Transaction { attempt, settlements: vec![settlement] }
}

fn key(nonce: u64) -> Key {
    transaction(nonce).settlements[0].key
}

#[tokio::test]
async fn wherever_a_crash_tears_the_last_line_all_before_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = FileJournal::open_at(&path).unwrap();
    assert!(journal.begin(&[transaction(1)]).await.unwrap().is_empty());
    let before = std::fs::read(&path).unwrap().len();
    assert!(journal.begin(&[transaction(2)]).await.unwrap().is_empty());
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for torn in before..whole.len() {
        std::fs::write(&path, &whole[..torn]).unwrap();
        let journal = FileJournal::open_at(&path).unwrap();
        assert!(journal.find(&key(1)).is_some() && journal.find(&key(2)).is_none(), "torn at {torn}");
        assert!(journal.begin(&[transaction(2)]).await.unwrap().is_empty(), "and goes on from there");
    }
    let mut damaged = whole.clone();
    damaged[before / 2] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(FileJournal::open_at(&path).err().unwrap().to_string().contains("line 1 is damaged"));
}

#[tokio::test]
async fn a_journal_that_is_opened_again_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = FileJournal::open_at(&path).unwrap();
    journal.begin(&[transaction(1), transaction(2), transaction(3)]).await.unwrap();
    assert_eq!(journal.begin(&[transaction(2), transaction(4)]).await.unwrap(), [key(2)], "begun before");
    assert_eq!(journal.find(&key(4)), None, "all or nothing");
    let replacement = Attempt { hash: B256::repeat_byte(9), ..transaction(3).attempt };
    journal.add_attempts(&[replacement]).await.unwrap();
    let settled = |nonce, state| Entry { state, ..journal.find(&key(nonce)).unwrap() };
    let ended = [settled(1, State::Settled(B256::repeat_byte(1))), settled(2, State::Failed)];
    journal.record(&ended).await.unwrap();
    journal.close(&[ended[0].slot, ended[1].slot]).await.unwrap();
    // A failed one may be tried again, in another slot.
    let mut again = transaction(2);
    again.attempt.slot.nonce = 5;
    assert!(journal.begin(&[again]).await.unwrap().is_empty());
    journal.record(&ended[1..]).await.unwrap();
    let says = |journal: &FileJournal| {
        let open = journal.open(1, Address::repeat_byte(7));
        (format!("{open:?}"), [1, 2, 3].map(|nonce| journal.find(&key(nonce))))
    };
    let said = says(&journal);
    assert!(said.1[1].as_ref().is_some_and(|entry| entry.state == State::Sent), "the old slot's end is not the new one's");
    drop(journal);
    for _ in 0..2 {
        assert_eq!(says(&FileJournal::open_at(&path).unwrap()), said);
    }
}
