// Buys every URL with the official fetch wrapper and prints [{status, body, receipt}] as JSON.
// Usage: FLORIN_KEY=0x.. node buy.mjs RPC_URL URL...
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { privateKeyToAccount } from "viem/accounts";

const [rpcUrl, ...urls] = process.argv.slice(2);
const account = privateKeyToAccount(process.env.FLORIN_KEY);
const pay = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [ExactEvmScheme, UptoEvmScheme].map((Scheme) => ({ network: "eip155:*", client: new Scheme(account, { rpcUrl }) })),
});
const bought = [];
for (const url of urls) {
  const response = await pay(url).catch((error) => new Response(String(error), { status: 599 }));
  const receipt = response.headers.get("PAYMENT-RESPONSE");
  bought.push({ status: response.status, body: await response.text(), receipt: receipt && decodePaymentResponseHeader(receipt) });
}
console.log(JSON.stringify(bought));
