// The official SDK's side of the extensions.
//   node extensions.cjs buy    one JSON request {url, key} on stdin: buys twice with names and by signing in; one JSON answer on stdout
//   node extensions.cjs jws    one JSON request {offer, receipt, key} on stdin: verifies them and signs its own with the key; one JSON answer
//   node extensions.cjs sell FACILITATOR PAYEE KEY    sells /report; prints its URL; ends with its stdin
const { wrapFetchWithPayment, x402Client, decodePaymentResponseHeader } = require("@x402/fetch");
const { decodePaymentRequiredHeader, decodePaymentSignatureHeader } = require("@x402/core/http");
const { HTTPFacilitatorClient } = require("@x402/core/server");
const evm = { client: require("@x402/evm/exact/client"), server: require("@x402/evm/exact/server") };
const names = require("@x402/extensions/payment-identifier");
const siwx = require("@x402/extensions/sign-in-with-x");
const signed = require("@x402/extensions/offer-receipt");
const bazaar = require("@x402/extensions/bazaar");
const { sha256 } = require("viem");
const { privateKeyToAccount } = require("viem/accounts");

async function buy({ url, key }) {
  const account = privateKeyToAccount(key);
  const seen = [];
  const spy = async (input, init) => {
    const request = new Request(input, init);
    const response = await fetch(request);
    seen.push({ request, response });
    return response;
  };
  const client = new x402Client().register("eip155:84532", new evm.client.ExactEvmScheme(account));
  client.onBeforePaymentCreation(async ({ paymentRequired }) => {
    names.appendPaymentIdentifierToExtensions(paymentRequired.extensions, "chosen_by_the_official_client");
  });
  const pay = wrapFetchWithPayment(spy, client);
  const bought = await pay(url);
  const receiptHeader = bought.headers.get("PAYMENT-RESPONSE");
  const body = await bought.text();
  const paid = seen.at(-1).request.headers.get("PAYMENT-SIGNATURE");
  const again = await fetch(url, { headers: { "PAYMENT-SIGNATURE": paid } });
  const renewed = await pay(url);
  const required = decodePaymentRequiredHeader(seen[0].response.headers.get("PAYMENT-REQUIRED"));
  const offers = await Promise.all(signed.extractOffersFromPaymentRequired(required).map(signed.verifyOfferSignatureEIP712));
  const receipt = await signed.verifyReceiptSignatureEIP712(signed.extractReceiptFromResponse(bought));
  const matches = signed.verifyReceiptMatchesOffer(signed.extractReceiptFromResponse(bought), offers[0].payload, [account.address]);
  const signedIn = await siwx.wrapFetchWithSIWx(spy, account)(url);
  const discovery = bazaar.validateDiscoveryExtension(required.extensions.bazaar);
  return {
    status: bought.status, body, settled: decodePaymentResponseHeader(receiptHeader),
    again: { status: again.status, body: await again.text() },
    renewed: renewed.status,
    offerSigner: offers[0].signer, receiptSigner: receipt.signer, matches,
    signedIn: { status: signedIn.status, body: await signedIn.text(), free: !signedIn.headers.get("PAYMENT-RESPONSE") },
    discovery, template: required.extensions.bazaar.routeTemplate,
  };
}

// Verifies by the key that the tokens name; answers with an offer and a receipt of its own under the same name.
async function jws({ offer, receipt, key }) {
  const verified = { offer: await signed.verifyOfferSignatureJWS(offer), receipt: await signed.verifyReceiptSignatureJWS(receipt) };
  const { kid } = signed.extractJWSHeader(offer.signature);
  const sign = async (bytes) => {
    const signature = await privateKeyToAccount(key).sign({ hash: sha256(bytes) });
    return Buffer.from(signature.slice(2, 130), "hex").toString("base64url");
  };
  const issuer = signed.createJWSOfferReceiptIssuer(kid, { kid, format: "jws", algorithm: "ES256K", sign });
  const { resourceUrl, payer, network } = verified.receipt;
  return {
    verified,
    offer: await issuer.issueOffer(resourceUrl, { ...verified.offer, acceptIndex: 0 }),
    receipt: await issuer.issueReceipt(verified.offer.resourceUrl, payer, network),
  };
}

async function sell(facilitator, payTo, key) {
  const express = require("express");
  const { paymentMiddleware, x402ResourceServer } = require("@x402/express");
  const app = express();
  const listener = await new Promise((done) => { const listener = app.listen(0, "127.0.0.1", () => done(listener)); });
  const origin = `http://127.0.0.1:${listener.address().port}`;
  const account = privateKeyToAccount(key);
  const issuer = signed.createEIP712OfferReceiptIssuer("did:web:shop", (data) => account.signTypedData(data));
  const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: facilitator }))
    .register("eip155:84532", new evm.server.ExactEvmScheme())
    .registerExtension(names.paymentIdentifierResourceServerExtension)
    .registerExtension(signed.createOfferReceiptExtension(issuer))
    .registerExtension(siwx.createSIWxResourceServerExtension({ origin, storage: new siwx.InMemorySIWxStorage() }));
  const extensions = {
    ...siwx.declareSIWxExtension({ statement: "Come in" }),
    ...signed.declareOfferReceiptExtension({ includeTxHash: true }),
    [names.PAYMENT_IDENTIFIER]: names.declarePaymentIdentifierExtension(true),
  };
  app.use(paymentMiddleware({ "GET /report": { accepts: { scheme: "exact", price: "$0.05", network: "eip155:84532", payTo }, extensions } }, server));
  app.get("/report", (request, response) => {
    const header = request.get("PAYMENT-SIGNATURE");
    if (!header) return response.json({ signedIn: true });
    const { id, validation } = names.extractAndValidatePaymentIdentifier(decodePaymentSignatureHeader(header));
    response.json({ id, valid: validation.valid });
  });
  process.stdin.on("end", () => process.exit(0)).resume();
  console.log(`${origin}/report`);
}

const [call, ...rest] = process.argv.slice(2);
if (call === "sell") sell(...rest);
else (call === "jws" ? jws : buy)(JSON.parse(require("fs").readFileSync(0, "utf8"))).then((answer) => process.stdout.write(JSON.stringify(answer)));
