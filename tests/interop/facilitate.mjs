// The official facilitator over HTTP: /supported, /verify and /settle for the schemes exact and upto on eip155:84532; prints its URL when ready.
// Ends with its stdin.
// Usage: FLORIN_KEY=0x.. node facilitate.mjs RPC_URL [--nonce-manager]
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createWalletClient, defineChain, http, publicActions } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";

const [rpcUrl, option] = process.argv.slice(2);
const chain = defineChain({
  id: 84532,
  name: "dev",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [rpcUrl] } },
});
const account = privateKeyToAccount(process.env.FLORIN_KEY, option === "--nonce-manager" ? { nonceManager } : {});
const client = createWalletClient({ account, chain, transport: http(rpcUrl), pollingInterval: 50 }).extend(publicActions);
const signer = toFacilitatorEvmSigner({ ...client, address: account.address });
const facilitator = new x402Facilitator()
  .register("eip155:84532", new ExactEvmScheme(signer))
  .register("eip155:84532", new UptoEvmScheme(signer));

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
const listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
