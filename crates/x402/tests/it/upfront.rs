//! The flow `upfront`: the money moves before the handler runs, and what it answers streams through.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use futures::channel::mpsc;
use url::Url;
use x402::{
    Reason,
    client::{PayError, Policy},
    server::{PaidLayer, Pricing},
};

use crate::support::{Ledger, client, listen, offer};

type Stream = mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>;

/// Sells a stream, once, and counts how often it was asked to.
async fn shop(stream: Stream) -> (Ledger, Url, Arc<AtomicUsize>) {
    let (ledger, served) = (Ledger::default(), Arc::new(AtomicUsize::new(0)));
    let (stream, counter) = (Arc::new(Mutex::new(Some(stream))), served.clone());
    let handler = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        Body::from_stream(stream.lock().unwrap().take().unwrap())
    };
    let layer = PaidLayer::new(ledger.gate().await, Pricing::offers(vec![offer("0.05").upfront()]));
    let url = listen(Router::new().route("/", get(handler)).layer(layer)).await;
    (ledger, url, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_in_advance_streams_through() {
    let (sender, stream) = mpsc::unbounded();
    let (ledger, url, _) = shop(stream).await;
    sender.unbounded_send(Ok(Bytes::from("first"))).unwrap();
    let answer = client(Policy::default()).get(url).await.unwrap();
    assert!(answer.paid().unwrap().receipt.as_ref().unwrap().success, "the receipt comes before the end of the answer");
    assert_eq!(ledger.settled(), 1);
    let mut response = answer.into_response();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
    // The handler goes on only now, so nobody can have waited for its end.
    sender.unbounded_send(Ok(Bytes::from("second"))).unwrap();
    drop(sender);
    assert_eq!(response.text().await.unwrap(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_settle_is_served_nothing() {
    let (_, stream) = mpsc::unbounded();
    let (ledger, url, served) = shop(stream).await;
    ledger.refuse(Reason::InsufficientBalance);
    let answer = client(Policy::default()).get(url).await;
    assert!(matches!(answer, Err(PayError::PaymentRejected { reason: Reason::InsufficientBalance, .. })), "{answer:?}");
    assert_eq!((served.load(Ordering::SeqCst), ledger.settle_calls()), (0, 1));
}
