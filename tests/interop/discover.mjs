// Asks a facilitator's catalogue with the official client and prints {listed, found, missed} as JSON.
// Usage: node discover.mjs FACILITATOR_URL PAYEE WORDS
import { HTTPFacilitatorClient } from "@x402/core/server";
import { withBazaar } from "@x402/extensions";

const [url, payTo, query] = process.argv.slice(2);
const { bazaar } = withBazaar(new HTTPFacilitatorClient({ url })).extensions;
console.log(
  JSON.stringify({
    listed: await bazaar.listResources({ type: "http", payTo, scheme: "exact", network: "eip155:84532", extensions: "bazaar", limit: 5 }),
    found: await bazaar.search({ query, limit: 5 }),
    missed: await bazaar.search({ query: "submarines", limit: 5 }),
  }),
);
