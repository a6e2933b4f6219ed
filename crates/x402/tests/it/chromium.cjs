// Opens a paywall in a real Chromium with an injected wallet and presses "Pay". Speaks the DevTools protocol over a pipe.
// One JSON request {url, wallet, chromium} on stdin, one JSON answer on stdout; `wallet` answers the page's EIP-1193 requests.
const { spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");

const inject = `
  const waiting = new Map();
  window.answerOfWallet = ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    error ? reject(new Error(error)) : resolve(result);
  };
  window.ethereum = { request: (call) => new Promise((resolve, reject) => {
    const id = waiting.size + Math.random();
    waiting.set(id, { resolve, reject });
    window.askWallet(JSON.stringify({ id, ...call }));
  }) };
`;

async function open({ url, wallet, chromium }) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "florin-chromium-"));
  const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", `--user-data-dir=${profile}`];
  const browser = spawn(chromium, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve, reject) => browser.on("error", reject).on("exit", resolve));
  try {
    return await Promise.race([drive(browser, url, wallet), ended.then((code) => { throw new Error(`${chromium} ended with ${code}`); })]);
  } finally {
    browser.kill("SIGKILL");
    await ended.catch(() => {});
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  }
}

async function drive(browser, url, wallet) {
  let next = 0;
  let session;
  const waiting = new Map();
  const log = [];
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    const id = (next += 1);
    waiting.set(id, { resolve, reject });
    browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId: session }) + "\0");
  });
  const evaluate = async (expression) => (await send("Runtime.evaluate", { expression, returnByValue: true })).result.value;
  const events = {
    "Runtime.bindingCalled": async ({ payload }) => {
      const { id, ...call } = JSON.parse(payload);
      const response = await fetch(wallet, { method: "POST", body: JSON.stringify(call), headers: { "content-type": "application/json" } });
      const answer = response.ok ? { result: await response.json() } : { error: await response.text() };
      await evaluate(`answerOfWallet(${JSON.stringify({ id, ...answer })})`);
    },
    "Log.entryAdded": ({ entry }) => log.push(entry.text),
    "Page.javascriptDialogOpening": ({ message }) => log.push(`dialog: ${message}`),
  };
  let rest = "";
  browser.stdio[4].setEncoding("utf8").on("data", (chunk) => {
    const messages = (rest + chunk).split("\0");
    rest = messages.pop();
    for (const { id, method, params, result, error } of messages.map((message) => JSON.parse(message))) {
      if (id) error ? waiting.get(id).reject(new Error(error.message)) : waiting.get(id).resolve(result);
      else events[method]?.(params);
    }
  });
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  ({ sessionId: session } = await send("Target.attachToTarget", { targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log"]) await send(`${domain}.enable`);
  await send("Runtime.addBinding", { name: "askWallet" });
  await send("Page.addScriptToEvaluateOnNewDocument", { source: inject });
  await send("Page.navigate", { url });
  const until = async (expression) => {
    for (const begun = Date.now(); Date.now() - begun < 60000; ) {
      const value = await evaluate(expression);
      if (value) return value;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`never true: ${expression}; the page says ${await evaluate("document.body.innerText")}`);
  };
  await until("!!document.getElementById('pay') && !document.getElementById('pay').hidden");
  const before = await evaluate("document.body.innerText");
  await evaluate("document.getElementById('pay').click()");
  const status = await until("/^(Paid|Not paid)/.test(document.getElementById('status').textContent) && document.getElementById('status').textContent");
  await until("/^Not/.test(document.getElementById('status').textContent) || !!document.querySelector('#result a')");
  const result = await evaluate("document.querySelector('#result pre')?.textContent");
  const script = "Object.assign(document.createElement('script'), { textContent: 'window.injected = true' })";
  await evaluate(`document.body.append(${script})`);
  const [ran, hostile] = await evaluate("[!!window.injected, !!window.hostile]");
  return { before, status, result, ran, hostile, log };
}

open(JSON.parse(fs.readFileSync(0, "utf8"))).then(
  (answer) => process.stdout.write(JSON.stringify(answer), () => process.exit(0)),
  (error) => { console.error(error); process.exit(1); },
);
