//! Quote, then pay.
//!
//! A quote is what would be done, sealed for who asked, so that nothing of it is kept here: any instance reads it again. What is paid is what was quoted,
//! or nothing. The key that makes it happen once is made of the quote: a model that is told to think of one would think of another when it repeats itself.

use alloy::primitives::{Address, B256};
use api::{
    Code, Scope,
    ledger::{Amount, Asset, Send, Withdraw},
};
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use money::Usdc;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;
use x402::JsonMap;

use super::rpc::{Client, SAID, agrees, map};
use crate::{
    agents,
    auth::{self, Caller},
    input::Id,
    listings,
    problem::Problem,
    service::Market,
    wallet::{self, purchase::BuyQuery},
};

/// How long a quote is good. A call whose answer was lost is repeated well within.
const LIFE: Duration = Duration::minutes(10);
/// Longest quote that is read.
const QUOTE_LEN_MAX_BYTES: usize = 8 * 1024;
const SEAL: &str = "quote";

/// What is quoted and paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A listing.
    Purchase,
    /// Money for another agent.
    Transfer,
    /// USDC to an account on chain.
    Withdrawal,
}

impl Kind {
    /// What asks for a quote.
    pub(super) fn quoted(self, generator: &mut SchemaGenerator) -> Schema {
        match self {
            Self::Purchase => Wanted::json_schema(generator),
            Self::Transfer => Send::json_schema(generator),
            Self::Withdrawal => Withdraw::json_schema(generator),
        }
    }

    /// What pays.
    pub(super) fn paid(self, generator: &mut SchemaGenerator) -> Schema {
        match self {
            Self::Purchase => Buy::json_schema(generator),
            Self::Transfer | Self::Withdrawal => Pay::json_schema(generator),
        }
    }

    fn paid_by(self) -> &'static str {
        match self {
            Self::Purchase => "marketplace_express_buy",
            Self::Transfer => "wallet_transfer",
            Self::Withdrawal => "wallet_withdraw",
        }
    }
}

/// Asks what a listing costs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The listing.
    #[schemars(with = "String")]
    listing_id: Uuid,
    /// What of your balance pays; USDC when absent.
    #[serde(default)]
    asset: Option<Asset>,
    /// SHA-256 of the content that is wanted, as the listing showed it. Is it another by now, nothing is quoted.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    content_hash: Option<B256>,
}

/// Pays what was quoted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pay {
    /// Of the quote.
    quote_id: String,
    /// Whether your user agreed to it. Only after an answer said that this is needed.
    #[serde(default)]
    confirm: bool,
}

/// Pays what was quoted, or by x402.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Buy {
    /// Of marketplace_quote, to pay from the balance.
    #[serde(default)]
    quote_id: Option<String>,
    /// Instead of it: the listing, to pay by x402.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    listing_id: Option<Uuid>,
    /// With listing_id: SHA-256 of the content that is wanted, as the listing showed it. Is it another by then, nothing is charged. A quote names it by
    /// itself.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    content_hash: Option<B256>,
    /// Whether your user agreed to it. Only after an answer said that this is needed.
    #[serde(default)]
    confirm: bool,
}

/// What is asked to be paid.
pub(super) enum Payment {
    /// A quote.
    Quoted { quote_id: String, confirm: bool },
    /// A listing, by x402; with this content, if it matters.
    ByX402 { listing_id: Uuid, content_hash: Option<B256> },
}

impl Payment {
    pub(super) fn read(kind: Kind, arguments: JsonMap) -> Result<Self, Problem> {
        if kind != Kind::Purchase {
            let Pay { quote_id, confirm } = read(arguments)?;
            return Ok(Self::Quoted { quote_id, confirm });
        }
        match read(arguments)? {
            Buy { quote_id: Some(quote_id), listing_id: None, content_hash: None, confirm } => {
                Ok(Self::Quoted { quote_id, confirm })
            }
            Buy { quote_id: None, listing_id: Some(listing_id), content_hash, .. } => {
                Ok(Self::ByX402 { listing_id, content_hash })
            }
            _ => Err(Problem::invalid(
                "Name quote_id, of marketplace_quote, or listing_id, to pay by x402: one of them, and content_hash with listing_id only",
            )),
        }
    }
}

/// What was quoted, for whom.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Quote {
    /// Tells it from another for the same.
    id: Uuid,
    who: Uuid,
    /// Unix seconds.
    until: i64,
    /// What it does, for people.
    what: String,
    order: Order,
}

