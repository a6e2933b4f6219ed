use alloy::{
    primitives::{Address, U256, keccak256},
    providers::{DynProvider, Provider, ProviderBuilder},
};
use contracts::{
    ContractError, DeployError, Deployment, Plan, deploy, dev, multicall3::Multicall3, permit2::Permit2, usdc::Usdc as Token,
};
use money::Usdc;
use stack::{Anvil, AnvilOptions};

async fn empty_chain() -> (Anvil, DynProvider) {
    let anvil = Anvil::start(&AnvilOptions::default()).await.unwrap();
    let provider = ProviderBuilder::new().connect_http(anvil.rpc_url().clone()).erased();
    (anvil, provider)
}

#[tokio::test]
async fn the_dev_chain_looks_like_base_sepolia_to_an_x402_client() {
    let (_anvil, provider) = empty_chain().await;
    let deployment = dev::set_up(&provider).await.unwrap();
    let token = Token::new(deployment.usdc, &provider);
    assert_eq!(token.name().call().await.unwrap(), "USDC");
    assert_eq!(token.version().call().await.unwrap(), "2");
    assert_eq!(token.decimals().call().await.unwrap(), 6);
    let domain = alloy::sol_types::eip712_domain! {
        name: "USDC", version: "2", chain_id: dev::CHAIN_ID, verifying_contract: deployment.usdc,
    };
    assert_eq!(token.DOMAIN_SEPARATOR().call().await.unwrap(), domain.separator());
    let permit2 = Permit2::new(deployment.permit2, &provider);
    let domain = alloy::sol_types::eip712_domain! {
        name: "Permit2", chain_id: dev::CHAIN_ID, verifying_contract: deployment.permit2,
    };
    assert_eq!(permit2.DOMAIN_SEPARATOR().call().await.unwrap(), domain.separator());
    let multicall = Multicall3::new(deployment.multicall3, &provider);
    assert!(multicall.aggregate3(vec![]).call().await.is_ok());
    for proxy in [deployment.x402_exact_permit2_proxy, deployment.x402_upto_permit2_proxy] {
        assert!(!provider.get_code_at(proxy).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn minted_usdc_is_there_to_the_unit_and_can_be_blacklisted() {
    let (_anvil, provider) = empty_chain().await;
    let deployment = dev::set_up(&provider).await.unwrap();
    let account = Address::repeat_byte(0x77);
    dev::mint(&provider, account, Usdc::from_base_units(1_234_567)).await.unwrap();
    let token = Token::new(deployment.usdc, &provider);
    assert_eq!(token.balanceOf(account).call().await.unwrap(), U256::from(1_234_567));
    token.blacklist(account).from(dev::ISSUER).send().await.unwrap().get_receipt().await.unwrap();
    let refused = token.mint(account, U256::ONE).from(dev::ISSUER).call().await.unwrap_err();
    let data = refused.as_revert_data().unwrap();
    assert!(ContractError::decode(&data).to_string().contains("blacklisted"));
}

#[tokio::test]
async fn a_second_deployment_finds_everything_in_place_and_changes_nothing() {
    let (_anvil, provider) = empty_chain().await;
    let first = dev::set_up(&provider).await.unwrap();
    let block = provider.get_block_number().await.unwrap();
    let plan = Plan::new(dev::CHAIN_ID, first.usdc);
    let steps = deploy(&provider, dev::ISSUER, &plan).await.unwrap();
    assert!(steps.iter().all(|step| step.transaction.is_none()));
    dev::set_up(&provider).await.unwrap();
    assert_eq!(provider.get_block_number().await.unwrap(), block);
    assert_eq!(plan.deployment.starting_at(first.start_block), first);
}

#[tokio::test]
async fn the_wrong_chain_and_an_account_without_eth_are_named() {
    let (_anvil, provider) = empty_chain().await;
    let plan = Plan::new(8453, Deployment::BASE_SEPOLIA_USDC);
    let error = deploy(&provider, dev::ISSUER, &plan).await.unwrap_err();
    assert!(matches!(error, DeployError::WrongChain { expected: 8453, actual: 84532 }), "{error}");
    let key = alloy::signers::local::PrivateKeySigner::from_bytes(&keccak256("poor")).unwrap();
    let poor = key.address();
    let provider = ProviderBuilder::new().wallet(key).connect_http(_anvil.rpc_url().clone());
    let plan = Plan::new(dev::CHAIN_ID, Deployment::BASE_SEPOLIA_USDC);
    let error = deploy(&provider, poor, &plan).await.unwrap_err();
    assert!(matches!(error, DeployError::NoFunds { account, .. } if account == poor), "{error}");
}
