//! The facilitator of x402-rs as its README builds it: scheme `exact` on one EVM chain. Prints its URL when ready.
//! Usage: FLORIN_KEY=0x.. x402-rs-facilitator RPC_URL

use std::{collections::HashMap, error::Error, sync::Arc};

use axum::Router;
use serde_json::json;
use tokio::net::TcpListener;
use x402_chain_eip155::{
    V1Eip155Exact, V2Eip155Exact,
    chain::{Eip155ChainProvider, Eip155ChainReference, config::Eip155ChainConfig},
};
use x402_facilitator_local::{FacilitatorLocal, handlers};
use x402_types::{
    chain::{ChainRegistry, FromConfig},
    scheme::{SchemeBlueprints, SchemeRegistry, X402SchemeFacilitator, X402SchemeFacilitatorBuilder, X402SchemeId},
};

const CHAIN_ID: u64 = 84_532;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rpc_url = std::env::args().nth(1).ok_or("usage: FLORIN_KEY=0x.. x402-rs-facilitator RPC_URL")?;
    let chain_reference = Eip155ChainReference::new(CHAIN_ID);
    let inner = serde_json::from_value(json!({ "signers": ["$FLORIN_KEY"], "rpc": [{ "http": rpc_url }] }))?;
    let config = Eip155ChainConfig { chain_reference, inner };
    let chain_id = config.chain_id();
    let provider = Arc::new(Eip155ChainProvider::from_config(&config).await?);
    let chains = ChainRegistry::new(HashMap::from([(chain_id, provider)]));
    let schemes = ["v1-eip155-exact", "v2-eip155-exact"];
    let schemes = schemes.map(|id| json!({ "id": id, "chains": format!("eip155:{CHAIN_ID}") }));
    let schemes = serde_json::from_value(schemes.to_vec().into())?;
    let blueprints = SchemeBlueprints::new().and_register(Scheme(V1Eip155Exact)).and_register(Scheme(V2Eip155Exact));
    let facilitator = Arc::new(FacilitatorLocal::new(SchemeRegistry::build(chains, blueprints, &schemes)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().merge(handlers::routes().with_state(facilitator))).await?;
    Ok(())
}

/// A scheme of theirs over a provider that is shared; their registry hands out references.
struct Scheme<S>(S);

impl<S: X402SchemeId> X402SchemeId for Scheme<S> {
    fn x402_version(&self) -> u8 {
        self.0.x402_version()
    }

    fn namespace(&self) -> &str {
        self.0.namespace()
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }
}

impl<S: X402SchemeFacilitatorBuilder<Arc<Eip155ChainProvider>>> X402SchemeFacilitatorBuilder<&Arc<Eip155ChainProvider>> for Scheme<S> {
    fn build(
        &self,
        provider: &Arc<Eip155ChainProvider>,
        config: Option<serde_json::Value>,
    ) -> Result<Box<dyn X402SchemeFacilitator>, Box<dyn Error>> {
        self.0.build(provider.clone(), config)
    }
}
