// Sells GET /report for $0.01 with the official Express middleware; prints its URL when ready. Ends with its stdin.
// Usage: node sell.mjs FACILITATOR_URL PAYEE
import express from "express";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { bazaarResourceServerExtension, declareDiscoveryExtension } from "@x402/extensions";
import { HTTPFacilitatorClient } from "@x402/core/server";

const [facilitator, payTo] = process.argv.slice(2);
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator })).register("eip155:84532", new ExactEvmScheme());
server.registerExtension(bazaarResourceServerExtension);
const app = express();
app.use(
  paymentMiddleware(
    {
      "GET /report": {
        accepts: { scheme: "exact", price: "$0.01", network: "eip155:84532", payTo },
        description: "A report",
        extensions: declareDiscoveryExtension({ output: { example: { report: "text" } } }),
      },
    },
    server,
  ),
);
app.get("/report", (_, response) => response.json({ report: "the official server sold this" }));
const listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/report`));
process.stdin.on("end", () => process.exit(0)).resume();
