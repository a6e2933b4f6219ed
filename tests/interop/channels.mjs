// The official packages' side of payment channels (scheme batch-settlement) on eip155:84532. Servers print their URL when ready and end
// with their stdin.
// Usage: FLORIN_KEY=0x.. node channels.mjs buy URL COUNT      buys COUNT times one after the other, then asks for what is left; prints JSON
//        FLORIN_KEY=0x.. node channels.mjs sell FACILITATOR_URL PAYEE      the key signs claims and refunds; POST /claim claims all
//        FLORIN_KEY=0x.. node channels.mjs facilitate RPC_URL
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { toFacilitatorEvmSigner } from "@x402/evm";
import * as buyer from "@x402/evm/batch-settlement/client";
import * as seller from "@x402/evm/batch-settlement/server";
import * as settler from "@x402/evm/batch-settlement/facilitator";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { wrapFetchWithPaymentFromConfig, decodePaymentResponseHeader } from "@x402/fetch";
import { createWalletClient, defineChain, http, publicActions } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";

const NETWORK = "eip155:84532";
const [role, target, third] = process.argv.slice(2);

function serve(app) {
  const listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}`));
  process.stdin.on("end", () => process.exit(0)).resume();
}

async function buy() {
  const scheme = new buyer.BatchSettlementEvmScheme(privateKeyToAccount(process.env.FLORIN_KEY));
  const pay = wrapFetchWithPaymentFromConfig(fetch, { schemes: [{ network: "eip155:*", client: scheme }] });
  const answers = [];
  for (let i = 0; i < Number(third); i += 1) {
    const response = await pay(target);
    const receipt = response.headers.get("PAYMENT-RESPONSE");
    answers.push({ status: response.status, body: await response.text(), receipt: receipt && decodePaymentResponseHeader(receipt) });
  }
  console.log(JSON.stringify({ answers, refund: await scheme.refund(target) }));
}

function sell() {
  const facilitator = new HTTPFacilitatorClient({ url: target });
  const receiverAuthorizerSigner = privateKeyToAccount(process.env.FLORIN_KEY);
  const scheme = new seller.BatchSettlementEvmScheme(third, { receiverAuthorizerSigner });
  const server = new x402ResourceServer(facilitator).register(NETWORK, scheme);
  const accepts = { scheme: "batch-settlement", price: "$0.01", network: NETWORK, payTo: third };
  const app = express();
  app.post("/claim", async (_, response) => {
    const manager = scheme.createChannelManager(facilitator, NETWORK);
    const claims = await manager.claim();
    // What a refund claimed is paid out by nothing else.
    response.json({ claims, settle: await manager.settle() });
  });
  app.use(paymentMiddleware({ "GET /report": { accepts, description: "A report" } }, server));
  app.get("/report", (_, response) => response.json({ report: "the official server sold this" }));
  serve(app);
}

function facilitate() {
  const rpcUrls = { default: { http: [target] } };
  const chain = defineChain({ id: 84532, name: "dev", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls });
  const account = privateKeyToAccount(process.env.FLORIN_KEY, { nonceManager });
  const client = createWalletClient({ account, chain, transport: http(target), pollingInterval: 50 }).extend(publicActions);
  const signer = toFacilitatorEvmSigner({ ...client, address: account.address });
  const facilitator = new x402Facilitator().register(NETWORK, new settler.BatchSettlementEvmScheme(signer));
  const app = express();
  app.use(express.json());
  app.get("/supported", (_, response) => response.json(facilitator.getSupported()));
  for (const step of ["verify", "settle"]) {
    app.post(`/${step}`, async ({ body }, response) => {
      try {
        response.json(await facilitator[step](body.paymentPayload, body.paymentRequirements));
      } catch (error) {
        response.status(500).json({ error: String(error) });
      }
    });
  }
  serve(app);
}

await { buy, sell, facilitate }[role]();
