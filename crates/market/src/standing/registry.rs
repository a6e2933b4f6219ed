//! What agents' wallets registered in the ServiceRegistry on chain, as the mirror has it.

use alloy::primitives::{Address, B256, U256};
use api::RegisteredService;
use indexer::read::{self, Named, Service, ServiceFilter};
use money::Usdc;

use crate::service::Market;

/// As [`api::Reputation`] says.
const SERVICES_MAX: u32 = 20;

/// Those that the wallet owns: anybody can name it as the payee of a service.
pub(super) async fn services(market: &Market, wallet: Address) -> sqlx::Result<Vec<RegisteredService>> {
    let registry = market.deployment.service_registry;
    if registry.is_zero() {
        return Ok(Vec::new());
    }
    let filter = ServiceFilter { registry, owner: Some(wallet), limit: SERVICES_MAX, ..ServiceFilter::default() };
    let found = read::services(&mut *market.pool.acquire().await?, &filter).await?;
    Ok(found.rows.iter().map(told).collect())
}

fn told(service: &Named<Service>) -> RegisteredService {
    let usdc = |units: U256| Usdc::try_from(units).unwrap_or(Usdc::MAX);
    let state = &service.state.state;
    RegisteredService {
        service: B256::try_from(service.id()).unwrap_or_default(),
        payee: state.payee,
        arbiter: state.arbiter,
        endpoint: state.offer.endpoint.clone(),
        retired: state.retired,
        stake: usdc(state.stake),
        unbonding: usdc(state.unbonding),
        slashed: usdc(state.slashed),
        settled: state.settled,
        disputed: state.disputed,
        volume: usdc(state.volume),
        score: state.score_sum.checked_div(state.volume).and_then(|mean| u8::try_from(mean).ok()),
    }
}
