use std::{sync::Arc, time::Duration};

use alloy::primitives::{B256, keccak256};
use money::Usdc;
use reqwest::{Method, Request, Response, StatusCode, header, redirect};
use tokio::runtime::Handle;
use url::Url;

use super::{
    DailyBudget, PayError, Payer, Policy,
    daily::Spending,
    offer::{Demand, receipt},
    outstanding::{Account, Payment, UnderWay},
    payer::now_secs,
    policy::Price,
    signing,
};
use crate::{PaymentRequirements, Reason, SettleResponse};

/// How often a payment is sent again when nobody said what became of it.
const RESENDS_MAX: u32 = 3;
/// Wait before sending again when the server names none.
const RESEND_WAIT: Duration = Duration::from_millis(500);
/// Longest wait a server may ask for.
const RESEND_WAIT_MAX: Duration = Duration::from_secs(5);
/// A settlement may take a facilitator 90 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 5;

/// An HTTP client that pays.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use alloy::signers::local::PrivateKeySigner;
/// use x402::client::{Client, KeyPayer, Policy};
///
/// let payer = KeyPayer::new(PrivateKeySigner::random());
/// let client = Client::new(payer, Policy::default().max_per_payment("0.10".parse()?))?;
/// let answer = client.get("https://api.example/report".parse()?).await?;
/// println!("{}", answer.into_response().text().await?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client<P> {
    payer: P,
    policy: Arc<Policy>,
    account: Arc<Account>,
    daily: Option<Arc<DailyBudget>>,
    /// Follows redirects. Never carries a payment.
    asking: reqwest::Client,
    /// Follows none, so that a payment reaches only the host that asked for it.
    paying: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// Nothing was asked for, nothing was paid.
    Free(Response),
    /// A payment was sent.
    Paid(Box<Paid>),
}

/// The answer to a request that carried a payment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Paid {
    /// What was bought. A status of 400 or more without a receipt means that the server did not settle.
    pub response: Response,
    /// The server's word on the settlement.
    pub receipt: Option<SettleResponse>,
    /// The offer that was taken.
    pub requirement: PaymentRequirements,
}

impl Answer {
    /// The response, whether paid or not.
    pub fn into_response(self) -> Response {
        match self {
            Self::Free(response) => response,
            Self::Paid(paid) => paid.response,
        }
    }

    /// The payment, if there was one.
    pub fn paid(&self) -> Option<&Paid> {
        match self {
            Self::Free(_) => None,
            Self::Paid(paid) => Some(paid),
        }
    }
}

impl<P: Payer> Client<P> {
    /// A client that pays from `payer` within `policy`. Clones share one budget.
    ///
    /// # Errors
    /// When the TLS of this machine cannot be set up.
    pub fn new(payer: P, policy: Policy) -> Result<Self, reqwest::Error> {
        let builder = || reqwest::Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        let asking = builder().redirect(redirect::Policy::custom(follow)).build()?;
        let paying = builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self { payer, policy: Arc::new(policy), account: Arc::default(), daily: None, asking, paying })
    }

    /// Also keeps to a budget that outlives this client and is shared with others, besides the policy's.
    pub fn daily_budget(mut self, budget: DailyBudget) -> Self {
        self.daily = Some(Arc::new(budget));
        self
    }

    /// Gets `url`, paying for it if asked to.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn get(&self, url: Url) -> Result<Answer, PayError> {
        self.execute(Request::new(Method::GET, url)).await
    }

    /// Sends `request`, paying for it if asked to.
    ///
    /// One payment at most is signed for it. When its outcome is not known, it is sent again, now and whenever the same request (method,
    /// address, body) is repeated, until it has ended on chain; a second one is never signed while the first may still settle.
    ///
    /// # Errors
    /// [`PayError`]; [`PayError::may_have_paid`] tells whether a signature is out.
    pub async fn execute(&self, request: Request) -> Result<Answer, PayError> {
        let unpaid = request.try_clone().ok_or(PayError::BodyNotRepeatable)?;
        let id = request_id(&request);
        if let Some(payment) = self.account.resume(id) {
            tracing::debug!(url = %payment.payment.url, "sending an earlier payment again");
            return self.send_paid(request, payment).await;
        }
        let follows = matches!(*request.method(), Method::GET | Method::HEAD);
        let response = if follows { self.asking.execute(unpaid).await? } else { self.paying.execute(unpaid).await? };
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(Answer::Free(response));
        }
        let url = response.url().clone();
        self.policy.check_host(url.host_str().unwrap_or_default())?;
        let demand = Demand::read(response).await?;
        let payment = self.sign(&demand, url).await?;
        self.send_paid(request, self.account.begin(id, payment)).await
    }

    /// What this client signed so far, settled or not.
    pub fn spent(&self) -> Usdc {
        self.account.spent()
    }

    /// Who pays.
    pub fn payer(&self) -> &P {
        &self.payer
    }

    /// Forgets the payment made for `request`, so that the next one signs a new one. Only for who knows that the first cannot settle
    /// any more; otherwise both may.
    pub fn forget_payment(&self, request: &Request) {
        self.account.forget(request_id(request));
    }

    /// Reserves the price, signs, and returns the price when nothing was signed.
    async fn sign(&self, demand: &Demand, url: Url) -> Result<Payment, PayError> {
        let methods: Vec<_> = self.payer.methods().iter().copied().filter(|method| demand.methods().contains(method)).collect();
        let (offer, price) = self.account.reserve(&self.policy, &demand.offers, &methods)?;
        // Gives the price back when the future is dropped while a device or a person is asked to sign.
        let mut reserved = Reserved { account: &self.account, price: price.usdc, day: None, signed: false };
        reserved.day = self.reserve_day(&url, offer, &price).await?;
        let signed = signing::sign(&self.payer, demand, offer, &price, self.policy.validity_max_secs).await?;
        let valid_before = signed.valid_before;
        let header = demand.header(offer, signed)?;
        reserved.signed = true;
        Ok(Payment { header, url, requirement: offer.clone(), valid_before })
    }

    /// Takes the price off the day's budget, on disk.
    async fn reserve_day(&self, url: &Url, offer: &PaymentRequirements, price: &Price) -> Result<Option<ReservedDay>, PayError> {
        let Some(budget) = self.daily.clone() else { return Ok(None) };
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
        let spending = Spending { host, asset: format!("{}/{}", offer.network, price.domain.asset), price: price.usdc };
        let reserving = tokio::task::spawn_blocking(move || {
            let day = budget.reserve(&spending)?;
            Ok(ReservedDay { budget, spending, day })
        });
        reserving.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(Some)
    }

    /// Sends one payment until somebody says what became of it.
    async fn send_paid(&self, request: Request, under_way: UnderWay) -> Result<Answer, PayError> {
        let valid_before = under_way.payment.valid_before;
        let mut cause = String::new();
        for attempt in 0..=RESENDS_MAX {
            let sending = with_payment(&request, &under_way.payment)?;
            let wait = match self.paying.execute(sending).await {
                Ok(response) if response.status().is_server_error() => {
                    cause = format!("the server answered {}", response.status());
                    retry_after(&response).unwrap_or(RESEND_WAIT)
                }
                Ok(response) => return conclude(response, under_way).await,
                Err(error) => {
                    cause = error.without_url().to_string();
                    RESEND_WAIT
                }
            };
            if attempt == RESENDS_MAX || now_secs() >= valid_before {
                break;
            }
            tracing::debug!(attempt, cause, "outcome of a payment not known, sending it again");
            tokio::time::sleep(wait.min(RESEND_WAIT_MAX)).await;
        }
        Err(PayError::Indeterminate { cause, valid_before })
    }
}

