// Buys URLs one after the other with the official client of the scheme auth-capture, and prints a list of {status, body, receipt} as JSON.
// Usage: FLORIN_KEY=0x.. node escrow.mjs URL..
import { AuthCaptureEvmScheme } from "@x402/evm/auth-capture/client";
import { wrapFetchWithPaymentFromConfig, decodePaymentResponseHeader } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const client = new AuthCaptureEvmScheme(privateKeyToAccount(process.env.FLORIN_KEY));
const pay = wrapFetchWithPaymentFromConfig(fetch, { schemes: [{ network: "eip155:*", client }] });
const answers = [];
for (const url of process.argv.slice(2)) {
  const response = await pay(url);
  const receipt = response.headers.get("PAYMENT-RESPONSE");
  answers.push({ status: response.status, body: await response.text(), receipt: receipt && decodePaymentResponseHeader(receipt) });
}
console.log(JSON.stringify(answers));
