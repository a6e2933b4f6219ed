// One shop per facilitator with the official Express middleware: /eip3009, /permit2, /approval and /upto, each for at most $0.01, of which
// /upto charges a quarter. Permits come along for /permit2 and /upto, approvals for /approval. Prints the shops' URLs in one line when ready. Ends with its stdin.
// Usage: node sell.mjs PAYEE USDC FACILITATOR_URL...
import express from "express";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { HTTPFacilitatorClient } from "@x402/core/server";

const [payTo, asset, ...facilitators] = process.argv.slice(2);
const network = "eip155:84532";
const price = (more) => ({ amount: "10000", asset, extra: { name: "USDC", version: "2", ...more } });
const accepts = {
  eip3009: { scheme: "exact", price: "$0.01", network, payTo },
  permit2: { scheme: "exact", price: price({ assetTransferMethod: "permit2" }), network, payTo },
  approval: { scheme: "exact", price: price({ assetTransferMethod: "permit2" }), network, payTo },
  upto: { scheme: "upto", price: price(), network, payTo },
};
const extensions = {
  permit2: declareEip2612GasSponsoringExtension(),
  approval: declareErc20ApprovalGasSponsoringExtension(),
  upto: declareEip2612GasSponsoringExtension(),
};

function shop(facilitator) {
  const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }))
    .register(network, new ExactEvmScheme())
    .register(network, new UptoEvmScheme());
  const routes = Object.entries(accepts).map(([name, accepts]) => [
    `GET /${name}`,
    { accepts, description: name, extensions: extensions[name] },
  ]);
  const app = express();
  app.use(paymentMiddleware(Object.fromEntries(routes), server));
  app.get("/:name", ({ params: { name } }, response) => {
    if (name === "upto") setSettlementOverrides(response, { amount: "25%" });
    response.json({ sold: name });
  });
  return new Promise((resolve) => {
    const listener = app.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${listener.address().port}`));
  });
}
console.log((await Promise.all(facilitators.map(shop))).join(" "));
process.stdin.on("end", () => process.exit(0)).resume();
