//! An AgentWallet's lane on a real chain: what the payer signs, the wallet and Circle's USDC accept, until the lane is used up.

#![allow(clippy::unwrap_used)]

use std::time::{SystemTime, UNIX_EPOCH};

use agent::WalletPayer;
use alloy::{
    primitives::{
        Address, B256, U256,
        aliases::{U24, U40},
    },
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use contracts::{
    Deployment,
    agent_wallet_factory::{AgentWalletFactory, IAgentWallet},
    usdc::Usdc as Token,
};
use money::Usdc;
use stack::{Anvil, AnvilOptions};
use x402::{
    Network, Token as X402Token, TokenAmount,
    client::{Payer, PayerError, SignedAuthorization, TransferRequest},
};

const PAYMENTS_PER_PERIOD: u32 = 3;

struct World {
    _anvil: Anvil,
    provider: DynProvider,
    deployment: Deployment,
    wallet: Address,
    payer: WalletPayer,
}

async fn world() -> World {
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let operator = PrivateKeySigner::random();
    // Anvil itself fills in what transactions of its unlocked accounts lack.
    let provider = ProviderBuilder::default().connect_http(anvil.rpc_url().clone()).erased();
    let deployment = contracts::dev::set_up(&provider).await.unwrap();
    let relayer = provider.get_accounts().await.unwrap()[0];
    let lane = IAgentWallet::Lane {
        token: deployment.usdc,
        paymentMax: U40::from(1_000_000),
        paymentsPerPeriod: U24::from(PAYMENTS_PER_PERIOD),
        periodSeconds: 3_600,
        expiresAt: U40::MAX,
        onlyAllowed: false,
    };
    let operators =
        vec![IAgentWallet::OperatorConfig { operator: operator.address(), policies: vec![], recipients: vec![], lane }];
    let config = IAgentWallet::WalletConfig {
        owner: relayer,
        guardian: Address::ZERO,
        approvers: vec![],
        approvalsRequired: 0,
        operators,
        salt: B256::ZERO,
    };
    let factory = AgentWalletFactory::new(deployment.agent_wallet_factory, &provider);
    let wallet = factory.walletAddress(config.clone()).call().await.unwrap();
    factory.createWallet(config).from(relayer).send().await.unwrap().get_receipt().await.unwrap();
    contracts::dev::mint(&provider, wallet, Usdc::from_whole(10).unwrap()).await.unwrap();
    let payer = WalletPayer::connect(anvil.rpc_url().clone(), wallet, operator).await.unwrap();
    World { _anvil: anvil, provider, deployment, wallet, payer }
}

impl World {
    fn request(&self, value: Usdc) -> TransferRequest {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = X402Token::usdc(&Network::evm(self.deployment.chain_id)).unwrap().domain().unwrap();
        let to = Address::repeat_byte(0xaa);
        TransferRequest { token, to, value: value.into(), valid_before_max: now + 60, valid_before_min: now + 10 }
    }

    /// Submits as any facilitator does for a signature that is not 65 bytes long.
    async fn settle(&self, signed: &SignedAuthorization) -> bool {
        let relayer = self.provider.get_accounts().await.unwrap()[0];
        let token = Token::new(self.deployment.usdc, &self.provider);
        let SignedAuthorization { authorization: a, signature } = signed;
        let call = token.transferWithAuthorization_0(
            a.from,
            a.to,
            a.value.0,
            a.valid_after.0,
            a.valid_before.0,
            a.nonce,
            signature.clone(),
        );
        match call.from(relayer).send().await {
            Ok(sent) => sent.get_receipt().await.unwrap().status(),
            Err(_) => false,
        }
    }
}

#[tokio::test]
async fn a_lane_pays_until_its_period_is_used_up_and_never_more() {
    let world = world().await;
    let cent = Usdc::from_base_units(10_000);
    for _ in 0..PAYMENTS_PER_PERIOD {
        let signed = world.payer.authorize(&world.request(cent)).await.unwrap();
        assert!(world.settle(&signed).await);
        assert!(!world.settle(&signed).await, "the token burns the nonce");
    }
    let exhausted = world.payer.authorize(&world.request(cent)).await.unwrap_err();
    assert!(matches!(&exhausted, PayerError::Refused(why) if why.contains("used up")), "{exhausted}");
    let balance = Token::new(world.deployment.usdc, &world.provider).balanceOf(world.wallet).call().await.unwrap();
    assert_eq!(balance, U256::from(10_000_000 - 3 * 10_000));
}

#[tokio::test]
async fn an_altered_authorization_is_refused_by_the_chain() {
    let world = world().await;
    let mut signed = world.payer.authorize(&world.request(Usdc::from_base_units(10_000))).await.unwrap();
    signed.authorization.value = TokenAmount::from(20_000);
    assert!(!world.settle(&signed).await);
}

#[tokio::test]
async fn more_than_the_lane_allows_is_refused_before_anything_is_signed() {
    let world = world().await;
    let refused = world.payer.authorize(&world.request(Usdc::from_base_units(1_000_001))).await.unwrap_err();
    assert!(matches!(&refused, PayerError::Refused(why) if why.contains("1.00 USDC per payment")), "{refused}");
}
