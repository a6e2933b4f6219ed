use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use money::Usdc;
use url::Url;
use x402::{
    FacilitatorClient, Network, ResourceInfo, Scheme,
    server::{Gate, PaidLayer, Pricing},
};

use super::service;

/// Headers that belong to one connection and are not passed on (RFC 9110, section 7.6.1), and the payment's own.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    HeaderName::from_static("payment-signature"),
];
const UPSTREAM_TIMEOUT_SECONDS: u64 = 60;

/// Sell any HTTP origin per request: every request costs the price, the origin notices nothing.
///
/// The payment is verified before the request goes to the origin and settled after it answered; when the origin fails (status 400 or
/// above) the buyer is not charged.
///
/// Example: florin paywall --upstream http://127.0.0.1:9000 --price 0.01 --pay-to 0xYOU --facilitator http://127.0.0.1:8401
#[derive(clap::Args, Debug)]
pub(crate) struct Paywall {
    /// Origin to sell, e.g. http://127.0.0.1:9000
    #[arg(long, env = "FLORIN_UPSTREAM", value_name = "URL", value_parser = origin)]
    upstream: Url,

    /// Price of one request in USDC, e.g. 0.01 or $0.01
    #[arg(long, env = "FLORIN_PRICE", value_name = "USDC", value_parser = price)]
    price: Usdc,

    /// Address that is paid
    #[arg(long, env = "FLORIN_PAY_TO", value_name = "ADDRESS")]
    pay_to: Address,

    /// Facilitator that verifies and settles
    #[arg(long, env = "FLORIN_FACILITATOR_URL", value_name = "URL")]
    facilitator: Url,

    /// Where buyers connect; port 0 takes a free one
    #[arg(long, env = "FLORIN_PAYWALL_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8402")]
    listen: SocketAddr,

    /// Chain to be paid on, as CAIP-2 or by name (base, base-sepolia)
    #[arg(long, env = "FLORIN_NETWORK", value_name = "NETWORK", default_value = "base-sepolia")]
    network: String,

    /// Token to be paid in; only `usdc` of the network is known by name
    #[arg(long, env = "FLORIN_ASSET", value_name = "ASSET", default_value = "usdc")]
    asset: String,

    /// What a buyer reads about the resource
    #[arg(long, env = "FLORIN_DESCRIPTION", value_name = "TEXT", default_value = "")]
    description: String,

    /// Largest request or response body passed on, in bytes
    #[arg(long, env = "FLORIN_BODY_BYTES_MAX", value_name = "BYTES", default_value_t = 32 << 20)]
    body_bytes_max: usize,
}

