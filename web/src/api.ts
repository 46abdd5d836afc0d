// Calls to the server.

import type {
  Alarms, EventRecord, NotificationRecord, Session, SilenceRecord, SilenceRequest, SiteChart, SiteForecasts, SiteLive, SiteSummary,
} from "./contract";

/** A refusal or failure, with the server's own sentence. */
export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 when the server could not be reached. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function call(path: string, options?: RequestInit): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(`/api/v1/${path}`, { ...options, signal: AbortSignal.timeout(20_000) });
  } catch {
    throw new ApiError(0, "the server does not answer");
  }
  const text = await response.text().catch(() => "");
  let body: unknown;
  try {
    body = text === "" ? undefined : JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (response.ok) return body;
  const detail = (body as { detail?: unknown } | undefined)?.detail;
  throw new ApiError(response.status, typeof detail === "string" ? detail : `the server answered ${response.status}`);
}

function post(body: unknown): RequestInit {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

const name = encodeURIComponent;

export const api = {
  login: (secret: { code: string } | { token: string }) => call("login", post(secret)) as Promise<Session>,
  logout: () => call("session", { method: "DELETE" }),
  session: () => call("session") as Promise<Session>,
  sites: () => call("sites") as Promise<SiteSummary[]>,
  live: (site: string) => call(`sites/${name(site)}/live`) as Promise<SiteLive>,
  chart: (site: string) => call(`sites/${name(site)}/chart`) as Promise<SiteChart>,
  forecasts: (site: string) => call(`sites/${name(site)}/forecasts`) as Promise<SiteForecasts>,
  events: (since: number) => call(`events?since=${since}`) as Promise<EventRecord[]>,
  alarms: () => call("alarms") as Promise<Alarms>,
  notifications: () => call("notifications") as Promise<NotificationRecord[]>,
  silences: () => call("silences") as Promise<SilenceRecord[]>,
  acknowledge: (fingerprint: string, comment: string) => call(`alarms/${name(fingerprint)}/acknowledge`, post({ comment })),
  silence: (request: SilenceRequest) => call("silences", post(request)) as Promise<SilenceRecord>,
  tasks: () => call("tasks"),
  attend: (id: string, done: object) => call(`tasks/${name(id)}`, post(done)),
  endSilence: (id: string) => call(`silences/${name(id)}`, { method: "DELETE" }),
};
