use std::time::Duration;

use alloy::{
    primitives::{B256, keccak256},
    signers::Signer,
};
use money::Usdc;
use reqwest::{ClientBuilder, Method, Request, Response, StatusCode, header, redirect};
use tracing::Instrument as _;
use url::Url;

use super::{
    PayError, Payer, Policy, Purse,
    offer::{Demand, receipt},
    outstanding::{Payment, UnderWay},
    payer::now_secs,
    sign_in::Wallet,
};
use crate::{PaymentRequirements, Reason, SIGN_IN_WITH_X, SettleResponse};

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
    purse: Purse<P>,
    /// Follows redirects. Never carries a payment.
    asking: reqwest::Client,
    /// Follows none, so that a payment reaches only the host that asked for it.
    paying: reqwest::Client,
    wallet: Option<Wallet>,
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
    /// A client that pays from `payer` within `policy`. Clones share one account.
    ///
    /// # Errors
    /// When the TLS of this machine cannot be set up.
    pub fn new(payer: P, policy: Policy) -> Result<Self, reqwest::Error> {
        Self::with(Purse::new(payer, policy), |builder| builder)
    }

    /// A client that pays from `purse`. `configure` sets proxies, roots, and timeouts other than 10 seconds to connect and 100 for an
    /// answer; its policy of redirects is replaced. A single request may have a timeout of its own.
    ///
    /// # Errors
    /// When what `configure` makes cannot be built.
    pub fn with(purse: Purse<P>, configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Self, reqwest::Error> {
        let builder = || configure(ClientBuilder::new().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT));
        let asking = builder().redirect(redirect::Policy::custom(follow)).build()?;
        let paying = builder().redirect(redirect::Policy::none()).build()?;
        Ok(Self { purse, asking, paying, wallet: None })
    }

    /// Tries to come in by signing in (`sign-in-with-x`) before it pays, where a server offers it: what `signer` paid for once is free.
    pub fn sign_in_with(mut self, signer: impl Signer + Send + Sync + 'static) -> Self {
        self.wallet = Some(Wallet::new(signer));
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
        if let Some(payment) = self.purse.resume(request_id(&request)).await? {
            tracing::debug!(url = %payment.payment.url, "sending an earlier payment again");
            return self.send_paid(request, payment).await;
        }
        let follows = matches!(*request.method(), Method::GET | Method::HEAD);
        let response = if follows { self.asking.execute(unpaid).await? } else { self.paying.execute(unpaid).await? };
        self.answer(request, response).await
    }

    /// Goes on from a first response to `request` that somebody else got: pays when it is a 402, over a connection of its own that
    /// follows no redirect. Ask [`Self::resume`] before the request is sent.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn answer(&self, request: Request, response: Response) -> Result<Answer, PayError> {
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(Answer::Free(response));
        }
        let url = response.url().clone();
        let demand = Demand::read(response).await?;
        if let Some(value) = Wallet::sign(self.wallet.as_ref(), &demand, &url).await {
            let response = self.paying.execute(with_header(&request, &url, SIGN_IN_WITH_X, value)?).await?;
            if response.status() != StatusCode::PAYMENT_REQUIRED {
                return Ok(Answer::Free(response));
            }
        }
        let payment = self.purse.pay(request_id(&request), &demand, &url).await?;
        self.send_paid(request, payment).await
    }

    /// Sends the payment that was made for the same request before, if there is one that may still settle.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn resume(&self, request: &Request) -> Result<Option<Answer>, PayError> {
        let Some(payment) = self.purse.resume(request_id(request)).await? else { return Ok(None) };
        let request = request.try_clone().ok_or(PayError::BodyNotRepeatable)?;
        self.send_paid(request, payment).await.map(Some)
    }

    /// Who asks to be paid for `request` and how; no offers when it is free. Nothing is signed. See [`Purse::judge`].
    ///
    /// # Errors
    /// [`PayError`] when the request fails, or the 402 cannot be read.
    pub async fn offers(&self, request: Request) -> Result<(Url, Vec<PaymentRequirements>), PayError> {
        let response = self.asking.execute(request).await?;
        let (status, url) = (response.status(), response.url().clone());
        if status != StatusCode::PAYMENT_REQUIRED {
            return Ok((url, Vec::new()));
        }
        Ok((url, Demand::read(response).await?.offers))
    }

    /// Asks the seller at `url` to give back what is left in the channel with it, or `amount` base units of that. What it charged and has not
    /// claimed is claimed first.
    ///
    /// # Errors
    /// [`PayError`]; [`PayError::PaymentRejected`] when the seller does not: then the payer withdraws by itself.
    pub async fn refund(&self, url: Url, amount: Option<u128>) -> Result<SettleResponse, PayError> {
        let response = self.asking.execute(Request::new(Method::GET, url)).await?;
        let url = response.url().clone();
        let demand = Demand::read(response).await?;
        let (mut channel, offer) = self.purse.channel(&demand).await?;
        let mut last = Reason::Other("no reason given".into());
        for _ in 0..2 {
            let (name, value) = demand.proof(&offer, channel.refund(amount).await?).header()?;
            let mut request = Request::new(Method::GET, url.clone());
            let mut value = header::HeaderValue::try_from(value).expect("base64 is a valid header value");
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
            let response = self.paying.execute(request).await?;
            if let Some(receipt) = receipt(response.headers()) {
                if receipt.success {
                    channel.refunded(&receipt).await?;
                    return Ok(receipt);
                }
                last = receipt.error_reason.unwrap_or(last);
                break;
            }
            let corrective = Demand::read(response).await?;
            last = corrective.error.clone().unwrap_or(last);
            if !channel.correct(&corrective).await? {
                break;
            }
        }
        Err(PayError::PaymentRejected { reason: last, valid_before: now_secs() })
    }

    /// What this client signed so far, settled or not.
    pub fn spent(&self) -> Usdc {
        self.purse.spent()
    }

    /// Whose money is spent.
    pub fn purse(&self) -> &Purse<P> {
        &self.purse
    }

    /// Who pays.
    pub fn payer(&self) -> &P {
        self.purse.payer()
    }

    /// Forgets the payment made for `request`, so that the next one signs a new one. Only for who knows that the first cannot settle
    /// any more; otherwise both may.
    ///
    /// # Errors
    /// [`PayError::Journal`] when it cannot be removed.
    pub fn forget_payment(&self, request: &Request) -> Result<(), PayError> {
        self.purse.forget(request_id(request))
    }

    /// Sends one payment until somebody says what became of it.
    async fn send_paid(&self, request: Request, mut under_way: UnderWay) -> Result<Answer, PayError> {
        let valid_before = under_way.payment.valid_before;
        let mut cause = String::new();
        for attempt in 0..=RESENDS_MAX {
            let sending = with_payment(&request, &under_way.payment)?;
            let wait = match self.paying.execute(sending).instrument(under_way.payment.span()).await {
                Ok(response) if response.status().is_server_error() && !is_concluded(&response) => {
                    cause = format!("the server answered {}", response.status());
                    retry_after(&response).unwrap_or(RESEND_WAIT)
                }
                Ok(response) => return Box::pin(self.conclude(request, response, under_way)).await,
                Err(error) => {
                    cause = error.without_url().to_string();
                    RESEND_WAIT
                }
            };
            if attempt == RESENDS_MAX || now_secs() >= valid_before {
                break;
            }
            under_way.repeated = true;
            tracing::debug!(attempt, cause, "outcome of a payment not known, sending it again");
            tokio::time::sleep(wait.min(RESEND_WAIT_MAX)).await;
        }
        Err(self.purse.failed(&under_way.payment.url, PayError::Indeterminate { cause, valid_before }))
    }

    /// Signs the next voucher of a channel, now that it is known from where it goes on. Once for a payment: whoever corrects twice does
    /// not mean it.
    async fn sign_again(&self, request: Request, demand: &Demand, under_way: UnderWay) -> Result<Answer, PayError> {
        let url = under_way.payment.url.clone();
        under_way.done();
        let mut again = self.purse.pay(request_id(&request), demand, &url).await?;
        again.corrected = true;
        self.send_paid(request, again).await
    }

    /// Reads the answer to a paid request that the server answered for good.
    async fn conclude(&self, request: Request, response: Response, mut under_way: UnderWay) -> Result<Answer, PayError> {
        let (status, receipt) = (response.status(), receipt(response.headers()));
        let requirement = under_way.payment.requirement.clone();
        if matches!(status, StatusCode::PAYMENT_REQUIRED | StatusCode::PRECONDITION_FAILED) {
            let settle_error = receipt.and_then(|receipt| receipt.error_reason);
            let demand = Demand::read(response).await.ok();
            if let (Some(channel), Some(demand), false) = (&mut under_way.channel, &demand, under_way.corrected)
                && channel.correct(demand).await?
            {
                return self.sign_again(request, demand, under_way).await;
            }
            let reason = settle_error.or_else(|| demand.and_then(|demand| demand.error));
            let reason = reason.unwrap_or_else(|| Reason::Other("no reason given".into()));
            let error = PayError::PaymentRejected { reason, valid_before: under_way.payment.valid_before };
            return Err(self.purse.failed(&under_way.payment.url, error));
        }
        self.purse.record(&under_way.payment, receipt.as_ref()).await;
        let is_unpaid = receipt.is_none() && status.is_client_error();
        if let Some(channel) = under_way.channel.as_mut().filter(|_| !is_unpaid) {
            channel.settled(receipt.as_ref()).await?;
        }
        match receipt {
            // Of a channel whose records were lost: the same voucher was made for another request. The receipt says from where to go on.
            Some(receipt) if status == StatusCode::CONFLICT && receipt.success && under_way.is_misplaced() => {
                let demand = under_way.payment.demand();
                self.sign_again(request, &demand, under_way).await
            }
            Some(receipt) if status == StatusCode::CONFLICT && receipt.success => {
                let url = under_way.payment.url.clone();
                under_way.done();
                Err(self.purse.failed(&url, PayError::AlreadyUsed { receipt: Box::new(receipt) }))
            }
            // The handler failed and the server says nothing of a settlement: the payment stays usable for the same request.
            None if status.is_client_error() => Ok(Answer::Paid(Box::new(Paid { response, receipt: None, requirement }))),
            receipt => {
                under_way.done();
                Ok(Answer::Paid(Box::new(Paid { response, receipt, requirement })))
            }
        }
    }
}

/// Whether the server says what became of the money although its handler failed: it has moved, or is held and was not given back.
fn is_concluded(response: &Response) -> bool {
    let is_held = |receipt: &SettleResponse| receipt.extra.as_ref().is_some_and(|extra| extra.contains_key("depositTransaction"));
    receipt(response.headers()).is_some_and(|receipt| receipt.success || is_held(&receipt))
}

fn with_payment(request: &Request, payment: &Payment) -> Result<Request, PayError> {
    let (name, value) = payment.proof.header()?;
    with_header(request, &payment.url, name, value)
}

/// The request, addressed to who asked for something, with the answer. Credentials stay with the host they were meant for.
fn with_header(request: &Request, url: &Url, name: &'static str, value: String) -> Result<Request, PayError> {
    let mut sending = request.try_clone().ok_or(PayError::BodyNotRepeatable)?;
    let elsewhere = sending.url().origin() != url.origin();
    *sending.url_mut() = url.clone();
    let headers = sending.headers_mut();
    if elsewhere {
        for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            headers.remove(name);
        }
    }
    let mut value = header::HeaderValue::try_from(value).expect("base64 is a valid header value");
    value.set_sensitive(true);
    headers.insert(name, value);
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
