// The dashboard in a headless Chromium: logs in with a one-time link, compares each number with the API, takes pictures:
//   node scripts/screenshot.mjs 'http://127.0.0.1:7600/#login=CODE' OUT_DIR
// Exit 1 when a number differs, the login is not what it should be, the page is wider than its window, or the browser
// reports an error. SOS_CHROMIUM names the browser. The test crates/sos/tests/it/page.rs runs it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { launch, openPage } from "./browser.mjs";

const [url, out = "."] = process.argv.slice(2);
const SHOWN = "document.querySelector('.plot canvas') && document.querySelector('.events li')";

const complaints = [];
/** What the browser reports of the page that is checked. */
function report(method, params) {
  if (method === "Log.entryAdded" && params.entry.level === "error") {
    complaints.push(`the browser reports: ${params.entry.text} ${params.entry.url ?? ""}`);
  }
  if (method === "Runtime.exceptionThrown") {
    const { exception, text } = params.exceptionDetails;
    complaints.push(`the page throws: ${exception?.description ?? text}`);
  }
  if (method === "Runtime.consoleAPICalled" && ["error", "assert"].includes(params.type)) {
    complaints.push(`the page logs: ${params.args.map((part) => part.value ?? part.description).join(" ")}`);
  }
}

/** The link logs in, leaves no trace of its code, and the session outlives a reload. */
async function logIn({ page, evaluate, until }) {
  await page("Page.navigate", { url });
  await until(SHOWN);
  if ((await evaluate("location.href")).includes("login=")) complaints.push("the code stays in the address bar");
  if ((await evaluate("document.cookie")) !== "") complaints.push("a script can read the session's cookie");
  const { cookies } = await page("Network.getCookies");
  const sessions = cookies.filter(({ name, httpOnly, sameSite }) => name.startsWith("sos_session") && httpOnly && sameSite === "Strict");
  if (sessions.length !== 1) complaints.push(`one session cookie was expected: ${JSON.stringify(cookies.map(({ name }) => name))}`);
  await evaluate("document.body.dataset.before = 'reload'");
  await page("Page.reload");
  await until(`document.body && !document.body.dataset.before && ${SHOWN}`);
}

/** Another browser with the same link is told that it was used. */
async function linkWorksOnce({ page, evaluate, until }) {
  await page("Page.navigate", { url });
  await until("document.querySelector('[data-field=\"login.note\"]')");
  const note = await evaluate("document.querySelector('[data-field=\"login.note\"]').textContent");
  if (!note.includes("used already")) complaints.push(`a used link is answered with: ${note}`);
  if (await evaluate("document.querySelector('data[data-field]') !== null")) complaints.push("a used link shows figures");
}

/**
 * Every number with `data-field` against the API, both taken at the same tick. Services change between ticks too, so
 * what differs is looked at again.
 */
const COMPARE = `(async () => {
  let wrong = ["page and API were never at the same tick"], elements = [];
  for (let attempt = 0; attempt < 50 && wrong.length > 0; attempt += 1) {
    if (attempt > 0) await new Promise((done) => setTimeout(done, 100));
    const site = document.querySelector("[data-field=site]").textContent;
    const live = await (await fetch("/api/v1/sites/" + encodeURIComponent(site) + "/live")).json();
    if (document.querySelector("[data-field=time]").dataset.value !== live.time) continue;
    live.totals.emissions_kg.saved = live.totals.emissions_kg.baseline - live.totals.emissions_kg.actual;
    const at = (value, path) => path.split(".").reduce((value, key) => value?.[key], value);
    const known = (path) => {
      const [head] = path.split(".");
      if (!["assets", "services", "feeders", "charges", "work"].includes(head)) return at(live, path);
      // Names may have dots: the longest that fits is meant.
      const fits = live[head].filter(({ name }) => path.startsWith(head + "." + name + "."));
      const item = fits.sort((a, b) => b.name.length - a.name.length)[0];
      return item && at(item, path.slice(head.length + item.name.length + 2));
    };
    elements = document.querySelectorAll("data[data-field]");
    wrong = [];
    for (const { dataset } of elements) {
      const expected = known(dataset.field);
      if (dataset.value !== String(expected ?? "")) wrong.push(dataset.field + ": page " + dataset.value + ", API " + expected);
    }
  }
  const parts = [...new Set([...elements].map(({ dataset }) => dataset.field.split(".")[0]))];
  return { compared: elements.length, parts, wrong };
})()`;

/** Gives the page this window, and tells when it does not fit. */
async function show({ page, evaluate }, { width, height = 900, dark = false, mobile = false }) {
  await page("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });
  await page("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))");
  const wide = await evaluate("document.documentElement.scrollWidth");
  if (wide > width) complaints.push(`the page is ${wide} px wide in a window of ${width}`);
}

async function picture(tab, name, window) {
  await show(tab, window);
  const { data } = await tab.page("Page.captureScreenshot", { captureBeyondViewport: true, format: "png" });
  writeFileSync(join(out, `${name}.png`), Buffer.from(data, "base64"));
}

let checked = "";
const browser = launch(process.env.SOS_CHROMIUM ?? "chromium", (method, params, sessionId) => {
  if (sessionId === checked) report(method, params);
});
const late = setTimeout(() => {
  console.error("not done after two minutes");
  void browser.close().finally(() => process.exit(1));
}, 120_000);
try {
  const tab = await openPage(browser);
  checked = tab.sessionId;
  await show(tab, { width: 1440 });
  await logIn(tab);
  const { compared, parts, wrong } = await tab.evaluate(COMPARE);
  complaints.push(...wrong);
  await picture(tab, "wide", { width: 1440 });
  await picture(tab, "wide-dark", { width: 1440, dark: true });
  await picture(tab, "phone", { width: 390, height: 844, mobile: true });
  await picture(tab, "phone-dark", { width: 390, height: 844, mobile: true, dark: true });
  await show(tab, { width: 320, height: 568, mobile: true });
  await linkWorksOnce(await openPage(browser));
  console.log(`${compared} numbers compared, of ${parts.join(", ")}; pictures in ${out}`);
  if (compared === 0) complaints.push("the page shows no number");
} catch (error) {
  complaints.push(String(error));
}
clearTimeout(late);
await browser.close();
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length > 0 ? 1 : 0;
