// What the official SDK makes of a channel: one JSON request on stdin, one JSON answer on stdout.
const evm = require("@x402/evm");
const batch = require("@x402/evm/batch-settlement/client");
const { hashTypedData } = require("viem");
const { privateKeyToAccount } = require("viem/accounts");

// Its hashes of refunds and claims are not exported; these are its types, from batch-settlement/constants.ts.
const types = {
  Refund: [{ name: "channelId", type: "bytes32" }, { name: "nonce", type: "uint256" }, { name: "amount", type: "uint128" }],
  ClaimBatch: [{ name: "claims", type: "ClaimEntry[]" }],
  ClaimEntry: [
    { name: "channelId", type: "bytes32" }, { name: "maxClaimableAmount", type: "uint128" }, { name: "totalClaimed", type: "uint128" },
  ],
};

async function vectors({ accepted, key, salt, max, deposit, refundNonce }) {
  const account = privateKeyToAccount(key);
  const scheme = new batch.BatchSettlementEvmScheme(account, { salt, depositStrategy: () => deposit });
  const permit2 = { ...accepted, extra: { ...accepted.extra, assetTransferMethod: "permit2" } };
  const config = scheme.buildChannelConfig(accepted);
  const channelId = batch.computeChannelId(config, accepted.network);
  const chainId = Number(accepted.network.split(":")[1]);
  const domain = { name: "x402 Batch Settlement", version: "1", chainId, verifyingContract: evm.BATCH_SETTLEMENT_ADDRESS };
  const claims = [{ channelId, maxClaimableAmount: BigInt(max), totalClaimed: BigInt(max) - 1n }];
  return {
    config, channelId,
    voucher: await batch.signVoucher(account, channelId, max, accepted.network),
    erc3009: (await scheme.createPaymentPayload(2, accepted)).payload,
    permit2: (await scheme.createPaymentPayload(2, permit2)).payload,
    refund: hashTypedData({ domain, types, primaryType: "Refund", message: { channelId, nonce: BigInt(refundNonce), amount: BigInt(max) } }),
    claim: hashTypedData({ domain, types, primaryType: "ClaimBatch", message: { claims } }),
  };
}

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
vectors(input).then((answer) => process.stdout.write(JSON.stringify(answer)));
