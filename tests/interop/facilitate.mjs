// The official facilitator over HTTP: /supported, /verify and /settle for the schemes exact and upto on eip155:84532, carrying permits and
// approvals; prints its URL when ready.
// Ends with its stdin.
// Usage: FLORIN_KEY=0x.. node facilitate.mjs RPC_URL [--nonce-manager]
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import { createWalletClient, defineChain, http, parseTransaction, publicActions, recoverTransactionAddress } from "viem";
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
// How an approval is carried the package leaves to its user: here coin for it first, then one transaction after the other.
const mined = async (hash) => ((await client.waitForTransactionReceipt({ hash })).status === "success" ? hash : undefined);
async function carry(approval) {
  const { gas, maxFeePerGas } = parseTransaction(approval);
  const to = await recoverTransactionAddress({ serializedTransaction: approval });
  await mined(await client.sendTransaction({ to, value: gas * maxFeePerGas }));
  return mined(await client.sendRawTransaction({ serializedTransaction: approval }));
}
async function sendTransactions(transactions) {
  const hashes = [];
  for (const one of transactions) {
    hashes.push(typeof one === "string" ? await carry(one) : await mined(await client.sendTransaction(one)));
  }
  return hashes;
}
const facilitator = new x402Facilitator()
  .registerExtension(createErc20ApprovalGasSponsoringExtension({ ...signer, sendTransactions }))
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