#[derive(Debug, thiserror::Error)]
enum OriginError {
    #[error("{0}")]
    Url(#[from] url::ParseError),
    #[error("an origin is http:// or https://, a host and maybe a port and a path")]
    Scheme,
}

fn origin(text: &str) -> Result<Url, OriginError> {
    let url: Url = text.parse()?;
    if matches!(url.scheme(), "http" | "https") && url.query().is_none() { Ok(url) } else { Err(OriginError::Scheme) }
}

#[derive(Debug, thiserror::Error)]
enum PriceError {
    #[error(transparent)]
    Amount(#[from] money::ParseUsdcError),
    #[error("a price of zero cannot be paid: leave the paywall away instead")]
    Zero,
}

fn price(text: &str) -> Result<Usdc, PriceError> {
    let price = Usdc::parse_price(text)?;
    if price.is_zero() { Err(PriceError::Zero) } else { Ok(price) }
}

struct Origin {
    client: reqwest::Client,
    base: Url,
    body_bytes_max: usize,
}

impl Origin {
    /// Where a request goes. `None` when the path climbs out of the one that is sold, plain or encoded.
    fn url(&self, path: &str, query: Option<&str>) -> Option<Url> {
        let sold = self.base.path().trim_end_matches('/');
        let mut url = self.base.clone();
        url.set_path(&format!("{sold}{path}"));
        url.set_query(query);
        let below = url.path().strip_prefix(sold)?;
        // An origin may decode a slash that this URL keeps encoded.
        let decoded = below.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace("%2e", ".");
        (below.starts_with('/') && !decoded.split('/').any(|segment| segment == "..")).then_some(url)
    }
}

/// Passes a paid request to the origin and its whole answer back. The answer is read to its end before it is sold.
async fn forward(State(origin): State<Arc<Origin>>, request: Request) -> Response {
    match pass_on(&origin, request).await {
        Ok(response) => response,
        Err((status, text)) => (status, format!("{text}\n")).into_response(),
    }
}

async fn pass_on(origin: &Origin, request: Request) -> Result<Response, (StatusCode, String)> {
    let (parts, body) = request.into_parts();
    let url = origin.url(parts.uri.path(), parts.uri.query());
    let url =
        url.ok_or_else(|| (StatusCode::BAD_REQUEST, "this path leaves what is sold here; you were not charged".to_owned()))?;
    let body = to_bytes(body, origin.body_bytes_max)
        .await
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, format!("the request's body is over {} bytes", origin.body_bytes_max)))?;
    let unreachable = |error: reqwest::Error| {
        tracing::warn!(%error, "origin");
        (StatusCode::BAD_GATEWAY, "the origin behind this paywall does not answer; you were not charged".to_owned())
    };
    let sent = origin.client.request(parts.method, url).headers(passed_on(&parts.headers)).body(body).send();
    let answer = sent.await.map_err(unreachable)?;
    let (status, headers) = (answer.status(), passed_on(answer.headers()));
    let bytes = to_bytes(Body::new(reqwest::Body::from(answer)), origin.body_bytes_max).await.map_err(|_| {
        (
            StatusCode::BAD_GATEWAY,
            format!("the origin's answer broke off or is over {} bytes; you were not charged", origin.body_bytes_max),
        )
    })?;
    Ok((status, headers, bytes).into_response())
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let kept = headers.iter().filter(|(name, _)| !NOT_FORWARDED.contains(name) && !named.iter().any(|n| n == name.as_str()));
    kept.filter(|(name, _)| *name != header::CONTENT_LENGTH).map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Paywall {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let network = network(&self.network)?;
        if !self.asset.eq_ignore_ascii_case("usdc") {
            bail!("unknown asset {:?}: buyers pay in `usdc`", self.asset);
        }
        let pricing = Pricing::usdc(&network, self.price, self.pay_to)?;
        let facilitator = FacilitatorClient::new(self.facilitator.clone())?;
        check_support(&facilitator, &network, &self.facilitator).await?;
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(Duration::from_secs(UPSTREAM_TIMEOUT_SECONDS)).build().context("cannot set up TLS")?;
        let origin = Arc::new(Origin { client, base: self.upstream.clone(), body_bytes_max: self.body_bytes_max });
        let description = Some(self.description.clone()).filter(|text| !text.is_empty());
        let info = ResourceInfo { description, ..ResourceInfo::default() };
        let layer = PaidLayer::new(Gate::new(facilitator), pricing).describe(info);
        let app = Router::new().fallback(forward).with_state(origin).layer(layer);
        let listener = service::listen("paywall", self.listen).await?;
        let stop = service::until_signal();
        axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A network by its CAIP-2 name, or by the name version 1 of the protocol had for it.
fn network(name: &str) -> Result<Network> {
    if let Some(network) = Network::from_v1_name(name) {
        return Ok(network);
    }
    name.parse().with_context(|| format!("unknown network {name:?}: name one like eip155:8453 or base"))
}

/// A paywall whose facilitator cannot settle its price would turn every buyer away.
async fn check_support(facilitator: &FacilitatorClient, network: &Network, url: &Url) -> Result<()> {
    let supported = facilitator.supported().await.with_context(|| format!("the facilitator {url} does not answer"))?;
    let exact = Scheme::Exact.as_str();
    let known =
        supported.kinds.iter().any(|kind| kind.x402_version == 2 && kind.scheme == exact && kind.network == network.to_string());
    if !known {
        let offered: Vec<String> = supported.kinds.iter().map(|kind| format!("{} on {}", kind.scheme, kind.network)).collect();
        bail!("the facilitator {url} does not settle {exact} on {network}; it does {}", offered.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_reaches_what_is_beside_the_one_that_is_sold() {
        let origin = Origin { client: reqwest::Client::new(), base: "http://o/sold/".parse().unwrap(), body_bytes_max: 1 };
        for path in ["/../admin", "/%2e%2e/admin", "/a/../../admin", "/../sold2", "/..%2fadmin", "/a/%2e%2E%5cadmin", "/.."] {
            assert_eq!(origin.url(path, None), None, "{path}");
        }
        for (path, to) in [("/", "/sold/"), ("/a/../b", "/sold/b"), ("/a..b", "/sold/a..b"), ("/x%2fy", "/sold/x%2fy")] {
            assert_eq!(origin.url(path, None).expect(path).path(), to);
        }
    }
}
