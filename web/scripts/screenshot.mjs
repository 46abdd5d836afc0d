// Pictures of the dashboard in a headless Chromium, and a check that its numbers are the API's:
//   node --experimental-websocket scripts/screenshot.mjs 'http://127.0.0.1:7600/#login=CODE' OUT_DIR
// Exit 1 when a number differs, the page is wider than its window, or the browser reports an error.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [url, out = "."] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "sos-page-"));
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0";
const browser = spawn(process.env.CHROMIUM ?? "chromium", [...flags.split(" "), `--user-data-dir=${profile}`, "about:blank"]);

const address = await new Promise((resolve, reject) => {
  let text = "";
  browser.stderr.on("data", (data) => {
    text += data;
    const match = /listening on (ws:\S+)/.exec(text);
    if (match) resolve(match[1]);
  });
  browser.on("exit", () => reject(new Error(`chromium ended: ${text}`)));
});
const socket = new WebSocket(address);
await new Promise((resolve) => { socket.onopen = resolve; });
const waiting = new Map();
const complaints = [];
let next = 0;
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) waiting.get(message.id)(message);
  if (message.method === "Log.entryAdded" && message.params.entry.level === "error") complaints.push(message.params.entry.text);
  if (message.method === "Runtime.exceptionThrown") complaints.push(message.params.exceptionDetails.exception?.description);
};
function send(method, params = {}, sessionId) {
  next += 1;
  socket.send(JSON.stringify({ id: next, method, params, sessionId }));
  return new Promise((resolve, reject) => {
    waiting.set(next, (m) => (m.error ? reject(new Error(`${method}: ${m.error.message}`)) : resolve(m.result)));
  });
}

const { targetId } = await send("Target.createTarget", { url: "about:blank" });
const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params) => send(method, params, sessionId);
await Promise.all([page("Log.enable"), page("Runtime.enable"), page("Page.enable")]);
async function evaluate(expression) {
  const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
/** Waits in the page until the expression holds. */
const until = (expression) => evaluate(`new Promise((done, fail) => {
  const end = performance.now() + 20000;
  const look = () => (${expression}) ? done(true) : performance.now() > end ? fail(new Error("never: " + ${JSON.stringify(expression)})) : requestAnimationFrame(look);
  look();
})`);

async function picture(name, { width, height = 900, dark = false, mobile = false }) {
  await page("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });
  await page("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))");
  const wide = await evaluate("document.documentElement.scrollWidth");
  if (wide > width) complaints.push(`${name}: the page is ${wide} px wide in a window of ${width}`);
  const { data } = await page("Page.captureScreenshot", { captureBeyondViewport: true, format: "png" });
  writeFileSync(join(out, `${name}.png`), Buffer.from(data, "base64"));
}

/** Every number with `data-field` against the API, both taken at the same tick. */
const COMPARE = `(async () => {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const site = document.querySelector("[data-field=site]").textContent;
    const live = await (await fetch("/api/v1/sites/" + encodeURIComponent(site) + "/live")).json();
    if (document.querySelector("[data-field=time]").dataset.value !== live.time) {
      await new Promise((done) => setTimeout(done, 100));
      continue;
    }
    const byName = (list) => Object.fromEntries(list.map((item) => [item.name, item]));
    const root = { ...live, assets: byName(live.assets), services: byName(live.services) };
    root.totals.emissions_kg.saved = root.totals.emissions_kg.baseline - root.totals.emissions_kg.actual;
    const known = (path) => {
      const [head, ...rest] = path.split(".");
      if (head !== "assets" && head !== "services") return rest.reduce((value, key) => value?.[key], root[head]);
      return root[head][rest.slice(0, -1).join(".")]?.[rest.at(-1)];
    };
    const wrong = [];
    const elements = document.querySelectorAll("data[data-field]");
    for (const { dataset } of elements) {
      const expected = known(dataset.field) ?? "";
      if (dataset.value !== String(expected)) wrong.push(dataset.field + ": page " + dataset.value + ", API " + expected);
    }
    return { compared: elements.length, wrong };
  }
  return { compared: 0, wrong: ["page and API were never at the same tick"] };
})()`;

let failed = false;
try {
  await page("Emulation.setDeviceMetricsOverride", { width: 1440, height: 900, deviceScaleFactor: 1, mobile: false });
  await page("Page.navigate", { url });
  await until("document.querySelector('.plot canvas') && document.querySelector('.events li')");
  const { compared, wrong } = await evaluate(COMPARE);
  complaints.push(...wrong);
  await picture("wide", { width: 1440 });
  await picture("wide-dark", { width: 1440, dark: true });
  await picture("phone", { width: 390, height: 844, mobile: true });
  await picture("phone-dark", { width: 390, height: 844, mobile: true, dark: true });
  console.log(`${compared} numbers are the API's; pictures in ${out}`);
  failed = compared === 0;
} catch (error) {
  complaints.push(String(error));
}
for (const complaint of complaints) console.error(complaint);
failed ||= complaints.length > 0;
socket.close();
browser.removeAllListeners("exit");
browser.kill();
await new Promise((resolve) => { browser.once("exit", resolve); });
rmSync(profile, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