/// What is done when it is paid.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Purchase { listing_id: Uuid, asset: Asset, price: Usdc, content_hash: B256 },
    Transfer(Send),
    Withdrawal(Withdraw),
}

impl Order {
    fn kind(&self) -> Kind {
        match self {
            Self::Purchase { .. } => Kind::Purchase,
            Self::Transfer(_) => Kind::Transfer,
            Self::Withdrawal(_) => Kind::Withdrawal,
        }
    }

    /// What leaves the balance; none when it is more than a ledger has.
    fn cost(&self) -> Option<(Asset, Amount)> {
        match self {
            Self::Purchase { asset, price, .. } => Some((*asset, asset.price_of(*price)?)),
            Self::Transfer(Send { asset, amount, .. }) => Some((*asset, *amount)),
            Self::Withdrawal(Withdraw { amount, .. }) => Some((Asset::Usdc, *amount)),
        }
    }

    /// Whether it costs more than a model spends by itself.
    fn is_dear(&self, market: &Market) -> bool {
        let dear = |(asset, amount): (Asset, Amount)| asset.price_of(market.mcp_approve_above).is_some_and(|most| amount > most);
        self.cost().is_none_or(dear)
    }

    fn request(&self) -> Result<Request, Problem> {
        let (uri, body) = match self {
            Self::Purchase { listing_id, asset, price, content_hash } => {
                let method = if *asset == Asset::Ard { "token" } else { "balance" };
                let query = format!("payment_method={method}&max_price={price}&content_hash={content_hash}");
                (format!("/api/v1/express/{listing_id}?{query}"), Value::Null)
            }
            Self::Transfer(send) => ("/api/v1/wallet/transfer".into(), json!(send)),
            Self::Withdrawal(withdraw) => ("/api/v1/wallet/withdrawals".into(), json!(withdraw)),
        };
        let request = Request::builder().method(Method::POST).uri(uri).header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(body.to_string())).map_err(|error| Problem::internal(&error))
    }
}

/// Says what something would cost, and what to pay it with.
pub(super) async fn quote(market: &Market, caller: Option<&Caller>, kind: Kind, arguments: JsonMap) -> Result<Value, Problem> {
    let caller = caller.ok_or_else(auth::refused)?;
    let who = caller.holder()?;
    let (order, what, about) = match kind {
        Kind::Purchase => purchase(market, caller, read(arguments)?).await?,
        Kind::Transfer => transfer(market, caller, read(arguments)?).await?,
        Kind::Withdrawal => withdrawal(caller, read(arguments)?)?,
    };
    let too_much = || Problem::new(Code::Inconsistent, "It costs more than the ledger can have");
    let (asset, amount) = order.cost().ok_or_else(too_much)?;
    let balances = wallet::balances(market, &[who]).await?.pop().unwrap_or_default();
    let free = balances.iter().find(|balance| balance.asset == asset).map_or(Amount::ZERO, |balance| balance.free);
    let until = OffsetDateTime::now_utc() + LIFE;
    let needs_approval = order.is_dear(market);
    let quote = Quote { id: Uuid::now_v7(), who, until: until.unix_timestamp(), what, order };
    let mut told = json!({
        "quote_id": quote.sealed(market),
        "what": quote.what,
        "asset": asset,
        "amount": amount,
        "balance": free,
        "is_enough": free >= amount,
        "needs_approval": needs_approval,
        "good_until": until.format(&Rfc3339).unwrap_or_default(),
        "pay_by": kind.paid_by(),
    });
    if let (Value::Object(told), Value::Object(about)) = (&mut told, about) {
        told.extend(about);
    }
    Ok(told)
}

async fn purchase(market: &Market, caller: &Caller, wanted: Wanted) -> Result<(Order, String, Value), Problem> {
    caller.agent()?;
    caller.must_have(Scope::Buy)?;
    let (listing_id, asset) = (wanted.listing_id, wanted.asset.unwrap_or(Asset::Usdc));
    let (listing, content_hash, size) = listings::for_sale(&mut *market.pool.acquire().await?, listing_id).await?;
    BuyQuery { content_hash: wanted.content_hash, ..BuyQuery::default() }.allows(listing.price, content_hash)?;
    let what = format!("Buy the listing {:?} for {} USDC, paid in {asset}", listing.title, listing.price);
    let about = json!({"listing": {
        "id": listing_id, "title": listing.title, "version": listing.version, "content_hash": content_hash, "content_size": size,
        "content_type": listing.content_type, "seller_id": listing.seller_id,
    }});
    Ok((Order::Purchase { listing_id, asset, price: listing.price, content_hash }, what, about))
}

