use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use alloy::primitives::{Address, B256, keccak256};
use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, MatchedPath, OriginalUri, Request},
    response::{IntoResponse, Response},
};
use futures::future::{BoxFuture, FutureExt};
use http::{StatusCode, header::HOST, request::Parts};
use money::Usdc;
use tower::{Layer, Service};
use url::Url;

use super::{
    Extras, Gate, Offers, Outcome, VerifiedPayment, answer,
    metrics::{self, Stage},
};
use crate::{
    BAZAAR, Discovery, EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, Eip2612Permit, Erc20Approval, JsonMap, Network,
    PaymentFlow, PaymentRequirements, ResourceInfo, Token, TraceContext, UnknownAsset, header,
};

/// Longest body of a request whose purchase has a name: all of it is part of what the name means.
const NAMED_BODY_LEN_MAX_BYTES: usize = 2 * 1024 * 1024;

/// How long a payment may take to settle, in seconds.
const TIMEOUT_SECS: u64 = 300;

type PriceFn = dyn Fn(&Parts) -> BoxFuture<'static, Result<Vec<PaymentRequirements>, Response>> + Send + Sync;

/// What a route costs.
#[derive(Clone)]
pub struct Pricing(Arc<PriceFn>);

impl std::fmt::Debug for Pricing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pricing")
    }
}

impl Pricing {
    /// Always the same price, in Circle's USDC.
    ///
    /// # Errors
    /// [`UnknownAsset`] when no USDC is known on `network`.
    pub fn usdc(network: &Network, price: Usdc, pay_to: Address) -> Result<Self, UnknownAsset> {
        Ok(Self::offers(vec![PaymentRequirements::exact(&Token::usdc(network)?, price, pay_to, TIMEOUT_SECS)]))
    }

    /// Always the same offers; none means free.
    pub fn offers(offers: Vec<PaymentRequirements>) -> Self {
        Self(Arc::new(move |_| futures::future::ready(Ok(offers.clone())).boxed()))
    }

    /// Offers that depend on the request, or a response that ends it. The retry that carries the payment must be offered the same.
    pub fn dynamic<F, Fut>(price: F) -> Self
    where
        F: Fn(&Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<PaymentRequirements>, Response>> + Send + 'static,
    {
        Self(Arc::new(move |parts| price(parts).boxed()))
    }
}

/// Who sells: prices a route in one line.
///
/// ```no_run
/// # fn example(gate: x402::server::Gate, me: alloy::primitives::Address) -> Result<axum::Router, Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use x402::{Network, server::{Payer, Seller}};
///
/// let seller = Seller::new(gate, &Network::evm(84532), me)?;
/// let report = |Payer(payer): Payer| async move { format!("the report for {payer}") };
/// let app = Router::new().route("/report", get(report).layer(seller.price("0.01".parse()?)));
/// # Ok(app) }
/// ```
#[derive(Clone, Debug)]
pub struct Seller {
    gate: Gate,
    token: Token,
    pay_to: Address,
}

impl Seller {
    /// Sells for Circle's USDC on `network`, paid to `pay_to`.
    ///
    /// # Errors
    /// [`UnknownAsset`] when no USDC is known on `network`.
    pub fn new(gate: Gate, network: &Network, pay_to: Address) -> Result<Self, UnknownAsset> {
        Ok(Self { gate, token: Token::usdc(network)?, pay_to })
    }

    /// What is behind this layer costs `price`.
    pub fn price(&self, price: Usdc) -> PaidLayer {
        let offer = PaymentRequirements::exact(&self.token, price, self.pay_to, TIMEOUT_SECS);
        PaidLayer::new(self.gate.clone(), Pricing::offers(vec![offer]))
    }
}

/// Charges for everything behind it. A CORS layer belongs outside, so that it answers preflight requests, which cannot pay.
#[derive(Clone, Debug)]
pub struct PaidLayer {
    gate: Gate,
    pricing: Pricing,
    info: Arc<ResourceInfo>,
    extensions: JsonMap,
    public_url: Option<Url>,
    extras: Extras,
    discovery: Option<Arc<Discovery>>,
}

impl PaidLayer {
    /// Charges what `pricing` says.
    pub fn new(gate: Gate, pricing: Pricing) -> Self {
        Self {
            gate,
            pricing,
            info: Arc::default(),
            extensions: JsonMap::new(),
            public_url: None,
            extras: Extras::default(),
            discovery: None,
        }
    }

    /// Describes what is sold; its `url` is filled in from each request.
    pub fn describe(mut self, info: ResourceInfo) -> Self {
        self.info = Arc::new(info);
        self
    }

    /// Tells clients that the facilitator carries an EIP-2612 permit with a payment by Permit2, so that they need no gas to begin with.
    pub fn sponsor_permits(mut self) -> Self {
        self.extensions.insert(EIP2612_GAS_SPONSORING.into(), Eip2612Permit::declaration());
        self
    }

    /// Tells clients that the facilitator broadcasts a transaction that approves Permit2, and pays its gas: for tokens without EIP-2612.
    pub fn sponsor_approvals(mut self) -> Self {
        self.extensions.insert(ERC20_APPROVAL_GAS_SPONSORING.into(), Erc20Approval::declaration());
        self
    }

    /// Offers and accepts more than payments: names of purchases, signing in, signed offers and receipts.
    pub fn extras(mut self, extras: Extras) -> Self {
        self.extras = extras;
        self
    }

    /// Says in catalogues how the resource is called (`bazaar`).
    pub fn discoverable(mut self, discovery: Discovery) -> Self {
        self.discovery = Some(Arc::new(discovery));
        self
    }

    /// The address clients know the server by, when it is not the `Host` they send: behind a proxy.
    pub fn public_url(mut self, url: Url) -> Self {
        self.public_url = Some(url);
        self
    }

