//! The whole way: ask, be told the price, sign, ask again, be served. Whoever sells and settles, the buyer is the same.

use std::{net::SocketAddr, sync::Arc};

use alloy::{
    primitives::Address,
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::{Context, Result};
use axum::{Router, routing::get};
use money::Usdc;
use tokio::net::TcpListener;
use x402::{
    FacilitatorClient, Network, PaymentRequired, header,
    server::{Gate, PaidLayer, Pricing},
};

use crate::{
    load::{Caller, Connection},
    payments::{Payments, payment},
};

/// Buys over one connection with one key.
pub(crate) struct Buyer {
    connection: Connection,
    key: PrivateKeySigner,
    payments: Arc<Payments>,
}

impl Buyer {
    pub(crate) async fn connect(seller: SocketAddr, payments: &Arc<Payments>, index: usize) -> Result<Self> {
        let key = payments.payer(index).context("a payer for each connection")?.clone();
        Ok(Self { connection: Connection::open(seller).await?, key, payments: payments.clone() })
    }
}

impl Caller for Buyer {
    async fn call(&mut self, _: usize) -> Result<Vec<u8>> {
        let asked = self.connection.request("GET /report", "", &[]).await?;
        let head = std::str::from_utf8(&asked)?;
        let line = head.lines().find(|line| line.len() > 17 && line[..17].eq_ignore_ascii_case("payment-required:"));
        let required: PaymentRequired = header::decode(line.context("a price")?[17..].trim().as_bytes())?;
        let offer = required.accepts.into_iter().next().context("an offer")?;
        let hash_signer = |hash: &_| Ok(self.key.sign_hash_sync(hash)?);
        let mut payment = payment(&offer, self.key.address(), self.payments.nonce(), hash_signer)?;
        (payment.resource, payment.extensions) = (Some(required.resource), required.extensions);
        let paid = format!("payment-signature: {}\r\n", header::encode(&payment)?);
        self.connection.request("GET /report", &paid, &[]).await
    }
}

/// Sells `/report` with our layer until it is ended. Prints its URL when ready.
pub(crate) async fn sell(facilitator: &str, payee: Address) -> Result<()> {
    let gate = Gate::new(FacilitatorClient::new(facilitator.parse()?)?);
    let pricing = Pricing::usdc(&Network::evm(stack::CHAIN_ID), Usdc::from_base_units(10_000), payee)?;
    let app = Router::new().route("/report", get(|| async { "the report" })).layer(PaidLayer::new(gate, pricing));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[allow(clippy::print_stdout)]
    {
        println!("http://{}", listener.local_addr()?);
    }
    Ok(axum::serve(listener, app).await?)
}
