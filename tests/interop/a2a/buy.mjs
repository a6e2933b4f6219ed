// Sends each text to an agent with the official A2A SDK, pays by the official x402 SDK, and prints [{state, text, status, receipt}] as JSON.
// Usage: FLORIN_KEY=0x.. node buy.mjs AGENT_URL TEXT...
import { SendMessageRequest, Task } from "@a2a-js/sdk";
import { ClientFactory } from "@a2a-js/sdk/client";
import { x402Client } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [url, ...texts] = process.argv.slice(2);
const payer = new x402Client().register("eip155:*", new ExactEvmScheme(privateKeyToAccount(process.env.FLORIN_KEY)));
const agent = await new ClientFactory().createFromUrl(url);
const serviceParameters = { "A2A-Extensions": "https://github.com/google-a2a/a2a-x402/v0.1" };

async function send(text, more) {
  const message = { messageId: crypto.randomUUID(), role: "ROLE_USER", parts: [{ text }], ...more };
  const task = Task.toJSON(await agent.sendMessage(SendMessageRequest.fromJSON({ message }), { serviceParameters }));
  return [task, task.status.message.metadata];
}

const bought = [];
for (const text of texts) {
  const [{ id: taskId, contextId, status }, { "x402.payment.required": required }] = await send(text);
  if (status.state !== "TASK_STATE_INPUT_REQUIRED") throw new Error(status.state);
  const payment = await payer.createPaymentPayload(required);
  const metadata = { "x402.payment.status": "payment-submitted", "x402.payment.payload": payment };
  const [task, paid] = await send(text, { taskId, contextId, metadata });
  const { "x402.payment.status": told, "x402.payment.receipts": receipts } = paid;
  bought.push({ state: task.status.state, text: task.artifacts?.[0]?.parts[0].text, status: told, receipt: receipts?.[0] });
}
console.log(JSON.stringify(bought));
