// Effects: login, the event stream with reconnection, and reading the chart when it changed.

import { signal } from "@preact/signals";
import { api, ApiError } from "./api";
import type { Alarms, EventRecord, SilenceRecord, SilenceRequest, SiteLive } from "./contract";
import { loginCode, siteOfRoute } from "./route";
import { chartKey, INITIAL, reduce, type Message } from "./state";
import { read } from "./tasks";

export const state = signal(INITIAL);

export function send(message: Message): void {
  state.value = reduce(state.value, message);
}

/** The server says something at least every 10 s; a longer silence is a dead connection. */
const SILENCE_MS = 25_000;
/** The chart is read at most this often. */
const CHART_MS = 1_500;
/** Alerts and tasks are read as often as this when nothing tells of them, and at most once in the time after it. */
const ALERTS_MS = 15_000;
const ALERTS_SOON_MS = 1_000;

let source: EventSource | undefined;
let watchdog: ReturnType<typeof setTimeout> | undefined;
let retry: ReturnType<typeof setTimeout> | undefined;
let failures = 0;

function note(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Takes a login code out of the address, finds out who is asking, and goes live. */
export async function start(): Promise<void> {
  const code = loginCode(location.hash);
  if (code !== undefined) {
    // The code does not stay in the address bar, the history or a screenshot.
    history.replaceState(null, "", location.pathname);
    await login({ code });
    return;
  }
  try {
    send({ type: "logged-in", session: await api.session() });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) send({ type: "logged-out" });
    else tryAgain(start);
    return;
  }
  await open();
}

export async function login(secret: { code: string } | { token: string }): Promise<void> {
  try {
    send({ type: "logged-in", session: await api.login(secret) });
  } catch (error) {
    // A used link is no loss to a browser that is logged in already.
    const session = await api.session().catch(() => undefined);
    if (!session) {
      send({ type: "logged-out", note: note(error) });
      return;
    }
    send({ type: "logged-in", session });
  }
  await open();
}

export async function logout(): Promise<void> {
  await api.logout().catch(() => undefined);
  close();
  clearTimeout(alertsTimer);
  send({ type: "logged-out" });
}

function close(): void {
  source?.close();
  source = undefined;
  clearTimeout(watchdog);
  clearTimeout(retry);
}

function tryAgain(action: () => Promise<void>): void {
  close();
  send({ type: "lost" });
  failures += 1;
  const wait = Math.min(15_000, 1000 * 2 ** Math.min(failures - 1, 4));
  // Spread, so that many pages do not come back at the same moment.
  retry = setTimeout(() => void action(), wait * (0.75 + Math.random() / 2));
}

/** Follows the site of the address: sites, state, events, then the stream. */
export async function open(): Promise<void> {
  close();
  alertsSoon();
  try {
    const sites = (await api.sites()).map((site) => site.name);
    send({ type: "sites", sites });
    const wanted = siteOfRoute(location.hash);
    const site = wanted !== undefined && sites.includes(wanted) ? wanted : sites[0];
    send({ type: "site", site });
    send({ type: "events", events: await api.events(state.value.events[0]?.id ?? 0) });
    if (site === undefined) {
      send({ type: "connected", at: Date.now() });
      retry = setTimeout(() => void open(), 5_000);
      return;
    }
    stream(site);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) send({ type: "logged-out", note: error.message });
    else tryAgain(open);
  }
}

function stream(site: string): void {
  const events = new EventSource(`/api/v1/stream?site=${encodeURIComponent(site)}`);
  source = events;
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => { tryAgain(open); }, SILENCE_MS);
  };
  const on = (name: string, action: (data: unknown) => void) => {
    events.addEventListener(name, (event: MessageEvent<string>) => {
      alive();
      action(JSON.parse(event.data));
    });
  };
  events.onopen = () => {
    failures = 0;
    alive();
    send({ type: "connected", at: Date.now() });
  };
  on("site", (data) => {
    send({ type: "live", live: data as SiteLive, at: Date.now() });
    void chart();
  });
  on("event", (data) => {
    const event = data as EventRecord;
    send({ type: "events", events: [event] });
    if (event.reason === "AlertFiring" || event.reason === "AlertResolved") alertsSoon();
  });
  on("ping", () => { send({ type: "alive", at: Date.now() }); });
  on("bye", () => { tryAgain(open); });
  // The browser's own retry gives up on refusals; ours asks why and goes on.
  events.onerror = () => { tryAgain(open); };
  alive();
}

