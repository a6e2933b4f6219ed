use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
    signers::{SignerSync, local::PrivateKeySigner},
};
use clap::Parser;
use contracts::{Deployment, usdc::Usdc as Token};
use money::Usdc;
use reqwest::StatusCode;
use serde_json::Value;
use stack::{Anvil, AnvilOptions, Database, Postgres};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use x402::{
    Eip3009Authorization, Eip3009Payload, ExactPayload, Network, PaymentPayload, PaymentRequest, PaymentRequirements,
    SettleResponse, Token as X402Token, V2,
};

pub(crate) const PRICE: Usdc = Usdc::from_base_units(10_000);

/// A chain with USDC, a database, and a facilitator with one signer.
pub(crate) struct World {
    pub(crate) anvil: Anvil,
    _postgres: Postgres,
    pub(crate) database: Database,
    pub(crate) provider: DynProvider,
    pub(crate) deployment: Deployment,
    pub(crate) signer: PrivateKeySigner,
    pub(crate) payer: PrivateKeySigner,
    pub(crate) payee: Address,
}

/// A running facilitator.
pub(crate) struct Facilitator {
    pub(crate) url: String,
    client: reqwest::Client,
    task: JoinHandle<Result<(), facilitator::Error>>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: facilitator::Config,
}

impl World {
    pub(crate) async fn new() -> Self {
        let options = AnvilOptions::default();
        let (anvil, postgres) = tokio::join!(Anvil::start(&options), Postgres::start(None));
        let (anvil, postgres) = (anvil.unwrap(), postgres.unwrap());
        let database = postgres.create("facilitator", None).await.unwrap();
        let provider = ProviderBuilder::new().connect_http(anvil.rpc_url().clone()).erased();
        let deployment = contracts::dev::set_up(&provider).await.unwrap();
        let [signer, payer, payee] = [0; 3].map(|_| PrivateKeySigner::random());
        provider.anvil_set_balance(signer.address(), U256::from(10).pow(U256::from(18))).await.unwrap();
        contracts::dev::mint(&provider, payer.address(), Usdc::from_whole(100).unwrap()).await.unwrap();
        facilitator::migrate(&database.url).await.unwrap();
        let payee = payee.address();
        Self { anvil, _postgres: postgres, database, provider, deployment, signer, payer, payee }
    }

    pub(crate) fn config(&self, more: &[&str]) -> facilitator::Config {
        self.config_at(self.anvil.rpc_url().as_str(), more)
    }

    /// With another way to the node.
    pub(crate) fn config_at(&self, rpc_url: &str, more: &[&str]) -> facilitator::Config {
        let key = format!("{:x}", self.signer.to_bytes());
        let flags = ["f", "--database-url", &self.database.url, "--rpc-url", rpc_url, "--signer-keys", &key];
        Flags::try_parse_from(flags.iter().chain(more)).unwrap().config
    }

    pub(crate) async fn serve(&self, more: &[&str]) -> Facilitator {
        Facilitator::start(self.config(more)).await
    }

    pub(crate) fn requirements(&self) -> PaymentRequirements {
        let token = X402Token::usdc(&Network::evm(self.deployment.chain_id)).unwrap();
        PaymentRequirements::exact(&token, PRICE, self.payee, 60)
    }

    pub(crate) fn authorization(&self) -> Eip3009Authorization {
        Eip3009Authorization {
            from: self.payer.address(),
            to: self.payee,
            value: PRICE.into(),
            valid_after: 0.into(),
            valid_before: (now() + 60).into(),
            nonce: PrivateKeySigner::random().to_bytes(),
        }
    }

    /// A payment by the payer's key.
    pub(crate) fn payment(&self) -> PaymentRequest {
        self.signed(self.authorization())
    }

    pub(crate) fn signed(&self, authorization: Eip3009Authorization) -> PaymentRequest {
        self.signed_for(self.requirements(), authorization)
    }

    pub(crate) fn signed_for(&self, requirements: PaymentRequirements, authorization: Eip3009Authorization) -> PaymentRequest {
        self.signed_by(&self.payer, requirements, authorization)
    }

    fn signed_by(
        &self,
        payer: &PrivateKeySigner,
        requirements: PaymentRequirements,
        authorization: Eip3009Authorization,
    ) -> PaymentRequest {
        let hash = authorization.signing_hash(&x402::TokenDomain::of(&requirements).unwrap());
        let signature = payer.sign_hash_sync(&hash).unwrap().as_bytes().into();
        request(requirements, ExactPayload::Eip3009(Eip3009Payload { signature, authorization }))
    }

    /// A payment by another key.
    pub(crate) fn payment_by(&self, payer: &PrivateKeySigner) -> PaymentRequest {
        let authorization = Eip3009Authorization { from: payer.address(), ..self.authorization() };
        self.signed_by(payer, self.requirements(), authorization)
    }

    /// A number from the journal, as soon as it is what is waited for.
    pub(crate) async fn until(&self, query: &'static str, is: impl Fn(i64) -> bool) -> i64 {
        let pool = sqlx::PgPool::connect(&self.database.url).await.unwrap();
        let found = async {
            loop {
                let found: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
                if is(found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect(query)
    }

    /// Mines for as long as it is polled: what is in the journal may reach the node a moment later.
    pub(crate) async fn mine_on(&self) {
        loop {
            self.provider.anvil_mine(Some(1), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn balance(&self, account: Address) -> Usdc {
        let balance = Token::new(self.deployment.usdc, &self.provider).balanceOf(account).call().await.unwrap();
        balance.try_into().unwrap()
    }
}

impl Facilitator {
    pub(crate) async fn start(config: facilitator::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(facilitator::serve(config, listener, CancellationToken::new()));
        let facilitator = Self { url, client: reqwest::Client::new(), task };
        while facilitator.client.get(format!("{}/health", facilitator.url)).send().await.is_err() {
            assert!(!facilitator.task.is_finished(), "{:?}", facilitator.task.await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        facilitator
    }

    pub(crate) async fn settle(&self, request: &PaymentRequest) -> SettleResponse {
        let (status, body) = self.post("settle", request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_value(body).unwrap()
    }

    pub(crate) async fn post(&self, call: &str, body: &impl serde::Serialize) -> (StatusCode, Value) {
        let answer = self.client.post(format!("{}/{call}", self.url)).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Returns once so many payments wait to be sent by the only signer.
    pub(crate) async fn until_waiting(&self, payments: usize) {
        let waiting = async {
            loop {
                let metrics = self.client.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
                let line = metrics.lines().find(|line| line.starts_with("facilitator_waiting{")).unwrap();
                if line.rsplit(' ').next().unwrap().parse::<usize>().unwrap() >= payments {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("all wait");
    }

    /// As a kill would end it: nothing is finished, nothing is written any more.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) fn request(requirements: PaymentRequirements, payload: ExactPayload) -> PaymentRequest {
    let payment_payload = PaymentPayload {
        x402_version: V2,
        resource: None,
        accepted: requirements.clone(),
        payload: payload.to_json(),
        extensions: None,
    };
    PaymentRequest { x402_version: V2, payment_payload, payment_requirements: requirements }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