struct Reserved<'a> {
    account: &'a Account,
    price: Usdc,
    day: Option<ReservedDay>,
    signed: bool,
}

struct ReservedDay {
    budget: Arc<DailyBudget>,
    spending: Spending,
    day: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.signed {
            return;
        }
        self.account.give_back(self.price);
        // A process that ends before this ran has spent a little less than it says.
        if let (Some(ReservedDay { budget, spending, day }), Ok(runtime)) = (self.day.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || {
                if let Err(error) = budget.give_back(&spending, day) {
                    tracing::warn!(%error, "a price that was not paid still counts today");
                }
            });
        }
    }
}

/// Reads the answer to a paid request that the server answered for good.
async fn conclude(response: Response, under_way: UnderWay) -> Result<Answer, PayError> {
    let status = response.status();
    let receipt = receipt(response.headers());
    if matches!(status, StatusCode::PAYMENT_REQUIRED | StatusCode::PRECONDITION_FAILED) {
        let settle_error = receipt.and_then(|receipt| receipt.error_reason);
        let reason = match settle_error {
            Some(reason) => Some(reason),
            None => Demand::read(response).await.ok().and_then(|demand| demand.error),
        };
        let reason = reason.unwrap_or_else(|| Reason::Other("no reason given".into()));
        return Err(PayError::PaymentRejected { reason, valid_before: under_way.payment.valid_before });
    }
    match receipt {
        Some(receipt) if status == StatusCode::CONFLICT && receipt.success => {
            under_way.done();
            Err(PayError::AlreadyUsed { receipt: Box::new(receipt) })
        }
        // The handler failed and the server says nothing of a settlement: the payment stays usable for the same request.
        None if status.is_client_error() => {
            let requirement = under_way.payment.requirement.clone();
            Ok(Answer::Paid(Box::new(Paid { response, receipt: None, requirement })))
        }
        receipt => Ok(Answer::Paid(Box::new(Paid { response, receipt, requirement: under_way.done() }))),
    }
}

/// The request, addressed to who asked for payment, with the payment. Credentials stay with the host they were meant for.
fn with_payment(request: &Request, payment: &Payment) -> Result<Request, PayError> {
    let mut sending = request.try_clone().ok_or(PayError::BodyNotRepeatable)?;
    let elsewhere = sending.url().origin() != payment.url.origin();
    *sending.url_mut() = payment.url.clone();
    let headers = sending.headers_mut();
    if elsewhere {
        for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            headers.remove(name);
        }
    }
    let (name, value) = &payment.header;
    let mut value = header::HeaderValue::from_str(value).expect("base64 is a valid header value");
    value.set_sensitive(true);
    headers.insert(*name, value);
    Ok(sending)
}

/// Follows a few redirects, never from an encrypted connection to an open one.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt.previous().last().is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
    if downgrade || attempt.previous().len() > REDIRECTS_MAX { attempt.stop() } else { attempt.follow() }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Two requests with one id buy the same thing.
fn request_id(request: &Request) -> B256 {
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let line = format!("{} {}\n", request.method(), request.url());
    keccak256([line.as_bytes(), body].concat())
}