let shown = "";
let reading = false;

async function chart(): Promise<void> {
  const { live, site } = state.value;
  const key = chartKey(live);
  if (reading || site === undefined || key === shown) return;
  reading = true;
  try {
    const [chart, forecasts] = await Promise.all([api.chart(site), api.forecasts(site)]);
    send({ type: "chart", chart });
    send({ type: "forecasts", forecasts });
    shown = key;
    send({ type: "problem", problem: undefined });
  } catch (error) {
    // A lost connection shows itself; what remains is worth telling.
    if (error instanceof ApiError && error.status !== 0) send({ type: "problem", problem: `the chart could not be read: ${error.message}` });
  } finally {
    setTimeout(() => { reading = false; void chart(); }, CHART_MS);
  }
}

let alertsTimer: ReturnType<typeof setTimeout> | undefined;
let alertsReading: Promise<void> | undefined;
let alertsAgain = false;
let alertsRead = 0;

/** Reads the alerts now, or as soon as it is their turn: many events in a row are one reading. */
function alertsSoon(): void {
  alertsAgain = true;
  if (alertsReading) return;
  clearTimeout(alertsTimer);
  alertsTimer = setTimeout(() => { void readAlerts(); }, Math.max(0, alertsRead + ALERTS_SOON_MS - Date.now()));
}

async function readAlerts(): Promise<void> {
  clearTimeout(alertsTimer);
  alertsAgain = false;
  alertsReading = Promise.all([fetchAlerts(), fetchTasks()]).then(() => undefined);
  await alertsReading;
  alertsReading = undefined;
  alertsRead = Date.now();
  nextAlerts();
}

function nextAlerts(): void {
  if (state.value.session) alertsTimer = setTimeout(() => { void readAlerts(); }, alertsAgain ? ALERTS_SOON_MS : ALERTS_MS);
}

async function fetchAlerts(): Promise<void> {
  try {
    // What was delivered is worth less than the alerts themselves: they are shown without it.
    const [alarms, notifications] = await Promise.all([api.alarms(), api.notifications().catch(() => undefined)]);
    const silences = await silencesOf(alarms);
    send({ type: "alerts", alarms, notifications, silences });
  } catch (error) {
    send({ type: "alerts-unread", problem: note(error) });
  }
}

async function fetchTasks(): Promise<void> {
  try {
    send({ type: "tasks", tasks: read(await api.tasks()) });
  } catch (error) {
    send({ type: "tasks-unread", problem: note(error) });
  }
}

async function silencesOf(alarms: Alarms): Promise<SilenceRecord[]> {
  const any = alarms.alarms.some((alarm) => alarm.muted?.by === "silence");
  return any ? api.silences().catch(() => []) : [];
}

/** Performs a command about alerts or tasks; the words of its refusal, if any. What it changed is on the page when this returns. */
async function command(ask: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await ask();
  } catch (error) {
    return note(error);
  }
  // What was asked for before the command does not know of it.
  while (alertsReading) await alertsReading;
  await readAlerts();
  return undefined;
}

/** Does something about a task of a person. */
export function attend(id: string, done: object): Promise<string | undefined> {
  return command(() => api.attend(id, done));
}

export function acknowledge(fingerprint: string, comment: string): Promise<string | undefined> {
  return command(() => api.acknowledge(fingerprint, comment));
}

export function silence(request: SilenceRequest): Promise<string | undefined> {
  return command(() => api.silence(request));
}

export function endSilence(id: string): Promise<string | undefined> {
  return command(() => api.endSilence(id));
}