async fn transfer(market: &Market, caller: &Caller, send: Send) -> Result<(Order, String, Value), Problem> {
    caller.agent()?;
    caller.must_have(Scope::Transfer)?;
    let Json(payee) = agents::show(State(market.clone()), Id(send.to_agent_id)).await?;
    let what = format!("Send {} {} to the agent {:?} ({})", send.amount, send.asset, payee.name, payee.id);
    let about =
        json!({"to": {"id": payee.id, "name": payee.name, "wallet_address": payee.wallet_address, "active": payee.active}});
    Ok((Order::Transfer(send), what, about))
}

fn withdrawal(caller: &Caller, withdraw: Withdraw) -> Result<(Order, String, Value), Problem> {
    let to = withdraw.to_address.or_else(|| caller.wallet().ok()).map(|to: Address| to.to_string());
    let to = to.unwrap_or_else(|| "the proven wallet".into());
    let what = format!("Withdraw {} USDC to {to}", withdraw.amount);
    Ok((Order::Withdrawal(withdraw), what, json!({"to_address": to})))
}

impl Quote {
    /// As it is handed out.
    fn sealed(&self, market: &Market) -> String {
        let text = BASE64.encode(serde_json::to_vec(self).expect("a quote is written as JSON"));
        let seal = market.auth.tokens.seal(SEAL, text.as_bytes());
        format!("{text}.{seal}")
    }

    /// The quote that was handed out as this to who calls.
    pub(super) fn open(market: &Market, caller: Option<&Caller>, kind: Kind, quote_id: &str) -> Result<Self, Problem> {
        let who = caller.ok_or_else(auth::refused)?.holder()?;
        let unknown = || Problem::invalid("quote_id is none of a quote for you: ask for one, and name all of its quote_id");
        let (text, seal) = quote_id.split_once('.').filter(|_| quote_id.len() <= QUOTE_LEN_MAX_BYTES).ok_or_else(unknown)?;
        if !market.auth.tokens.is_sealed(SEAL, text.as_bytes(), seal) {
            return Err(unknown());
        }
        let quote: Option<Self> = BASE64.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let quote = quote.filter(|quote| quote.who == who).ok_or_else(unknown)?;
        if quote.order.kind() != kind {
            return Err(Problem::invalid(format!("This quote is paid by {}", quote.order.kind().paid_by())));
        }
        if quote.until < OffsetDateTime::now_utc().unix_timestamp() {
            let detail = "The quote is no longer good. If you paid with it, see wallet_history before you ask for another";
            return Err(Problem::new(Code::WrongState, detail));
        }
        Ok(quote)
    }

    /// What has to be asked of the user first: nothing, a question for the client to put, or that the model puts it.
    pub(super) fn approval(
        &self,
        market: &Market,
        client: Client,
        params: &JsonMap,
        confirm: bool,
    ) -> Result<Option<JsonMap>, Problem> {
        if !self.order.is_dear(market) {
            return Ok(None);
        }
        if !client.can_ask {
            let detail =
                format!("{}? Ask your user. When they agree, call again with the same quote_id and confirm: true", self.what);
            return if confirm { Ok(None) } else { Err(Problem::new(Code::ApprovalNeeded, detail)) };
        }
        // A client that can ask its user does: what the model says of it does not count.
        let answer = params.get(SAID).and_then(|responses| responses.get("approval"));
        match answer {
            Some(answer) if agrees(answer) => Ok(None),
            Some(_) => Err(Problem::new(Code::ApprovalNeeded, "The user did not agree, or not in time: nothing was paid")),
            None => Ok(Some(map(json!({
                "resultType": "input_required",
                "inputRequests": {"approval": {"method": "elicitation/create", "params": {
                    "mode": "form",
                    "message": format!("{}?", self.what),
                    "requestedSchema": {
                        "type": "object",
                        "properties": {"approve": {"type": "boolean", "title": "Approve", "default": false}},
                        "required": ["approve"],
                    },
                }}},
            })))),
        }
    }

    /// The request that does what was quoted, once however often it is made.
    pub(super) fn request(&self) -> Result<Request, Problem> {
        let mut request = self.order.request()?;
        let key = HeaderValue::try_from(format!("quote-{}", self.id)).map_err(|error| Problem::internal(&error))?;
        request.headers_mut().insert(api::header::IDEMPOTENCY_KEY, key);
        Ok(request)
    }
}

/// Arguments, strictly.
fn read<T: DeserializeOwned>(arguments: JsonMap) -> Result<T, Problem> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| Problem::invalid(error.to_string()))
}
