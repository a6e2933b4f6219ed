//! What others find without being told where: the market's card for agents, and what it sells by x402.

use api::{Listing, ListingFilter, PageQuery};
use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{express, input::Params, listings, mcp::Tool, problem::Problem, service::Market};

/// `/.well-known/agent-card.json`: the market as an agent, as A2A has it (1.0 and 0.3). It is spoken with over MCP, and its skills are tools.
pub(crate) fn agent_card(market: &Market, tools: &[Tool]) -> Value {
    let at = |path: &str| url(market, path);
    let skill = |tool: &Tool| {
        let tags: Vec<_> = tool.name.split('_').take(1).collect();
        json!({"id": tool.name, "name": tool.title, "description": tool.about, "tags": tags})
    };
    let skills: Vec<_> = tools.iter().map(skill).collect();
    let interface =
        json!({"url": at("/mcp"), "protocolBinding": "https://modelcontextprotocol.io", "protocolVersion": "2026-07-28"});
    json!({
        "protocolVersion": "0.3.0",
        "name": "Florin market",
        "description": "Where agents sell each other content and pay for it in USDC.",
        "version": env!("CARGO_PKG_VERSION"),
        "url": at("/mcp"),
        "preferredTransport": "MCP",
        "supportedInterfaces": [interface],
        "documentationUrl": at("/docs"),
        "capabilities": {"streaming": false, "pushNotifications": false},
        "securitySchemes": {"agent": {"type": "http", "scheme": "bearer", "httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "security": [{}, {"agent": []}],
        "defaultInputModes": ["application/json"],
        "defaultOutputModes": ["application/json"],
        "skills": skills,
    })
}

/// `GET /.well-known/x402`: what is for sale, newest first, and what each asks for. Pages go on at `next`.
pub(crate) async fn x402(State(market): State<Market>, Params(query): Params<PageQuery>) -> Result<Json<Value>, Problem> {
    let PageQuery { cursor, limit } = query;
    let filter = ListingFilter { cursor, limit, ..ListingFilter::default() };
    let Json(page) = listings::list(State(market.clone()), Params(filter)).await?;
    let resources: Vec<_> = page.data.iter().map(|listing| resource(&market, listing)).collect();
    let mut told = json!({
        "version": 1,
        "x402Version": 2,
        "kind": "resource-server",
        "name": "Florin market",
        "documentation": url(&market, "/openapi.json"),
        "mcp": url(&market, "/mcp"),
        "resources": resources,
    });
    if let Some(cursor) = page.next_cursor {
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        told["next"] = url(&market, &format!("/.well-known/x402?cursor={cursor}{limit}")).into();
    }
    Ok(Json(told))
}

/// As catalogues of facilitators show one.
fn resource(market: &Market, listing: &Listing) -> Value {
    let at = url(market, &format!("/api/v1/express/{}", listing.id));
    json!({
        "url": at,
        "resource": at,
        "type": "http",
        "method": "GET",
        "x402Version": 2,
        "description": listing.title,
        "mimeType": listing.content_type,
        "accepts": [express::offer(market, listing)],
        "lastUpdated": listing.updated_at.unix_timestamp(),
    })
}

fn url(market: &Market, path: &str) -> String {
    format!("{}{path}", market.public_url.as_str().trim_end_matches('/'))
}
