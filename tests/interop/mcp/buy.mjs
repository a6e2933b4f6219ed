// Calls the tool `weather` for each city with the official MCP client, pays by the official x402 SDK, and prints [{text, failed, receipt}] as
// JSON; there is no published package that joins the two.
// Usage: FLORIN_KEY=0x.. node buy.mjs RPC_URL SERVER_URL CITY...
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { x402Client } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [, url, ...cities] = process.argv.slice(2);
const payer = new x402Client().register("eip155:*", new ExactEvmScheme(privateKeyToAccount(process.env.FLORIN_KEY)));
const client = new Client({ name: "official", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
if (tools.length !== 1 || tools[0].name !== "weather") throw new Error(JSON.stringify(tools));

const bought = [];
for (const city of cities) {
  const call = { name: "weather", arguments: { city } };
  const unpaid = await client.callTool(call);
  if (!unpaid.isError || !unpaid.structuredContent?.accepts) throw new Error(JSON.stringify(unpaid));
  const payment = await payer.createPaymentPayload(unpaid.structuredContent);
  const result = await client.callTool({ ...call, _meta: { "x402/payment": payment } });
  const receipt = result._meta?.["x402/payment-response"];
  bought.push({ text: result.content[0].text, failed: result.isError ?? false, receipt });
}
console.log(JSON.stringify(bought));
process.exit(0);
