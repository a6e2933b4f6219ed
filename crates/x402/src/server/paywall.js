// Pays the offer of this page with the wallet the browser injects, and shows what was bought.
"use strict";
const required = JSON.parse(document.getElementById("required").textContent);
const button = document.getElementById("pay");
const status = document.getElementById("status");
const say = (text) => { status.textContent = text; };
const wallet = window.ethereum;
const payable = (offer) =>
  offer.scheme === "exact" && /^eip155:[0-9]+$/.test(offer.network) && offer.extra?.name && offer.extra?.version &&
  (offer.extra.assetTransferMethod ?? "eip3009") === "eip3009";
const offer = required.accepts.find(payable);
// What was signed is kept until it can settle no more: a reload must not pay twice.
const memory = `x402:${location.href}`;

const hex = (bytes) => "0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const random = (count) => crypto.getRandomValues(new Uint8Array(count));
const encode = (value) => btoa(Array.from(new TextEncoder().encode(JSON.stringify(value)), (byte) => String.fromCharCode(byte)).join(""));
const decode = (text) => text && JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));

async function sign() {
  const [from] = await wallet.request({ method: "eth_requestAccounts" });
  const chainId = Number(offer.network.split(":")[1]);
  if (Number(await wallet.request({ method: "eth_chainId" })) !== chainId) {
    await wallet.request({ method: "wallet_switchEthereumChain", params: [{ chainId: "0x" + chainId.toString(16) }] });
  }
  const validBefore = Math.floor(Date.now() / 1000) + offer.maxTimeoutSeconds;
  const authorization = { from, to: offer.payTo, value: offer.amount, validAfter: "0", validBefore: String(validBefore), nonce: hex(random(32)) };
  const field = (name, type) => ({ name, type });
  const typed = {
    domain: { name: offer.extra.name, version: offer.extra.version, chainId, verifyingContract: offer.asset },
    primaryType: "TransferWithAuthorization",
    types: {
      EIP712Domain: [field("name", "string"), field("version", "string"), field("chainId", "uint256"), field("verifyingContract", "address")],
      TransferWithAuthorization: [
        field("from", "address"), field("to", "address"), field("value", "uint256"), field("validAfter", "uint256"),
        field("validBefore", "uint256"), field("nonce", "bytes32"),
      ],
    },
    message: authorization,
  };
  const signature = await wallet.request({ method: "eth_signTypedData_v4", params: [from, JSON.stringify(typed)] });
  const { "sign-in-with-x": _, "offer-receipt": __, ...extensions } = required.extensions ?? {};
  if (extensions["payment-identifier"]) extensions["payment-identifier"].info.id = "pay_" + hex(random(16)).slice(2);
  const payment = { x402Version: 2, resource: required.resource, accepted: offer, payload: { signature, authorization }, extensions };
  const signed = { header: encode(payment), validBefore };
  sessionStorage.setItem(memory, JSON.stringify(signed));
  return signed;
}

// A 5xx or a lost connection says nothing of the payment: the same one is sent again, never a new one.
async function send(signed) {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    try {
      const response = await fetch(location.href, { headers: { "PAYMENT-SIGNATURE": signed.header, Accept: "*/*" }, cache: "no-store" });
      if (response.status < 500) return response;
    } catch { /* sent again below */ }
    say("The payment is not confirmed yet; asking again with the same payment …");
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error("the payment is not confirmed; reload this page to send the same payment again, it pays only once");
}

async function show(response) {
  const type = response.headers.get("content-type") ?? "";
  const body = await response.blob();
  const url = URL.createObjectURL(body);
  const result = document.getElementById("result");
  const add = (name, fields) => result.append(Object.assign(document.createElement(name), fields));
  if (type.startsWith("text/html")) add("iframe", { srcdoc: await body.text(), sandbox: "" });
  else if (type.startsWith("text/") || type.includes("json")) add("pre", { textContent: await body.text() });
  else if (type.startsWith("image/")) add("img", { src: url });
  add("a", { href: url, download: "answer", textContent: "Save what you bought" });
}

async function pay() {
  button.disabled = true;
  try {
    const kept = JSON.parse(sessionStorage.getItem(memory));
    say("Waiting for your wallet …");
    const signed = kept && kept.validBefore > Date.now() / 1000 ? kept : await sign();
    say("Paying …");
    const response = await send(signed);
    const receipt = decode(response.headers.get("PAYMENT-RESPONSE"));
    if (!response.ok) {
      sessionStorage.removeItem(memory);
      const refusal = decode(response.headers.get("PAYMENT-REQUIRED"));
      throw new Error(receipt?.errorReason ?? refusal?.error ?? `the server answered ${response.status}`);
    }
    sessionStorage.removeItem(memory);
    say(`Paid${receipt?.transaction ? ` in transaction ${receipt.transaction}` : ""}.`);
    await show(response);
  } catch (error) {
    say(`Not paid: ${error?.message ?? error}`);
    button.disabled = false;
  }
}

if (!wallet) say("No wallet found in this browser. Programs pay with an x402 client: the offer is in the header PAYMENT-REQUIRED.");
else if (!offer) say("Your wallet cannot pay any of these offers from a page; use an x402 client.");
else {
  button.hidden = false;
  button.addEventListener("click", pay);
}
