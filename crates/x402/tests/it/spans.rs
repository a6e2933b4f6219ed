//! Who reads the logs can follow one payment through client and server.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};
use x402::{
    Network, PaymentPayload,
    client::Policy,
    server::{PaidLayer, Pricing},
};

use crate::support::{Ledger, SELLER, client, listen};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_stage_tells_the_payment_and_no_signature() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE).with_writer(lines.clone()).finish();
    // For all threads: where one has a subscriber of its own, a span that another thread came to first may be switched off.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let ledger = Ledger::default();
    let pricing = Pricing::usdc(&Network::evm(84532), "0.05".parse().unwrap(), SELLER).unwrap();
    let layer = PaidLayer::new(ledger.gate().await, pricing);
    let url = listen(Router::new().route("/", get(|| async { "sold" }).layer(layer))).await;
    client(Policy::default()).get(url).await.unwrap();
    let payment: PaymentPayload = ledger.last_payment();
    let nonce = format!("payment={}", payment.key().unwrap().nonce);
    let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for span in
        ["x402.pay{", "x402.send{", "x402.check{", "x402.settle{", "stage=\"verify\"", "stage=\"handler\"", "stage=\"settle\""]
    {
        assert!(
            told.lines().any(|line| line.contains(span) && line.contains(&nonce) && line.contains("close")),
            "{span}: {told}"
        );
    }
    let signature = payment.payload["signature"].as_str().unwrap();
    assert!(!told.contains(signature.trim_start_matches("0x")));
}
