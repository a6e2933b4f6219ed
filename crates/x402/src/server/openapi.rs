use money::Usdc;
use serde_json::{Map, Value, json};

use crate::PaymentRequirements;

/// Writes into an OpenAPI operation what it costs, as agents' directories read it: `x-payment-info` with the price in dollars, where every
/// offer is in USDC, and a response 402. Leaves what else is there as it is.
///
/// ```
/// use x402::{Network, PaymentRequirements, Token, server::annotate};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let price: money::Usdc = "0.05".parse()?;
/// let offer = PaymentRequirements::exact(&Token::usdc(&Network::evm(84532))?, price, Default::default(), 60);
/// let mut operation = serde_json::json!({ "summary": "A report", "responses": { "200": {} } });
/// annotate(&mut operation, &[offer]);
/// assert_eq!(operation["x-payment-info"]["price"]["amount"], "0.05");
/// # Ok(()) }
/// ```
pub fn annotate(operation: &mut Value, offers: &[PaymentRequirements]) {
    if !operation.is_object() {
        *operation = json!({});
    }
    let prices: Option<Vec<Usdc>> = offers.iter().map(price).collect();
    let mut info = json!({ "protocols": [{ "x402": {} }] });
    if let Some((min, max)) = prices.as_ref().and_then(|prices| Some((prices.iter().min()?, prices.iter().max()?))) {
        let most = offers.iter().any(|offer| offer.scheme != "exact");
        info["price"] = if min == max && !most {
            json!({ "mode": "fixed", "currency": "USD", "amount": max.to_string() })
        } else {
            let min = if most { Usdc::ZERO } else { *min };
            json!({ "mode": "dynamic", "currency": "USD", "min": min.to_string(), "max": max.to_string() })
        };
    }
    operation["x-payment-info"] = info;
    if !operation["responses"].is_object() {
        operation["responses"] = Value::Object(Map::new());
    }
    operation["responses"]["402"] = json!({
        "description": "Payment required: the offers are in the header, base64 of JSON.",
        "headers": { "PAYMENT-REQUIRED": { "required": true, "schema": { "type": "string", "contentEncoding": "base64" } } },
    });
}

/// In dollars; `None` when it is in something else.
pub(super) fn price(offer: &PaymentRequirements) -> Option<Usdc> {
    let usdc = crate::Token::usdc(&offer.network).ok()?;
    if offer.asset_address() == Some(usdc.address) { offer.amount.0.try_into().ok() } else { None }
}
