//! What a person sees who opens a paid address in a browser: what it costs, and a button when there is a wallet.

use axum::response::{Html, IntoResponse, Response};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, USER_AGENT, VARY, X_CONTENT_TYPE_OPTIONS},
};

use super::openapi::price;
use crate::{PaymentRequired, PaymentRequirements};

const SCRIPT: &str = include_str!("paywall.js");
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#111;background:#fff}\
    button{font:inherit;padding:.5em 2em}code{overflow-wrap:anywhere}iframe{width:100%;height:60vh}img{max-width:100%}\
    pre{overflow:auto;padding:1em;background:#f4f4f4}";

/// True for whoever reads pages.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let has = |name, text: &str| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).is_some_and(|value| value.contains(text))
    };
    has(ACCEPT, "text/html") && has(USER_AGENT, "Mozilla")
}

/// The page. It loads nothing from anywhere, runs no script but its own, and is framed by nobody.
pub(super) fn page(required: &PaymentRequired) -> Response {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let mut response = Html(html(required, &nonce)).into_response();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src blob:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).expect("hexadecimal digits and constants"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(VARY, HeaderValue::from_static("accept, user-agent"));
    response
}

fn html(required: &PaymentRequired, nonce: &str) -> String {
    let title = escape(required.resource.description.as_deref().unwrap_or(&required.resource.url));
    let offers: String = required.accepts.iter().map(offer).collect();
    // Inside a script element only `</script` and `<!--` could end the text.
    let json = serde_json::to_string(required).unwrap_or_default().replace('<', "\\u003c");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Payment required</title><style nonce=\"{nonce}\">{STYLE}</style><h1>Payment required</h1><p>{title}</p><ul>{offers}</ul>\
         <button id=\"pay\" hidden>Pay</button><p id=\"status\" role=\"status\"></p><div id=\"result\"></div>\
         <script id=\"required\" type=\"application/json\">{json}</script><script nonce=\"{nonce}\">{SCRIPT}</script></html>"
    )
}

fn offer(offer: &PaymentRequirements) -> String {
    let (asset, network, payee) = (escape(&offer.asset), escape(offer.network.as_str()), escape(&offer.pay_to));
    let at_most = if offer.scheme == "exact" { "" } else { "at most " };
    let cost = match price(offer) {
        Some(price) => format!("{at_most}<strong>${price}</strong> in USDC"),
        None => format!("{at_most}<strong>{}</strong> base units of <code>{asset}</code>", offer.amount),
    };
    format!("<li>{cost} on <code>{network}</code> to <code>{payee}</code></li>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
