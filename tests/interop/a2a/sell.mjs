// An agent with the official A2A SDK that sells drawings by the official x402 SDK; there is no published package that joins the two.
// Prints its URL when ready. Ends with its stdin.
// Usage: node sell.mjs PAYEE FACILITATOR_URL
import express from "express";
import { Task } from "@a2a-js/sdk";
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from "@a2a-js/sdk/server";
import { agentCardHandler, jsonRpcHandler, UserBuilder } from "@a2a-js/sdk/server/express";
import { HTTPFacilitatorClient, x402ResourceServer } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";

const [payTo, facilitator] = process.argv.slice(2);
const network = "eip155:84532";
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator })).register(network, new ExactEvmScheme());
await server.initialize();
const accepts = await server.buildPaymentRequirements({ scheme: "exact", price: "$0.01", network, payTo });

async function answer({ metadata }) {
  const payment = metadata?.["x402.payment.payload"];
  if (!payment) {
    const required = await server.createPaymentRequiredResponse(accepts, { url: "a2a://official/draw" });
    return ["INPUT_REQUIRED", { "x402.payment.status": "payment-required", "x402.payment.required": required }];
  }
  const requirements = server.findMatchingRequirements(accepts, payment);
  const failed = (reason) => ["FAILED", { "x402.payment.status": "payment-failed", "x402.payment.error": reason }];
  const verdict = requirements && (await server.verifyPayment(payment, requirements));
  if (!verdict?.isValid) return failed(verdict?.invalidReason ?? "no such offer");
  const receipt = await server.settlePayment(payment, requirements);
  if (!receipt.success) return failed(receipt.errorReason);
  return ["COMPLETED", { "x402.payment.status": "payment-completed", "x402.payment.receipts": [receipt] }];
}

const executor = {
  async execute({ taskId: id, contextId, userMessage, task }, bus) {
    const [state, metadata] = await answer(userMessage);
    const message = { messageId: crypto.randomUUID(), taskId: id, contextId, role: "ROLE_AGENT", parts: [], metadata };
    const artifacts = state === "COMPLETED" ? [{ artifactId: "1", parts: [{ text: "a drawing" }] }] : [];
    const history = task?.history ?? [];
    const answered = { id, contextId, status: { state: `TASK_STATE_${state}`, message }, artifacts };
    bus.publish(AgentEvent.task({ ...Task.fromJSON(answered), history }));
    bus.finished();
  },
  async cancelTask() {},
};

const app = express();
const listener = app.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${listener.address().port}`;
  const card = {
    name: "official",
    description: "draws",
    version: "1",
    supportedInterfaces: [{ url: `${url}/`, protocolBinding: "JSONRPC", protocolVersion: "1.0" }],
    capabilities: { extensions: [{ uri: "https://github.com/google-a2a/a2a-x402/v0.1", required: true }] },
    defaultInputModes: ["text/plain"],
    defaultOutputModes: ["text/plain"],
    skills: [],
  };
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), executor);
  app.use("/.well-known/agent-card.json", agentCardHandler({ agentCardProvider: requestHandler }));
  app.use(jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  console.log(`${url}/`);
});
process.stdin.on("end", () => process.exit(0)).resume();
