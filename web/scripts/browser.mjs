// A headless Chromium, driven over a pipe by its own protocol: nothing to install but the browser.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-extensions",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
];

/** Starts the browser. `onEvent(method, params, sessionId)` gets what it tells unasked. */
export function launch(program, onEvent) {
  const profile = mkdtempSync(join(tmpdir(), "sos-page-"));
  const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
  });
  const [, , stderr, input, output] = child.stdio;
  const waiting = new Map();
  let next = 0;
  let told = "";
  let ended;
  stderr.on("data", (data) => { told = (told + data).slice(-4000); });

  const exit = new Promise((resolve) => {
    const end = (reason) => {
      ended = new Error(`the browser ended (${reason}): ${told.trim()}`);
      for (const { reject } of waiting.values()) reject(ended);
      waiting.clear();
      resolve();
    };
    child.once("error", (error) => { end(error.message); });
    child.once("close", (code, signal) => { end(signal ?? `exit code ${code}`); });
  });
  input.on("error", () => {}); // the end of the browser is told by `exit`

  let pending = [];
  output.on("data", (data) => {
    for (let end = data.indexOf(0); end >= 0; end = data.indexOf(0)) {
      receive(JSON.parse(Buffer.concat([...pending, data.subarray(0, end)]).toString()));
      pending = [];
      data = data.subarray(end + 1);
    }
    pending.push(data);
  });
  function receive({ id, error, result, method, params, sessionId }) {
    if (id === undefined) {
      onEvent(method, params, sessionId);
      return;
    }
    const { name, resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(`${name}: ${error.message}`));
    else resolve(result);
  }

  function send(name, params = {}, sessionId = undefined) {
    if (ended) return Promise.reject(ended);
    next += 1;
    const id = next;
    input.write(`${JSON.stringify({ id, method: name, params, sessionId })}\0`);
    return new Promise((resolve, reject) => { waiting.set(id, { name, resolve, reject }); });
  }

  /** Ends the browser and removes what it kept. */
  async function close() {
    const last = setTimeout(() => { child.kill("SIGKILL"); }, 5000);
    await send("Browser.close").catch(() => {});
    await exit;
    clearTimeout(last);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  return { send, close };
}

/** Opens an empty page in a browser context of its own: no cookies, no storage. */
export async function openPage({ send }) {
  const { browserContextId } = await send("Target.createBrowserContext");
  const { targetId } = await send("Target.createTarget", { url: "about:blank", browserContextId });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  await Promise.all(["Log.enable", "Runtime.enable", "Page.enable"].map((method) => page(method)));

  async function evaluate(expression) {
    const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
  /** Waits in the page until the expression holds. */
  const until = (expression) => evaluate(`new Promise((done, fail) => {
    const end = performance.now() + 30000;
    const look = () => (${expression}) ? done() : performance.now() > end
      ? fail(new Error("never on the page: " + ${JSON.stringify(expression)} + "; it says: " + document.body.innerText.slice(0, 400)))
      : requestAnimationFrame(look);
    look();
  })`);
  return { sessionId, page, evaluate, until };
}
