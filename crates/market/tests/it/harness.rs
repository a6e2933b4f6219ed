//! The stack, markets to start and kill, people with wallets, and payments.

use std::{path::Path, time::Duration};

use alloy::{
    primitives::{Address, B256},
    signers::{Signature, SignerSync},
};
use api::{
    Agent, AgentType, Bought, Category, Client, CreateListing, Listing, Login, ProveWallet, Register, RegisterCreator, Role,
    Session,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use market::Config;
use money::Usdc;
use stack::{Account, Stack};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;
use x402::{Eip3009Authorization, Eip3009Payload, ExactPayload, PaymentPayload, PaymentRequired, TokenDomain, V2};

use crate::instances::{self, Instance, Pair};

/// Longer than a lease: what an instance had taken when it died is taken by another one a minute later.
pub(crate) const WAIT: Duration = Duration::from_secs(120);
pub(crate) const PRICE: Usdc = Usdc::from_base_units(50_000);
/// What asks for metrics.
pub(crate) const METRICS: &str = "a token of metrics";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const SELLER: usize = 5;
pub(crate) const BUYER: usize = 6;

/// Everything but the market.
pub(crate) struct World {
    pub(crate) stack: Stack,
    content: TempDir,
}

/// A running market: one instance, or with `FLORIN_TEST_INSTANCES=2` two of which one or the other dies all the time.
pub(crate) struct Market {
    pub(crate) client: Client,
    pub(crate) url: Url,
    runs: Runs,
}

enum Runs {
    One(Instance),
    Two(Pair),
}

/// Why a test has one instance whatever is asked for. What an instance keeps to itself is all that is named here.
pub(crate) mod because {
    /// What it counts, and what it has in memory.
    pub(crate) const MEMORY: &str = "it looks at what one instance has in its memory";
    /// Streams that are cut are read on in `feed::readers_that_come_back_all_the_time_...` and in `two.rs`.
    pub(crate) const STREAM: &str = "it reads one stream to its end, which dies with its instance";
    /// `README.md` says how many.
    pub(crate) const SEARCHES: &str = "it counts searches, of which an instance loses 0.4 seconds when it dies";
    /// What was sent and not written down is sent again, and `receiver.count()` is one more.
    pub(crate) const ATTEMPTS: &str = "it counts attempts, and one whose instance dies is made again";
    /// It asks for two or more at addresses of their own, or kills at moments of its choice.
    pub(crate) const OWN: &str = "it starts, changes and kills instances itself";
}

/// A registered agent.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) agent: Agent,
    pub(crate) client: Client,
    pub(crate) key: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(Stack::without_market().await.unwrap())
    }

    pub(crate) fn of(stack: Stack) -> Self {
        Self { stack, content: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn config(&self) -> Config {
        let content = self.content.path().to_owned();
        let stack = &self.stack;
        let config = Config::new(stack.database_url(), stack.rpc_url().clone(), stack.facilitator_url().clone(), content);
        // Here it is known who comes.
        Config { signup_bonus: "100".parse().unwrap(), metrics_token: Some(METRICS.into()), ..config }
    }

    pub(crate) async fn market(&self) -> Market {
        Market::start(self.config()).await
    }

    /// One instance, whatever is asked for.
    pub(crate) async fn alone(&self, why: &str) -> Market {
        Market::alone(self.config(), why).await
    }

    pub(crate) fn content(&self) -> &Path {
        self.content.path()
    }

    /// How many different contents are stored.
    pub(crate) fn contents(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
        }
        files(&self.content().join("sha256"))
    }

    pub(crate) async fn balance(&self, account: usize) -> u64 {
        self.stack.chain().balance(Account::at(account).address).await.unwrap().base_units()
    }

    /// Waits until the mirror has the node's newest block.
    pub(crate) async fn mirrored(&self) {
        use alloy::providers::Provider;
        let head = self.stack.provider().get_block_number().await.unwrap();
        let pool = sqlx::PgPool::connect(self.stack.database_url()).await.unwrap();
        indexer::read::wait_for_block(&pool, head, WAIT).await.unwrap();
    }
}

impl Market {
    pub(crate) async fn start(config: Config) -> Self {
        if instances::asked_for() == 2 { Self::two(config).await } else { Self::one(config).await }
    }

    /// One instance, whatever is asked for: see [`because`].
    pub(crate) async fn alone(config: Config, why: &str) -> Self {
        if instances::asked_for() == 2 {
            eprintln!("one instance: {why}");
        }
        Self::one(config).await
    }

    /// Two instances, whatever is asked for.
    pub(crate) async fn two(config: Config) -> Self {
        let pair = Pair::start(config).await;
        Self { client: Client::new(pair.url.clone()), url: pair.url.clone(), runs: Runs::Two(pair) }
    }

    async fn one(config: Config) -> Self {
        let instance = Instance::start(config).await.unwrap();
        let url: Url = format!("http://{}", instance.at).parse().unwrap();
        Self { client: Client::new(url.clone()), url, runs: Runs::One(instance) }
    }

    pub(crate) async fn stop(self) {
        match self.runs {
            Runs::One(instance) => instance.stop().await,
            Runs::Two(pair) => pair.stop().await,
        }
    }

    /// Ends it between any two steps, as a crash does.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// How often an instance of it died so far.
    pub(crate) fn deaths(&self) -> usize {
        match &self.runs {
            Runs::One(_) => 0,
            Runs::Two(pair) => pair.deaths(),
        }
    }

    /// Whether connections that last may be cut at any time.
    pub(crate) fn cuts(&self) -> bool {
        matches!(self.runs, Runs::Two(_))
    }