    /// What this request is offered.
    fn offers(&self, parts: &Parts, accepts: Vec<PaymentRequirements>, request: B256) -> Offers {
        let mut extensions = self.extensions.clone();
        if let Some(discovery) = &self.discovery {
            let template = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
            let declared = discovery.declaration(parts.method.as_str(), template, asked(parts).path());
            extensions.insert(BAZAAR.into(), declared);
        }
        let extensions = Some(extensions).filter(|extensions| !extensions.is_empty());
        Offers { resource: self.resource(parts), accepts, extensions, extras: self.extras.clone(), request }
    }

    fn resource(&self, parts: &Parts) -> ResourceInfo {
        let uri = asked(parts);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = || parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
        let base = match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", uri.authority().map_or_else(host, ToString::to_string)),
        };
        ResourceInfo { url: format!("{base}{path}"), ..(*self.info).clone() }
    }
}

impl<S> Layer<S> for PaidLayer {
    type Service = PaidService<S>;

    fn layer(&self, inner: S) -> PaidService<S> {
        PaidService { inner, layer: self.clone() }
    }
}

/// The address as the client sent it.
fn asked(parts: &Parts) -> &http::Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

/// Who the answer is for, in handlers: who pays, or paid before and signed in.
#[derive(Clone, Copy, Debug)]
pub struct Payer(pub Address);

impl<S: Sync> FromRequestParts<S> for Payer {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts
            .extensions
            .get()
            .copied()
            .ok_or((StatusCode::INTERNAL_SERVER_ERROR, "this route is not behind a PaidLayer, or is free"))
    }
}

/// Who paid, and what: in the request's extensions, for handlers. Absent when a wallet signed in instead.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PaymentInfo {
    /// Who pays.
    pub payer: Address,
    /// What is paid.
    pub requirements: PaymentRequirements,
    /// True when the same payment came before and may have been settled then, without an answer that was kept: one that is
    /// [`Streamed`](super::Streamed), or charged upfront. What was done for it need not be done twice.
    pub resumed: bool,
}

/// What [`PaidLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct PaidService<S> {
    inner: S,
    layer: PaidLayer,
}

impl<S> Service<Request> for PaidService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone takes the place of the service that is ready.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        let trace = TraceContext::of(request.headers());
        trace.scope(async move { layer.serve(request, inner).await }).boxed()
    }
}

impl PaidLayer {
    async fn serve<S>(&self, request: Request, mut inner: S) -> Result<Response, Infallible>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let (mut parts, body) = request.into_parts();
        let accepts = match (self.pricing.0)(&parts).await {
            Ok(accepts) => accepts,
            Err(response) => return Ok(response),
        };
        if accepts.is_empty() {
            return inner.call(Request::from_parts(parts, body)).await;
        }
        let (body, request) = match self.fingerprint(&parts, body).await {
            Ok(read) => read,
            Err(response) => return Ok(response),
        };
        let offers = self.offers(&parts, accepts, request);
        match self.gate.signed_in(&parts.headers, &offers).await {
            Ok(None) => {}
            Ok(Some(wallet)) => {
                parts.extensions.insert(Payer(wallet));
                let mut response = inner.call(Request::from_parts(parts, body)).await?;
                // Nothing is charged, whatever the handler says that it costs.
                let _charge = answer::take_charge(&mut response);
                answer::mark_private(&mut response);
                return Ok(response);
            }
            Err(response) => return Ok(*response),
        }
        let payment = match self.gate.check(&parts.headers, &offers).await {
            Outcome::Answer(response) => return Ok(*response),
            Outcome::Verified(payment) => *payment,
        };
        parts.extensions.insert(Payer(payment.payer()));
        let (payer, requirements, resumed) = (payment.payer(), payment.requirements().clone(), payment.is_resumed());
        parts.extensions.insert(PaymentInfo { payer, requirements, resumed });
        let request = Request::from_parts(parts, body);
        match payment.requirements().payment_flow() {
            Some(PaymentFlow::Upfront) => settle_first(payment, request, inner).await,
            _ => {
                let response = metrics::timed(Stage::Handler, payment.key().nonce, inner.call(request)).await?;
                Ok(payment.respond(response).await)
            }
        }
    }
}

impl PaidLayer {
    /// What makes this request another one than others for its resource. Where purchases have names, the whole body does.
    async fn fingerprint(&self, parts: &Parts, body: Body) -> Result<(Body, B256), Response> {
        if !self.extras.names_purchases() || !parts.headers.contains_key(header::PAYMENT_SIGNATURE) {
            return Ok((body, keccak256(parts.method.as_str())));
        }
        let too_long = |_| (StatusCode::PAYLOAD_TOO_LARGE, "a named purchase may have a body of 2 MiB").into_response();
        let bytes = to_bytes(body, NAMED_BODY_LEN_MAX_BYTES).await.map_err(too_long)?;
        let request = keccak256([keccak256(parts.method.as_str()), keccak256(&bytes)].concat());
        Ok((Body::from(bytes), request))
    }
}

/// The flow whose answer may stream: the money has moved before the handler runs.
async fn settle_first<S>(payment: VerifiedPayment, request: Request, mut inner: S) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let nonce = payment.key().nonce;
    let settled = match payment.settle().await {
        Ok(settled) => settled,
        Err(response) => return Ok(response),
    };
    let mut response = metrics::timed(Stage::Handler, nonce, inner.call(request)).await?;
    if !matches!(answer::take_charge(&mut response), Ok(None)) {
        tracing::error!("the handler says what its work costs, but the flow upfront has charged before: use the scheme upto");
    }
    settled.mark(&mut response);
    Ok(response)
}
