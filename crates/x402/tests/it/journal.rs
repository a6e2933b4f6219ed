//! What a client writes down: after a restart the same request sends the same payment, and receipts stay.

use std::{fs, path::Path};

use alloy::signers::local::PrivateKeySigner;
use futures::future::join_all;
use x402::client::{Answer, Client, Journal, JournalError, KeyPayer, PayError, Policy, Purse};

use crate::{paying::Seller, support::offer};

/// A client as a process of its own would have it: nothing shared but the key and the folder.
fn restarted(folder: &Path) -> Client<KeyPayer<PrivateKeySigner>> {
    of_key(folder, 1)
}

fn of_key(folder: &Path, key: u8) -> Client<KeyPayer<PrivateKeySigner>> {
    let signer = PrivateKeySigner::from_slice(&[key; 32]).unwrap();
    let purse = Purse::new(KeyPayer::new(signer), Policy::default());
    Client::with(purse.journal(Journal::open(folder).unwrap()), |builder| builder).unwrap()
}

fn payments(folder: &Path) -> usize {
    fs::read_dir(folder.join("payments")).unwrap().count()
}

#[tokio::test]
async fn after_a_restart_the_same_request_sends_the_same_payment() {
    let folder = tempfile::tempdir().unwrap();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[500, 500, 500, 500, 402, 200]).await;
    assert!(matches!(restarted(folder.path()).get(url.clone()).await, Err(PayError::Indeterminate { .. })));
    assert!(matches!(restarted(folder.path()).get(url.clone()).await, Err(PayError::PaymentRejected { .. })));
    assert_eq!(Journal::open(folder.path()).unwrap().outstanding().unwrap().len(), 1);
    assert!(matches!(restarted(folder.path()).get(url.clone()).await, Ok(Answer::Paid(_))));
    assert_eq!((seller.payments(), seller.distinct_payments(), payments(folder.path())), (6, 1, 0));
    restarted(folder.path()).get(url).await.unwrap();
    assert_eq!(seller.distinct_payments(), 2, "what has ended is not sent again");
}

#[tokio::test]
async fn payers_that_share_a_folder_never_send_each_others_payments() {
    let folder = tempfile::tempdir().unwrap();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[404]).await;
    for key in [1, 2, 1, 2] {
        of_key(folder.path(), key).get(url.clone()).await.unwrap();
    }
    assert_eq!((seller.payments(), seller.distinct_payments()), (4, 2));
}

#[tokio::test]
async fn a_process_that_dies_while_it_sends_leaves_the_payment() {
    let folder = tempfile::tempdir().unwrap();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[500, 200]).await;
    let first = restarted(folder.path());
    let sending = tokio::spawn({
        let url = url.clone();
        async move { first.get(url).await }
    });
    while seller.payments() == 0 {
        tokio::task::yield_now().await;
    }
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    restarted(folder.path()).get(url).await.unwrap();
    assert_eq!((seller.payments(), seller.distinct_payments()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_is_taken_up_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[404, 200]).await;
    restarted(folder.path()).get(url.clone()).await.unwrap();
    let clients: Vec<_> = (0..8).map(|_| restarted(folder.path())).collect();
    let answers = join_all(clients.iter().map(|client| client.get(url.clone()))).await;
    assert!(answers.iter().all(Result::is_ok));
    // Nine requests, of which one repeats the first.
    assert_eq!((seller.payments(), seller.distinct_payments()), (9, 8));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (seller, url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let client = restarted(folder.path());
    fs::remove_dir(folder.path().join("payments")).unwrap();
    let refused = client.get(url).await;
    assert!(matches!(refused, Err(PayError::Journal(JournalError::Io { .. }))), "{refused:?}");
    assert_eq!((seller.payments(), client.spent()), (0, money::Usdc::ZERO));
}

#[cfg(unix)]
#[tokio::test]
async fn a_signed_payment_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (_, url) = Seller::new(vec![offer("0.05")], &[404]).await;
    restarted(&state).get(url).await.unwrap();
    let file = fs::read_dir(state.join("payments")).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn receipts_are_kept_in_order_and_a_line_cut_short_spoils_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_, url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let client = restarted(folder.path());
    client.get(url.clone()).await.unwrap();
    let file = folder.path().join("receipts.jsonl");
    fs::write(&file, [&fs::read(&file).unwrap()[..], b"{\"at\":1,\"ur"].concat()).unwrap();
    client.get(url.join("?second").unwrap()).await.unwrap();
    let receipts = Journal::open(folder.path()).unwrap().receipts().unwrap();
    let urls: Vec<_> = receipts.iter().map(|receipt| receipt.url.query()).collect();
    assert_eq!(urls, [None, Some("second")]);
    assert_eq!(receipts[0].requirement, offer("0.05"));
}

#[tokio::test]
async fn receipts_do_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (_, url) = Seller::new(vec![offer("0.01")], &[200]).await;
    let client = restarted(folder.path());
    for _ in 0..7 {
        fs::write(folder.path().join("receipts.jsonl"), vec![b'x'; 4 * 1024 * 1024]).unwrap();
        client.get(url.clone()).await.unwrap();
    }
    let bytes: u64 = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 21 * 1024 * 1024, "{bytes}");
    assert!(!Journal::open(folder.path()).unwrap().receipts().unwrap().is_empty());
}
