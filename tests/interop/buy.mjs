// Buys one URL with the official client and prints {status, body, receipt} as JSON.
// Usage: FLORIN_KEY=0x.. node buy.mjs URL
import { wrapFetchWithPaymentFromConfig, decodePaymentResponseHeader } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [url] = process.argv.slice(2);
const account = privateKeyToAccount(process.env.FLORIN_KEY);
const pay = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:*", client: new ExactEvmScheme(account) }],
});
const response = await pay(url);
const receipt = response.headers.get("PAYMENT-RESPONSE");
console.log(
  JSON.stringify({
    status: response.status,
    body: await response.text(),
    receipt: receipt && decodePaymentResponseHeader(receipt),
  }),
);
