use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use alloy::primitives::Address;
use axum::{
    extract::{OriginalUri, Request},
    response::Response,
};
use futures::future::{BoxFuture, FutureExt};
use http::{header::HOST, request::Parts};
use money::Usdc;
use tower::{Layer, Service};
use url::Url;

use super::{Gate, Offers, Outcome, VerifiedPayment, answer};
use crate::{
    EIP2612_GAS_SPONSORING, Eip2612Permit, JsonMap, Network, PaymentFlow, PaymentRequirements, ResourceInfo, Token, UnknownAsset,
};

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

/// Charges for everything behind it.
///
/// ```no_run
/// # fn example(gate: x402::server::Gate, me: alloy::primitives::Address) -> Result<axum::Router, Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use x402::{Network, server::{PaidLayer, Pricing}};
///
/// let price = Pricing::usdc(&Network::evm(84532), "0.01".parse()?, me)?;
/// let app = Router::new().route("/report", get(|| async { "the report" })).layer(PaidLayer::new(gate, price));
/// # Ok(app) }
/// ```
#[derive(Clone, Debug)]
pub struct PaidLayer {
    gate: Gate,
    pricing: Pricing,
    info: Arc<ResourceInfo>,
    extensions: JsonMap,
    public_url: Option<Url>,
}

impl PaidLayer {
    /// Charges what `pricing` says.
    pub fn new(gate: Gate, pricing: Pricing) -> Self {
        Self { gate, pricing, info: Arc::default(), extensions: JsonMap::new(), public_url: None }
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

    /// The address clients know the server by, when it is not the `Host` they send: behind a proxy.
    pub fn public_url(mut self, url: Url) -> Self {
        self.public_url = Some(url);
        self
    }

    fn resource(&self, parts: &Parts) -> ResourceInfo {
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
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

/// Who paid, and what: in the request's extensions, for handlers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PaymentInfo {
    /// Who pays.
    pub payer: Address,
    /// What is paid.
    pub requirements: PaymentRequirements,
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
        async move { layer.serve(request, inner).await }.boxed()
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
        let extensions = Some(self.extensions.clone()).filter(|extensions| !extensions.is_empty());
        let offers = Offers { resource: self.resource(&parts), accepts, extensions };
        let payment = match self.gate.check(&parts.headers, &offers).await {
            Outcome::Answer(response) => return Ok(*response),
            Outcome::Verified(payment) => *payment,
        };
        parts.extensions.insert(PaymentInfo { payer: payment.payer(), requirements: payment.requirements().clone() });
        let request = Request::from_parts(parts, body);
        match payment.requirements().payment_flow() {
            Some(PaymentFlow::Upfront) => settle_first(payment, request, inner).await,
            _ => {
                let response = inner.call(request).await?;
                Ok(payment.respond(response).await)
            }
        }
    }
}

/// The flow whose answer may stream: the money has moved before the handler runs.
async fn settle_first<S>(payment: VerifiedPayment, request: Request, mut inner: S) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let settled = match payment.settle().await {
        Ok(settled) => settled,
        Err(response) => return Ok(response),
    };
    let mut response = inner.call(request).await?;
    if !matches!(answer::take_charge(&mut response), Ok(None)) {
        tracing::error!("the handler says what its work costs, but the flow upfront has charged before: use the scheme upto");
    }
    settled.mark(&mut response);
    Ok(response)
}
