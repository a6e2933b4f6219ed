// Lists what a market has for models with the official MCP client, reads every resource, calls the tools of FLORIN_PLAN (a JSON array of calls,
// in which "$3.id" stands for what the fourth call told) as the agent of FLORIN_API_KEY, lists tools and calls one over the transport of revision
// 2024-11-05, sends money for which its user is asked over either transport, then, as nobody, buys a listing by the official x402 SDK. Prints
// {tools, templates, read, called, streamed, asked, bought} as JSON.
// Usage: FLORIN_KEY=0x.. FLORIN_API_KEY=.. FLORIN_PLAN=.. node market.mjs RPC_URL MARKET_URL LISTING AGENT
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { x402Client } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [, url, listing, agent] = process.argv.slice(2);

async function connect(headers) {
  const client = new Client({ name: "official", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
}

const headers = { authorization: `Bearer ${process.env.FLORIN_API_KEY}` };
const known = await connect(headers);
const tools = (await known.listTools()).tools.map(({ name }) => name);
const { resources } = await known.listResources();
const templates = (await known.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate);
const read = [];
for (const uri of [...resources.map(({ uri }) => uri), templates[0].replace("{id}", agent)]) {
  read.push((await known.readResource({ uri })).contents[0].text);
}

const called = [];
const told = (_, call, field) => called[call].structuredContent[field];
for (const { name, arguments: given } of JSON.parse(process.env.FLORIN_PLAN)) {
  const args = JSON.parse(JSON.stringify(given).replace(/\$(\d+)\.(\w+)/g, told));
  called.push(await known.callTool({ name, arguments: args }));
}

const transports = {
  http: () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }),
  sse: () => new SSEClientTransport(new URL(`${url}/sse`), { requestInit: { headers } }),
};
const listening = new Client({ name: "official", version: "1" });
await listening.connect(transports.sse());
const streamed = {
  tools: (await listening.listTools()).tools.length,
  called: await listening.callTool({ name: "wallet_balance", arguments: {} }),
};
await listening.close();

async function ask(transport) {
  const client = new Client({ name: "official", version: "1" }, { capabilities: { elicitation: {} } });
  const questions = [];
  client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
    questions.push(params.message);
    return { action: "accept", content: { approve: true } };
  });
  await client.connect(transport);
  const wanted = { to_agent_id: agent, asset: "ARD", amount: "100" };
  const quote = await client.callTool({ name: "wallet_quote_transfer", arguments: wanted });
  const { quote_id } = quote.structuredContent;
  const sent = await client.callTool({ name: "wallet_transfer", arguments: { quote_id } });
  await client.close();
  return { questions, failed: sent.isError };
}

const asked = { http: await ask(transports.http()), sse: await ask(transports.sse()) };

const payer = new x402Client().register("eip155:*", new ExactEvmScheme(privateKeyToAccount(process.env.FLORIN_KEY)));
const nobody = await connect({});
const call = { name: "marketplace_express_buy", arguments: { listing_id: listing } };
const unpaid = await nobody.callTool(call);
if (!unpaid.isError || !unpaid.structuredContent?.accepts) throw new Error(JSON.stringify(unpaid));
const payment = await payer.createPaymentPayload(unpaid.structuredContent);
const paid = await nobody.callTool({ ...call, _meta: { "x402/payment": payment } });
const bought = { text: paid.content[0].text, receipt: paid._meta?.["x402/payment-response"] };
console.log(JSON.stringify({ tools, templates, read, called, streamed, asked, bought }));
process.exit(0);
