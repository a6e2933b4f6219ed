//! What is told to the chain besides payments: a service with a stake behind it, and several invoices at once.

use alloy::{
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U88, U96},
        keccak256,
    },
    sol_types::SolCall,
};
use anyhow::{Result, ensure};
use contracts::{
    payment_router::{IPaymentRouter::Leg, PaymentRouter::batchPayCall},
    service_registry::{IServiceRegistry, ServiceRegistry},
    signing::{self, Approvals},
    treasury::{ITreasury, Treasury},
    usdc::Usdc as Token,
};
use money::Usdc;

use super::{
    Told,
    cast::{Cast, confirmed},
};

/// What the seller puts behind its service.
const STAKE: Usdc = Usdc::from_base_units(20_000_000);
/// What the organisation owes to two suppliers.
const INVOICES: [Usdc; 2] = [Usdc::from_base_units(12_500_000), Usdc::from_base_units(7_250_000)];

/// The seller registers its service on chain, with a stake that an arbiter can take for injured buyers.
pub(super) async fn register_service(cast: &Cast<'_>) -> Result<Told> {
    let (seller, deployment) = (&cast.seller, &cast.deployment);
    let registry = ServiceRegistry::new(deployment.service_registry, &seller.provider);
    let offer = IServiceRegistry::Offer {
        endpoint: cast.market.express_url(cast.small).to_string(),
        metadataURI: String::new(),
        metadataHash: B256::ZERO,
        pricing: 0, // per call
        token: deployment.usdc,
        price: U88::from(super::SMALL_PRICE.base_units()),
        period: 0,
        agentId: U256::ZERO,
    };
    let salt = keccak256("electricity prices");
    let service = registry.serviceId(seller.address(), salt).call().await?;
    confirmed(registry.register(salt, seller.address(), cast.relayer.address(), offer)).await?;
    let token = Token::new(deployment.usdc, &seller.provider);
    confirmed(token.approve(deployment.service_registry, STAKE.into())).await?;
    let staked = confirmed(registry.addStake(service, STAKE.into())).await?;
    let stake = registry.serviceOf(service).call().await?.stake;
    ensure!(U256::from(stake) == U256::from(STAKE.base_units()), "the stake is {stake} base units");
    Ok(Told::paid("seller", "service's stake", STAKE, staked.transaction_hash, "registered on chain"))
}

/// Two of three owners sign one order: the router pays two suppliers, and a refusal of one would not hold up the other.
pub(super) async fn pay_invoices(cast: &Cast<'_>) -> Result<Told> {
    let deployment = &cast.deployment;
    let suppliers: [Address; 2] = [cast.seller.address(), cast.relayer.address()];
    let legs = suppliers
        .iter()
        .zip(INVOICES)
        .map(|(payee, amount)| Leg { payee: *payee, amount: U96::from(amount.base_units()) })
        .collect();
    let invoices = keccak256("invoices of the month");
    let details = batchPayCall { paymentRef: invoices, token: deployment.usdc, legs }.abi_encode();
    let total = INVOICES[0].checked_add(INVOICES[1]).expect("two invoices");
    let treasury = Treasury::new(cast.treasury, &cast.relayer.provider);
    let order = ITreasury::Order {
        spender: Address::ZERO,
        token: deployment.usdc,
        operation: 4, // CallRouter
        category: keccak256("suppliers"),
        payments: vec![ITreasury::Payment { to: deployment.payment_router, amount: total.into(), paymentRef: invoices }],
        details: Bytes::from(details),
        nonce: U256::from(2),
        validUntil: u64::MAX >> 1,
        policyEpoch: 1,
        ownerEpoch: treasury.ownerEpoch().call().await?,
    };
    let message = signing::treasury::order(&order, cast.treasury, deployment.chain_id);
    let mut approvals = Approvals::of(message.digest());
    for owner in &cast.owners[1..] {
        approvals.add_from(owner.address(), message.sign(&owner.signer)?)?;
    }
    let receipt = confirmed(treasury.execute(order, approvals.for_treasury())).await?;
    Ok(Told::paid("treasury", "two suppliers", total, receipt.transaction_hash, "one transaction through the router"))
}
