// A paid tool with the official MCP SDK that charges by the official x402 SDK; there is no published package that joins the two. Prints the
// server's URL when ready. Ends with its stdin.
// Usage: node sell.mjs PAYEE FACILITATOR_URL
import express from "express";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { HTTPFacilitatorClient, x402ResourceServer } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";

const [payTo, facilitator] = process.argv.slice(2);
const network = "eip155:84532";
const resources = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator })).register(network, new ExactEvmScheme());
await resources.initialize();
const accepts = await resources.buildPaymentRequirements({ scheme: "exact", price: "$0.01", network, payTo });

const told = (text, more) => ({ content: [{ type: "text", text }], ...more });

async function unpaid(error) {
  const required = await resources.createPaymentRequiredResponse(accepts, { url: "mcp://tool/weather" }, error);
  return told(JSON.stringify(required), { isError: true, structuredContent: required });
}

async function weather({ arguments: { city }, _meta }) {
  const payment = _meta?.["x402/payment"];
  if (!payment) return unpaid("a payment is required");
  const requirements = resources.findMatchingRequirements(accepts, payment);
  const verdict = requirements && (await resources.verifyPayment(payment, requirements));
  if (!verdict?.isValid) return unpaid(verdict?.invalidReason ?? "no such offer");
  if (city === "nowhere") return told("no such city", { isError: true });
  const receipt = await resources.settlePayment(payment, requirements);
  if (!receipt.success) return unpaid(receipt.errorReason);
  return told(`sunny in ${city}`, { _meta: { "x402/payment-response": receipt } });
}

// Without sessions: a server for each request, as the SDK wants it.
async function answer(request, response) {
  const server = new Server({ name: "official", version: "1" }, { capabilities: { tools: {} } });
  const tools = [{ name: "weather", inputSchema: { type: "object" } }];
  server.setRequestHandler(ListToolsRequestSchema, async () => ({ tools }));
  server.setRequestHandler(CallToolRequestSchema, async ({ params }) => weather(params));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
}

const app = express().use(express.json()).post("/mcp", answer);
const listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/mcp`));
process.stdin.on("end", () => process.exit(0)).resume();
