// The official SDK's side of the golden tests: one JSON request on stdin, one JSON answer on stdout.
const http = require("@x402/core/http");
const schemas = require("@x402/core/schemas");
const { ExactEvmScheme } = require("@x402/evm/exact/client");
const { privateKeyToAccount } = require("viem/accounts");
const { verifyTypedData } = require("viem");

const types = {
  TransferWithAuthorization: [
    { name: "from", type: "address" }, { name: "to", type: "address" }, { name: "value", type: "uint256" },
    { name: "validAfter", type: "uint256" }, { name: "validBefore", type: "uint256" }, { name: "nonce", type: "bytes32" },
  ],
};

async function pay({ required, key }) {
  const demand = schemas.validatePaymentRequired(http.decodePaymentRequiredHeader(required));
  const accepted = demand.accepts[0];
  const account = privateKeyToAccount(key);
  const { payload } = await new ExactEvmScheme(account).createPaymentPayload(2, accepted);
  const payment = { x402Version: 2, resource: demand.resource, accepted, payload };
  return { payer: account.address, header: http.encodePaymentSignatureHeader(payment) };
}

async function check({ header }) {
  const payment = schemas.validatePaymentPayload(http.decodePaymentSignatureHeader(header));
  const { accepted, payload } = payment;
  const a = payload.authorization;
  const valid = await verifyTypedData({
    address: a.from,
    domain: { name: accepted.extra.name, version: accepted.extra.version, chainId: Number(accepted.network.split(":")[1]),
      verifyingContract: accepted.asset },
    types, primaryType: "TransferWithAuthorization",
    message: { ...a, value: BigInt(a.value), validAfter: BigInt(a.validAfter), validBefore: BigInt(a.validBefore) },
    signature: payload.signature,
  });
  return { valid };
}

function receipt({ header }) {
  const receipt = http.decodePaymentResponseHeader(header);
  return { receipt, header: http.encodePaymentResponseHeader(receipt) };
}

const calls = { pay, check, receipt };
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
Promise.resolve(calls[input.call](input)).then((answer) => process.stdout.write(JSON.stringify(answer)));
