//! What is proved of a content before it is bought, also by a market that lies.

use std::{collections::BTreeSet, sync::Arc};

use alloy::primitives::B256;
use api::{
    AgentType, Client, ClientError, Code, Initiate, Listing, PaymentMethod, PurchaseFilter,
    ledger::Asset,
    proofs::{CheckDelivery, ContentCommitment, ContentProofs, Field, JsonType, VerifyContent},
};
use axum::{Json, Router, extract::Request, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stack::Account;
use url::Url;
use uuid::Uuid;

use crate::harness::{BUYER, Market, Member, PRICE, SELLER, World, address, goods, refusal};

const ROWS: usize = 12_000;

/// Some hundred thousand bytes of JSON.
fn rows() -> Vec<u8> {
    let cities = ["Oslo", "Bergen", "Tromsø"];
    let row = |hour: usize| json!({"hour": hour, "city": cities[hour % 3], "price": 0.21});
    serde_json::to_vec(&(0..ROWS).map(row).collect::<Vec<_>>()).unwrap()
}

async fn sell(seller: &Member, content: &[u8]) -> Listing {
    seller.client.create_listing(&goods("rows", PRICE, Some(content))).await.unwrap()
}

fn field(path: &str, json_type: JsonType) -> Field {
    Field { path: path.into(), json_type }
}

fn asked() -> VerifyContent {
    VerifyContent {
        keywords: vec!["OSLO".into(), "quantum".into(), "Tromsø".into()],
        schema_has_fields: vec![field("/*/price", JsonType::Number), field("/*/price", JsonType::String)],
        min_size: Some(100_000),
        min_quality: None,
        min_records: Some(10_000),
        min_words: Some(50_000),
        nonce: Some(nonce(1)),
    }
}

fn nonce(i: u64) -> B256 {
    B256::left_padding_from(&i.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_believes_the_commitment_alone_and_checks_it_with_what_was_bought() {
    let world = World::new().await;
    let key = Account::at(8).signer.clone();
    let market = Market::start(market::Config { ledger_key: Some(key), ..world.config() }).await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = sell(&seller, &rows()).await;
    let proofs = market.client.content_proofs(&listing).await.unwrap();
    assert_eq!(proofs.signer(), Some(address(8)), "a false commitment could be shown to others");
    let commitment = &proofs.commitment;
    let answer = buyer.client.verify_content(listing.id, commitment, &asked()).await.unwrap();
    assert_eq!(answer.keywords.iter().map(|word| word.present).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(answer.fields.iter().map(|field| field.present).collect::<Vec<_>>(), [true, false]);
    // 12,000 rows of four words.
    assert_eq!(answer.counts.iter().map(|count| count.passed).collect::<Vec<_>>(), [true, false]);
    assert_eq!((answer.min_size, answer.min_quality, answer.passed, answer.chunks.len()), (Some(true), None, false, 16));
    assert!(buyer.client.has_keyword(listing.id, commitment, "bergen").await.unwrap());
    assert!(!buyer.client.has_keyword(listing.id, commitment, "berg").await.unwrap());
    let all = VerifyContent { keywords: vec!["Oslo".into()], min_records: Some(10_000), ..VerifyContent::default() };
    assert!(buyer.client.verify_content(listing.id, commitment, &all).await.unwrap().passed);
    let judged = VerifyContent { min_quality: money::Bps::new(1), ..all };
    let judged = buyer.client.verify_content(listing.id, commitment, &judged).await.unwrap();
    assert_eq!((judged.min_quality, judged.passed), (Some(false), false), "nobody has judged it");

    // Another instance, which reads what the first one made.
    let other = world.market().await;
    assert_eq!(&other.client.content_proofs(&listing).await.unwrap().commitment, commitment);
    buyer.client.at(other.url.clone()).verify_content(listing.id, commitment, &asked()).await.unwrap();

    let bought = buyer.client.express_from_ledger(listing.id, Asset::Ard, "a").await.unwrap();
    assert_eq!(&ContentCommitment::of(&bought.body), commitment);

    // With other content, the commitment is another one.
    let changed = seller.client.upload(listing.id, "text/plain", "something else").await.unwrap();
    let answer = buyer.client.verify_content(listing.id, commitment, &VerifyContent::default()).await;
    assert!(matches!(answer, Err(ClientError::Proof(_))), "{answer:?}");
    assert!(market.client.content_proofs(&listing).await.is_err());
    let small = market.client.content_proofs(&changed).await.unwrap();
    assert!(small.open_chunks.is_empty(), "of so little nothing is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proved_is_refused() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let text = sell(&seller, b"electricity in Oslo").await;
    let bytes = sell(&seller, &[0xff; 1_000]).await;
    let draft = seller.client.create_listing(&goods("draft", PRICE, None)).await.unwrap();
    let commitment = market.client.content_proofs(&text).await.unwrap().commitment;
    let ask = async |listing: &Listing, asked: VerifyContent| {
        refusal(buyer.client.verify_content(listing.id, &commitment, &asked).await)
    };
    let nothing = VerifyContent::default;
    let word = |word: &str| VerifyContent { keywords: vec![word.into()], ..nothing() };
    let fields = |fields| VerifyContent { schema_has_fields: fields, ..nothing() };
    for (wrong, why) in [
        (word("two words"), "two words"),
        (word("2026"), "a number"),
        (VerifyContent { keywords: vec!["a".into(); 11], ..nothing() }, "too many"),
        (fields(vec![field("", JsonType::Null); 11]), "too many fields"),
        (fields(vec![field(&"/a".repeat(300), JsonType::Null)]), "a path that is too long"),
        (VerifyContent { min_records: Some(3), ..nothing() }, "a bound that tells too much"),
        (VerifyContent { min_words: Some(0), ..nothing() }, "a bound of nothing"),
    ] {
        assert_eq!(ask(&text, wrong).await, Code::InvalidRequest, "{why}");
    }
    assert_eq!(ask(&text, fields(vec![field("", JsonType::Object)])).await, Code::WrongState, "it is no JSON");
    assert_eq!(ask(&bytes, word("oslo")).await, Code::WrongState, "it is no text");
    assert_eq!(ask(&bytes, VerifyContent { min_records: Some(1), ..nothing() }).await, Code::WrongState);
    assert_eq!(ask(&draft, word("oslo")).await, Code::WrongState);
    assert_eq!(refusal(market.client.content_proofs(&draft).await), Code::WrongState);
    assert_eq!(refusal(market.client.has_keyword(text.id, &commitment, "oslo").await), Code::Unauthenticated);
    assert_eq!(refusal(buyer.client.has_keyword(Uuid::now_v7(), &commitment, "oslo").await), Code::NotFound);
}

/// What becomes of an answer.
type Lie = Box<dyn Fn(&mut Value) + Send + Sync>;

/// A market's address that changes what the market answers.
async fn liar(real: &Url, lie: impl Fn(&mut Value) + Send + Sync + 'static) -> Url {
    async fn relay(State((real, lie)): State<(Url, Arc<Lie>)>, request: Request) -> Json<Value> {
        let (parts, body) = request.into_parts();
        let url = real.join(parts.uri.path_and_query().unwrap().as_str()).unwrap();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let forward = reqwest::Client::new().request(parts.method, url).header("content-type", "application/json").body(body);
        let forward = match parts.headers.get("authorization") {
            Some(credentials) => forward.header("authorization", credentials),
            None => forward,
        };
        let mut answer = forward.send().await.unwrap().json().await.unwrap();
        lie(&mut answer);
        Json(answer)
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let lie: Lie = Box::new(lie);
    let router = Router::new().fallback(relay).with_state((real.clone(), Arc::new(lie)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_lies_is_found_out() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let listing = sell(&seller, &rows()).await;
    let commitment = market.client.content_proofs(&listing).await.unwrap().commitment;
    let others = VerifyContent { nonce: Some(nonce(2)), ..asked() };
    let others = buyer.client.verify_content(listing.id, &commitment, &others).await.unwrap();
    let others = serde_json::to_value(&others.chunks).unwrap();
    let ask = async |lie: Lie| {
        let client: Client = buyer.client.at(liar(&market.url, lie).await);
        client.verify_content(listing.id, &commitment, &asked()).await
    };
    ask(Box::new(|_| {})).await.unwrap();
    fn lie(what: &'static str, lie: impl Fn(&mut Value) + Send + Sync + 'static) -> (&'static str, Lie) {
        (what, Box::new(lie))
    }
    let lies = [
        lie("a word is not there", |a| a["keywords"][0]["present"] = json!(false)),
        lie("a word is there", |a| a["keywords"][1]["present"] = json!(true)),
        lie("the proof of another word", |a| a["keywords"][1] = a["keywords"][0].clone()),
        lie("the same under its name", |a| {
            a["keywords"][1]["proof"] = a["keywords"][0]["proof"].clone();
            a["keywords"][1]["present"] = json!(true);
        }),
        lie("a word is left out", |a| drop(a["keywords"].as_array_mut().unwrap().pop())),
        lie("a field is there", |a| {
            a["fields"][1]["proof"] = a["fields"][0]["proof"].clone();
            a["fields"][1]["present"] = json!(true);
        }),
        lie("there are enough words", |a| a["counts"][1]["passed"] = json!(true)),
        lie("there are as many words as rows", |a| a["counts"][1]["proof"] = a["counts"][0]["proof"].clone()),
        lie("there are more rows", |a| a["counts"][0]["at_least"] = json!(20_000)),
        lie("a count is left out", |a| drop(a["counts"].as_array_mut().unwrap().pop())),
        lie("it is too small", |a| a["min_size"] = json!(false)),
        lie("all of it is so", |a| a["passed"] = json!(true)),
        lie("a chunk is left out", |a| drop(a["chunks"].as_array_mut().unwrap().pop())),
        lie("chunks change places", |a| a["chunks"].as_array_mut().unwrap().swap(0, 1)),
        lie("other bytes", |a| a["chunks"][3]["chunk"] = json!(format!("0x{}", "20".repeat(512)))),
        lie("chunks of its own choice", move |a| a["chunks"] = others.clone()),
        lie("another commitment", |a| a["commitment_id"] = json!(B256::ZERO)),
    ];
    for (what, lie) in lies {
        let answer = ask(lie).await;
        assert!(matches!(answer, Err(ClientError::Proof(_))), "{what}: {answer:?}");
    }
    let one = liar(&market.url, |a| a["present"] = json!(!a["present"].as_bool().unwrap())).await;
    for word in ["oslo", "quantum"] {
        let answer = buyer.client.at(one.clone()).has_keyword(listing.id, &commitment, word).await;
        assert!(matches!(answer, Err(ClientError::Proof(_))), "{word}: {answer:?}");
    }
    // A commitment that does not fit its name or the listing. One that does is told by the content alone, or by who signed it.
    for change in ["content_hash", "key", "records"] {
        let url = liar(&market.url, move |a| a["commitment"][change] = json!(B256::repeat_byte(1))).await;
        let answer: Result<ContentProofs, _> = market.client.at(url).content_proofs(&listing).await;
        assert!(matches!(answer, Err(ClientError::Proof(_))), "{change}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_often_learn_no_more_than_is_open() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let content = rows();
    let listing = sell(&seller, &content).await;
    let commitment = market.client.content_proofs(&listing).await.unwrap().commitment;
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    for (name, account) in [("a", BUYER), ("b", 7), ("c", 8)] {
        let buyer = market.join(name, account, AgentType::Buyer).await;
        for i in 0..10 {
            let asked = VerifyContent { nonce: Some(nonce(account as u64 * 100 + i)), ..VerifyContent::default() };
            for chunk in buyer.client.verify_content(listing.id, &commitment, &asked).await.unwrap().chunks {
                bytes += if seen.insert(chunk.index) { chunk.chunk.len() } else { 0 };
            }
        }
    }
    assert!(seen.len() > 16 && bytes * 50 <= content.len() + 511, "{bytes} of {} bytes", content.len());

    // Words: so many for one person, whichever of the person's agents asks, and for each content.
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let twin = market.join("twin", BUYER, AgentType::Buyer).await;
    let words = |from: usize| VerifyContent {
        keywords: (from..from + 10).map(|i| format!("w{i}")).collect(),
        ..VerifyContent::default()
    };
    for i in 0..20 {
        let asker = if i % 2 == 0 { &buyer } else { &twin };
        asker.client.verify_content(listing.id, &commitment, &words(i * 10)).await.unwrap();
    }
    for asker in [&buyer, &twin] {
        assert_eq!(refusal(asker.client.verify_content(listing.id, &commitment, &words(0)).await), Code::OverLimit);
        assert_eq!(refusal(asker.client.has_keyword(listing.id, &commitment, "oslo").await), Code::OverLimit);
    }
    let asked = VerifyContent { nonce: Some(nonce(1)), ..VerifyContent::default() };
    buyer.client.verify_content(listing.id, &commitment, &asked).await.unwrap();
    assert!(seller.client.has_keyword(listing.id, &commitment, "oslo").await.unwrap());
    let another = sell(&seller, b"electricity in Oslo").await;
    let commitment = market.client.content_proofs(&another).await.unwrap().commitment;
    assert!(buyer.client.has_keyword(another.id, &commitment, "oslo").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_content_that_came_as_a_stream_has_chunks() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let draft = seller.client.create_listing(&goods("large", PRICE, None)).await.unwrap();
    let piece = |i: usize| (0..100_003).map(|at| (at * 31 + i) as u8).collect::<Vec<u8>>();
    let body = futures::stream::iter((0..120).map(move |i| Ok::<_, std::io::Error>(piece(i))));
    let listing = seller.client.upload(draft.id, "application/x-bytes", reqwest::Body::wrap_stream(body)).await.unwrap();
    // Whoever asks at once has one made.
    let asked = (0..4).map(|_| market.client.content_proofs(&listing));
    let proofs = futures::future::try_join_all(asked).await.unwrap();
    let commitment = &proofs[0].commitment;
    assert!(proofs.iter().all(|one| one.commitment == *commitment) && commitment.words.is_none());
    assert_eq!((commitment.content_size, proofs[0].open_chunks.len()), (120 * 100_003, 64));
    for i in 0..3 {
        let asked = VerifyContent { nonce: Some(nonce(i)), min_size: Some(12_000_000), ..VerifyContent::default() };
        let answer = buyer.client.verify_content(listing.id, commitment, &asked).await.unwrap();
        assert!(answer.passed && answer.chunks.len() == 16);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_of_a_purchase_compare_what_was_delivered() {
    let world = World::new().await;
    let market = world.market().await;
    let seller = market.join("seller", SELLER, AgentType::Seller).await;
    let buyer = market.join("buyer", BUYER, AgentType::Buyer).await;
    let stranger = market.join("stranger", 7, AgentType::Buyer).await;
    let listing = sell(&seller, b"0.21").await;
    buyer.client.express_from_ledger(listing.id, Asset::Ard, "a").await.unwrap();
    let purchase = buyer.client.purchases(&PurchaseFilter::default()).await.unwrap().data.remove(0).id;
    let shown = |purchase_id, content: &[u8]| CheckDelivery { purchase_id, content_base64: STANDARD.encode(content) };
    for member in [&buyer, &seller] {
        let other = member.client.check_delivery(&shown(purchase, b"0.22")).await.unwrap();
        assert!(!other.verified && Some(other.expected_hash) == listing.content_hash && other.actual_hash != other.expected_hash);
        assert!(member.client.check_delivery(&shown(purchase, b"0.21")).await.unwrap().verified);
    }
    assert_eq!(refusal(stranger.client.check_delivery(&shown(purchase, b"0.21")).await), Code::NotFound);
    assert_eq!(refusal(market.client.check_delivery(&shown(purchase, b"0.21")).await), Code::Unauthenticated);
    assert_eq!(refusal(buyer.client.check_delivery(&shown(purchase, &vec![0; 4_194_305])).await), Code::TooLarge);
    let order = Initiate { listing_id: listing.id, buyer: Some(address(7)), payment_method: Some(PaymentMethod::Escrow) };
    let order = market.as_wallet(7).await.initiate(&order).await.unwrap();
    assert!(market.as_wallet(7).await.check_delivery(&shown(order.id, b"0.21")).await.unwrap().verified);
    assert_eq!(refusal(buyer.client.check_delivery(&shown(order.id, b"0.21")).await), Code::NotFound);
}
