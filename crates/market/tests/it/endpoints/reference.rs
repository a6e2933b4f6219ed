//! What the reference has, a cached-computation marketplace of the field, and where that is here. Paths are below `/api/v1` on both sides.

/// An endpoint of the reference.
pub(super) struct Row {
    pub(super) there: &'static str,
    /// Where it is here; nowhere when this is empty.
    pub(super) here: &'static [&'static str],
    /// What is different, and why.
    pub(super) differs: &'static str,
}

const fn row(there: &'static str, here: &'static [&'static str], differs: &'static str) -> Row {
    Row { there, here, differs }
}

/// A part of its API.
pub(super) type Group = (&'static str, &'static [Row]);

/// What its first complete version serves.
#[rustfmt::skip] // One line each: it is read as a table.
pub(super) const FIRST: &[Group] = &[
    ("health", &[
        row("GET /health", &["GET /health"], ""),
        row("GET /health/cdn", &["GET /health/cdn"], ""),
    ]),
    ("agents", &[
        row("POST /agents/register", &["POST /agents/register"], "A signature proves the wallet (`POST /agents/challenge`), and the answer has an API key besides the token: tokens end after minutes."),
        row("GET /agents", &["GET /agents"], ""),
        row("GET /agents/{id}", &["GET /agents/{id}"], ""),
        row("PUT /agents/{id}", &["PUT /agents/{id}"], ""),
        row("POST /agents/{id}/heartbeat", &["POST /agents/{id}/heartbeat"], ""),
        row("DELETE /agents/{id}", &["DELETE /agents/{id}"], "Its keys end with it."),
    ]),
    ("listings", &[
        row("POST /listings", &["POST /listings"], "Quality is not the seller's to declare: a moderator judges it."),
        row("GET /listings", &["GET /listings"], ""),
        row("GET /listings/{id}", &["GET /listings/{id}"], ""),
        row("PUT /listings/{id}", &["PUT /listings/{id}"], ""),
        row("DELETE /listings/{id}", &["DELETE /listings/{id}"], ""),
    ]),
    ("discovery", &[
        row("GET /discover", &["GET /discover"], ""),
    ]),
    ("transactions", &[
        row("POST /transactions/initiate", &["POST /transactions/initiate"], ""),
        row("POST /transactions/{id}/confirm-payment", &["POST /transactions/{id}/confirm-payment"], "No transaction hash of the caller counts: the ledger holds the price, or the chain has it. There are no simulated payments."),
        row("POST /transactions/{id}/deliver", &["POST /transactions/{id}/deliver"], ""),
        row("POST /transactions/{id}/verify", &["POST /transactions/{id}/verify"], "What is wrong with a delivery is a dispute with an outcome (`POST /transactions/{id}/dispute`)."),
        row("GET /transactions/{id}", &["GET /transactions/{id}"], ""),
        row("GET /transactions", &["GET /transactions"], ""),
    ]),
    ("verification", &[
        row("POST /verify", &["POST /verify"], "For buyer and seller of a purchase, not for anybody."),
    ]),
    ("express", &[
        row("GET /express/{listing_id}", &["GET /express/{id}", "POST /express/{id}"], "`payment_method` is `balance`, `token` or `x402`. Without `Idempotency-Key` no money of the ledger moves, so no cache, prefetcher or retry spends. `fiat` and `simulated` do not exist: nothing is sold for money that is not there."),
    ]),
    ("auto-match", &[
        row("POST /agents/auto-match", &["POST /agents/auto-match"], ""),
    ]),
    ("routing", &[
        row("POST /route/select", &["POST /route/select"], ""),
        row("GET /route/strategies", &["GET /route/strategies"], ""),
    ]),
    ("reputation", &[
        row("GET /reputation/leaderboard", &["GET /reputation/leaderboard"], ""),
        row("GET /reputation/{agent_id}", &["GET /reputation/{id}"], "From money that buyers brought, and nothing that is assumed."),
    ]),
    ("analytics", &[
        row("GET /trending", &["GET /trending"], ""),
        row("GET /demand-gaps", &["GET /demand-gaps"], "Others see a search once three persons had it."),
        row("GET /opportunities", &["GET /opportunities"], "They end: after a day, or when somebody sells it."),
        row("GET /my-earnings", &["GET /my-earnings"], ""),
        row("GET /my-stats", &["GET /my-stats"], ""),
        row("GET /agent/{id}/profile", &["GET /agent/{id}/profile"], ""),
        row("GET /leaderboard/{helpfulness|earnings|contributors|category:NAME}", &["GET /leaderboard/{board}"], ""),
    ]),
    ("zkp", &[
        row("GET /zkp/{listing}/proofs", &["GET /zkp/{id}/proofs"], "A commitment that follows from the content, instead of four digests that prove nothing by themselves."),
        row("POST /zkp/{listing}/verify", &["POST /zkp/{id}/verify"], "Proofs come back, which the buyer verifies, instead of a word that it is so. For who is somebody: making them takes time."),
        row("GET /zkp/{listing}/bloom-check", &["GET /zkp/{id}/bloom-check"], "Exact and with its proof; a filter of 256 bytes is full after a page of text."),
    ]),
    ("catalog", &[
        row("POST /catalog", &["POST /catalog"], ""),
        row("GET /catalog/search", &["GET /catalog/search"], ""),
        row("GET /catalog/agent/{id}", &["GET /catalog/agent/{id}"], ""),
        row("GET /catalog/{entry}", &["GET /catalog/{id}"], ""),
        row("PATCH /catalog/{entry}", &["PATCH /catalog/{id}"], ""),
        row("DELETE /catalog/{entry}", &["DELETE /catalog/{id}"], ""),
        row("POST /catalog/subscribe", &["POST /catalog/subscribe"], ""),
        row("DELETE /catalog/subscribe/{id}", &["DELETE /catalog/subscribe/{id}"], ""),
        row("POST /catalog/auto-populate", &["POST /catalog/auto-populate"], ""),
    ]),
    ("seller", &[
        row("POST /seller/bulk-list", &["POST /seller/bulk-list"], ""),
        row("GET /seller/demand-for-me", &["GET /seller/demand-for-me"], ""),
        row("POST /seller/price-suggest", &["POST /seller/price-suggest"], ""),
        row("POST /seller/webhook", &["POST /seller/webhook"], "It is delivered to, signed as Standard Webhooks have it."),
        row("GET /seller/webhooks", &["GET /seller/webhooks"], ""),
    ]),
    ("wallet", &[
        row("GET /wallet/balance", &["GET /wallet/balance"], ""),
        row("GET /wallet/history", &["GET /wallet/history"], ""),
        row("POST /wallet/deposit", &["POST /wallet/deposit", "POST /wallet/deposits"], "It announces USDC that will come; nothing is credited for saying so."),
        row("POST /wallet/deposit/{id}/confirm", &["POST /wallet/deposit/{id}/confirm", "GET /wallet/deposits/{id}"], "It only looks: a deposit is confirmed by the chain, or by a payment that was settled (`POST /wallet/deposits/x402`), never by who made it."),
        row("GET /wallet/supply", &["GET /wallet/supply"], ""),
        row("POST /wallet/transfer", &["POST /wallet/transfer"], "Needs `Idempotency-Key`."),
        row("GET /wallet/tiers", &["GET /wallet/tiers"], "The discounts are given, too."),
        row("GET /wallet/currencies", &["GET /wallet/currencies"], ""),
        row("GET /wallet/ledger/verify", &["GET /wallet/ledger/verify"], "Any range of sealed batches, and against the chain."),
    ]),
    ("creators", &[
        row("POST /creators/register", &["POST /creators/register"], ""),
        row("POST /creators/login", &["POST /creators/login"], ""),
        row("GET /creators/me", &["GET /creators/me"], ""),
        row("PUT /creators/me", &["PUT /creators/me"], ""),
        row("GET /creators/me/agents", &["GET /creators/me/agents"], ""),
        row("POST /creators/me/agents/{id}/claim", &["POST /creators/me/agents/{id}/claim"], "By a signature of the agent's wallet, since the creator gets what the agent earns from then on."),
        row("GET /creators/me/dashboard", &["GET /creators/me/dashboard"], ""),
        row("GET /creators/me/wallet", &["GET /creators/me/wallet"], ""),
    ]),
    ("redemptions", &[
        row("POST /redemptions", &["POST /redemptions"], "For agents, too. Needs `Idempotency-Key`."),
        row("GET /redemptions", &["GET /redemptions"], ""),
        row("GET /redemptions/methods", &["GET /redemptions/methods"], ""),
        row("GET /redemptions/{id}", &["GET /redemptions/{id}"], ""),
        row("POST /redemptions/{id}/cancel", &["POST /redemptions/{id}/cancel"], ""),
        row("POST /redemptions/admin/{id}/approve", &["POST /redemptions/admin/{id}/approve", "POST /redemptions/admin/{id}/complete"], "For the role `finance`, and never of one's own; that it was handed over is said apart."),
        row("POST /redemptions/admin/{id}/reject", &["POST /redemptions/admin/{id}/reject"], "The same."),
    ]),
    ("audit", &[
        row("GET /audit/events", &["GET /audit/events"], "For the role `support`."),
        row("GET /audit/events/verify", &["GET /audit/events/verify"], "For the role `support`."),
    ]),
    ("openclaw", &[
        row("POST /integrations/openclaw/register-webhook", &["POST /integrations/openclaw/register-webhook"], ""),
        row("GET /integrations/openclaw/webhooks", &["GET /integrations/openclaw/webhooks"], ""),
        row("DELETE /integrations/openclaw/webhooks/{id}", &["DELETE /integrations/openclaw/webhooks/{id}"], ""),
        row("POST /integrations/openclaw/webhooks/{id}/test", &["POST /integrations/openclaw/webhooks/{id}/test"], ""),
        row("GET /integrations/openclaw/status", &["GET /integrations/openclaw/status"], ""),
    ]),
    ("outside of /api/v1", &[
        row("POST /mcp/message", &["POST /mcp/message", "POST /mcp"], "JSON-RPC, described by `tools/list`: every tool is an operation of this API."),
        row("POST /mcp/sse", &["POST /mcp/sse", "GET /mcp/sse"], "The stream of revision 2024-11-05 is opened by GET; later ones need none."),
        row("GET /mcp/health", &["GET /mcp/health"], ""),
        row("GET /ws/feed", &["GET /ws/feed", "GET /feed", "POST /feed/ticket"], "In the address stands a ticket that is good once, not a token; also as server-sent events, which with the tickets are below `/api/v1`. Everybody sees what concerns them, not everything."),
        row("GET / (its pages)", &["GET /docs"], "A page with every operation. There is no website: who uses this is programs, and people have `florin`."),
    ]),
];

/// What later versions add about keys, sessions, roles, compliance and figures.
#[rustfmt::skip]
pub(super) const LATER: &[Group] = &[
    ("API keys", &[
        row("make a key", &["POST /api-keys"], ""),
        row("list keys", &["GET /api-keys"], ""),
        row("revoke a key", &["DELETE /api-keys/{id}"], ""),
    ]),
    ("sessions", &[
        row("refresh", &["POST /creators/refresh", "POST /agents/token"], ""),
        row("revoke", &["POST /creators/revoke", "DELETE /creators/sessions/{id}"], ""),
        row("revoke all", &["POST /creators/revoke-all"], ""),
        row("change the password", &["POST /creators/change-password"], ""),
        row("events of sign-ins", &["GET /creators/sessions", "GET /audit/events"], ""),
    ]),
    ("roles and administration", &[
        row("roles and permissions", &["PUT /admin/creators/{id}/role", "GET /admin/decisions"], "Roles are user, support, moderator, arbiter, finance and admin; what each may stands at every operation."),
        row("approve or reject payouts", &["GET /redemptions/admin", "GET /admin/withdrawals", "POST /admin/withdrawals/{id}/approve", "POST /admin/withdrawals/{id}/reject"], ""),
        row("dashboard of the administrator", &["GET /admin/dashboard", "GET /metrics", "GET /admin/fraud/findings", "GET /admin/transactions"], "Figures over time are metrics, outside of `/api/v1`; what waits for a decision is lists."),
    ]),
    ("compliance", &[
        row("export", &["GET /creators/me/export", "GET /agents/{id}/export"], ""),
        row("deletion", &["DELETE /creators/me"], "With the password, at once; refused while money is here or something under way."),
        row("consent", &["GET /creators/me/consents", "POST /creators/me/consents", "POST /creators/me/consents/{id}/withdraw"], ""),
    ]),
    ("dashboards and search", &[
        row("dashboard of an agent", &["GET /my-stats", "GET /my-earnings"], ""),
        row("dashboard of a creator", &["GET /creators/me/dashboard"], ""),
        row("open figures of the market", &["GET /market/days"], ""),
        row("search of listings, agents and suggestions", &["GET /discover", "GET /agents", "GET /catalog/search", "GET /discover/suggestions"], ""),
        row("orders", &["GET /purchases", "GET /transactions"], ""),
    ]),
];
