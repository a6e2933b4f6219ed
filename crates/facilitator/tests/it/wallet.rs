use alloy::{
    primitives::{
        Address, B256,
        aliases::{U24, U40},
    },
    providers::Provider,
    signers::SignerSync,
    sol_types::SolCall,
};
use contracts::{
    agent_wallet_factory::{AgentWalletFactory, IAgentWallet},
    signing::lane::{LanePayment, Slot},
};
use money::Usdc;
use x402::{Eip3009Payload, Erc6492Signature, ExactPayload, PaymentRequest, Reason, TokenDomain};

use crate::harness::{PRICE, World, now, request};

const PERIOD_SECONDS: u32 = 3_600;

/// A wallet whose operator is the world's payer, with money, and not deployed yet.
async fn funded_wallet(world: &World) -> (Address, Erc6492Signature) {
    let lane = IAgentWallet::Lane {
        token: world.deployment.usdc,
        paymentMax: U40::from(1_000_000),
        paymentsPerPeriod: U24::from(8),
        periodSeconds: PERIOD_SECONDS,
        expiresAt: U40::MAX,
        onlyAllowed: false,
    };
    let operator = world.payer.address();
    let config = IAgentWallet::WalletConfig {
        owner: world.signer.address(),
        guardian: Address::ZERO,
        approvers: vec![],
        approvalsRequired: 0,
        operators: vec![IAgentWallet::OperatorConfig { operator, policies: vec![], recipients: vec![], lane }],
        salt: B256::ZERO,
    };
    let factory = AgentWalletFactory::new(world.deployment.agent_wallet_factory, &world.provider);
    let wallet = factory.walletAddress(config.clone()).call().await.unwrap();
    contracts::dev::mint(&world.provider, wallet, Usdc::from_whole(10).unwrap()).await.unwrap();
    let factory_calldata = AgentWalletFactory::createWalletCall { config }.abi_encode().into();
    (wallet, Erc6492Signature { factory: *factory.address(), factory_calldata, inner: Default::default() })
}

/// A payment from the wallet's lane, with the creation of the wallet around its signature.
fn payment(world: &World, wallet: Address, creation: Erc6492Signature, slot: u32) -> PaymentRequest {
    let valid_before = u32::try_from(now()).unwrap() + 60;
    let slot = Slot { epoch: 1, period: valid_before / PERIOD_SECONDS, lane: 1, slot };
    let payment = LanePayment { wallet, to: world.payee, value: PRICE, valid_before, slot };
    let (authorization, requirements) = (payment.authorization(), world.requirements());
    let domain = TokenDomain::of(&requirements).unwrap();
    let operator = world.payer.sign_hash_sync(&authorization.signing_hash(&domain)).unwrap();
    let inner = payment.signature(domain.separator(), &operator).unwrap().into();
    let signature = Erc6492Signature { inner, ..creation }.encode();
    request(requirements, ExactPayload::Eip3009(Eip3009Payload { signature, authorization }))
}

#[tokio::test]
async fn a_wallets_first_payment_creates_it_and_the_next_ones_ask_it() {
    let world = World::new().await;
    let (wallet, creation) = funded_wallet(&world).await;
    let factory = creation.factory.to_string();
    let facilitator = world.serve(&["--wallet-factories", &factory]).await;

    let first = payment(&world, wallet, creation.clone(), 0);
    let settled = facilitator.settle(&first).await;
    assert!(settled.success, "{settled:?}");
    assert!(!world.provider.get_code_at(wallet).await.unwrap().is_empty());
    assert_eq!(facilitator.settle(&first).await.transaction, settled.transaction, "asked again, told the same");

    let second = facilitator.settle(&payment(&world, wallet, creation.clone(), 1)).await;
    assert!(second.success, "{second:?}");
    let outside_the_lane = facilitator.settle(&payment(&world, wallet, creation, 8)).await;
    assert_eq!(outside_the_lane.error_reason, Some(Reason::InvalidSignature), "the wallet judges, not the key");
    assert_eq!(world.balance(world.payee).await, PRICE.checked_mul(2).unwrap());
}

#[tokio::test]
async fn a_factory_that_is_not_allowed_is_never_called() {
    let world = World::new().await;
    let (wallet, creation) = funded_wallet(&world).await;
    let facilitator = world.serve(&[]).await;
    let refused = facilitator.settle(&payment(&world, wallet, creation, 0)).await;
    assert_eq!(refused.error_reason, Some(Reason::FactoryNotAllowed));
    assert!(world.provider.get_code_at(wallet).await.unwrap().is_empty());
}