    /// Makes sure of what follows from something that was done: at once at the one instance there is, else soon at both. `is_so` makes one request.
    pub(crate) async fn soon(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        if !self.cuts() {
            return assert!(is_so().await, "it is not so that {what}");
        }
        // Of two requests that follow each other, each goes to another instance, or one that was started since.
        crate::funds::until(what, async || is_so().await && is_so().await).await;
    }

    pub(crate) async fn join(&self, name: &str, account: usize, agent_type: AgentType) -> Member {
        let registered = self.client.register(&self.registration(name, account, agent_type).await).await.unwrap();
        Member { client: self.client.with_api_key(&registered.api_key), agent: registered.agent, key: registered.api_key }
    }

    pub(crate) async fn registration(&self, name: &str, account: usize, agent_type: AgentType) -> Register {
        let account = Account::at(account);
        let challenge = self.client.challenge(account.address).await.unwrap();
        let signature = account.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
        Register::new(name, agent_type, account.address, challenge.nonce, bytes_of(signature))
    }

    /// The market as nobody but the owner of a wallet.
    pub(crate) async fn as_wallet(&self, account: usize) -> Client {
        let account = Account::at(account);
        let challenge = self.client.challenge(account.address).await.unwrap();
        let signature = account.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
        self.client.with_wallet_proof(challenge.nonce, &bytes_of(signature))
    }

    /// A proof of a wallet, for requests that take one.
    pub(crate) async fn proof(&self, account: usize) -> ProveWallet {
        let account = Account::at(account);
        let challenge = self.client.challenge(account.address).await.unwrap();
        let signature = account.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
        ProveWallet { nonce: challenge.nonce, signature: bytes_of(signature) }
    }

    /// The value of `Authorization` that proves a wallet, once.
    pub(crate) async fn wallet_proof(&self, account: usize) -> String {
        let account = Account::at(account);
        let challenge = self.client.challenge(account.address).await.unwrap();
        let signature = account.signer.sign_message_sync(challenge.message.as_bytes()).unwrap();
        format!("Wallet {}.{}", challenge.nonce, bytes_of(signature))
    }

    /// The access token of somebody with a role.
    pub(crate) async fn staff(&self, database_url: &str, role: Role) -> String {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        self.creator(&email).await;
        assert!(market::grant(database_url, &email, role).await.unwrap());
        let login = Login::new(email, PASSWORD);
        self.client.login(&login).await.unwrap().access.access_token
    }

    pub(crate) async fn creator(&self, email: &str) -> Session {
        self.client.register_creator(&self.creation(email)).await.unwrap()
    }

    pub(crate) fn creation(&self, email: &str) -> RegisterCreator {
        let (email, password, display_name) = (email.into(), PASSWORD.into(), "Somebody".into());
        RegisterCreator { email, password, display_name, phone: None, country: None }
    }

    /// What the market asks for a listing.
    pub(crate) async fn asked(&self, listing: &Listing) -> PaymentRequired {
        match self.client.express(listing.id, None).await.unwrap() {
            Bought::PaymentRequired(value) => x402::header::decode(value.as_bytes()).unwrap(),
            Bought::Content(_) => panic!("the listing is free"),
        }
    }

    /// A payment for a listing, signed by an account.
    pub(crate) async fn payment(&self, listing: &Listing, account: usize) -> String {
        x402::header::encode(&pay(&self.asked(listing).await, account)).unwrap()
    }
}

/// What an account signs when it is asked for money.
pub(crate) fn pay(asked: &PaymentRequired, account: usize) -> PaymentPayload {
    let account = Account::at(account);
    let offer = asked.accepts[0].clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let authorization = Eip3009Authorization {
        from: account.address,
        to: offer.pay_to_address().unwrap(),
        value: offer.amount,
        valid_after: 0.into(),
        valid_before: (now + 60).into(),
        nonce: B256::from(rand::random::<[u8; 32]>()),
    };
    let hash = authorization.signing_hash(&TokenDomain::of(&offer).unwrap());
    let signature = bytes_of(account.signer.sign_hash_sync(&hash).unwrap());
    let payload = ExactPayload::Eip3009(Eip3009Payload { signature, authorization }).to_json();
    PaymentPayload { x402_version: V2, resource: Some(asked.resource.clone()), accepted: offer, payload, extensions: None }
}

pub(crate) fn bytes_of(signature: Signature) -> alloy::primitives::Bytes {
    signature.as_bytes().into()
}

pub(crate) fn goods(title: &str, price: Usdc, content: Option<&[u8]>) -> CreateListing {
    CreateListing {
        title: title.into(),
        description: "Hourly prices of electricity".into(),
        category: Category::Computation,
        tags: vec!["energy".into()],
        price,
        content_type: "text/plain".into(),
        content_base64: content.map(|content| STANDARD.encode(content)),
        metadata: serde_json::Map::new(),
        expires_at: None,
    }
}

/// The content that an express request with this payment gets.
pub(crate) async fn buy(market: &Market, listing: &Listing, payment: &str) -> api::Content {
    match market.client.express(listing.id, Some(payment)).await.unwrap() {
        Bought::Content(content) => content,
        Bought::PaymentRequired(value) => {
            panic!("refused: {:?}", x402::header::decode::<PaymentRequired>(value.as_bytes()).unwrap().error)
        }
    }
}

pub(crate) fn address(account: usize) -> Address {
    Account::at(account).address
}

/// The code of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, api::ClientError>) -> api::Code {
    answer.unwrap_err().code().expect("it is refused with a problem").clone()
}
