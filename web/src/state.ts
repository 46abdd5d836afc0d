// What the page knows, and how each message changes it. Pure: the effects are in live.ts.

import { announcement } from "./alerts";
import type { Task } from "./tasks";
import type {
  Alarms, EventRecord, NotificationRecord, Session, SeriesForecast, SilenceRecord, SiteChart, SiteForecasts, SiteLive,
} from "./contract";

/** The connection to the server. */
export type Link = "connecting" | "live" | "lost";

export interface State {
  /** `undefined`: not yet asked; `null`: nobody is logged in. */
  session: Session | null | undefined;
  /** Why the login did not work, or is needed again. */
  loginNote: string | undefined;
  link: Link;
  sites: string[];
  site: string | undefined;
  live: SiteLive | undefined;
  /** Wall time of the latest message, ms since 1970. */
  received: number | undefined;
  chart: SiteChart | undefined;
  forecasts: SeriesForecast[];
  /** Newest first. */
  events: EventRecord[];
  /** A failure that is not about the connection. */
  problem: string | undefined;
  alerts: AlertState;
  tasks: TaskState;
}

export interface TaskState {
  /** What people are asked to do, the oldest first. */
  known: Task[];
  /** Why what is known may be old. */
  problem: string | undefined;
}

export interface AlertState {
  /** As they were read last; `undefined` before. */
  known: Alarms | undefined;
  /** Why what is known may be old. */
  problem: string | undefined;
  /** The latest ones; `undefined` when they could not be read. */
  notifications: NotificationRecord[] | undefined;
  silences: SilenceRecord[];
  /** For those who listen to the page. */
  announcement: string;
}

export type Message =
  | { type: "logged-in"; session: Session }
  | { type: "logged-out"; note?: string }
  | { type: "sites"; sites: string[] }
  | { type: "site"; site: string | undefined }
  | { type: "connected"; at: number }
  | { type: "alive"; at: number }
  | { type: "lost" }
  | { type: "live"; live: SiteLive; at: number }
  | { type: "chart"; chart: SiteChart }
  | { type: "forecasts"; forecasts: SiteForecasts }
  | { type: "events"; events: EventRecord[] }
  | { type: "problem"; problem: string | undefined }
  | { type: "alerts"; alarms: Alarms; notifications: NotificationRecord[] | undefined; silences: SilenceRecord[] }
  | { type: "alerts-unread"; problem: string }
  | { type: "tasks"; tasks: Task[] }
  | { type: "tasks-unread"; problem: string };

/** Events kept on the page. */
export const EVENTS = 50;

export const INITIAL: State = {
  session: undefined,
  loginNote: undefined,
  link: "connecting",
  sites: [],
  site: undefined,
  live: undefined,
  received: undefined,
  chart: undefined,
  forecasts: [],
  events: [],
  problem: undefined,
  alerts: { known: undefined, problem: undefined, notifications: undefined, silences: [], announcement: "" },
  tasks: { known: [], problem: undefined },
};

export function reduce(state: State, message: Message): State {
  switch (message.type) {
    case "logged-in":
      return { ...state, session: message.session, loginNote: undefined };
    case "logged-out":
      // Nothing of the installation stays on a page whose reader may not see it.
      return { ...INITIAL, session: null, loginNote: message.note };
    case "sites":
      return { ...state, sites: message.sites };
    case "site":
      if (message.site === state.site) return state;
      return { ...state, site: message.site, live: undefined, chart: undefined, forecasts: [], problem: undefined };
    case "connected":
      return { ...state, link: "live", received: message.at, problem: undefined };
    case "alive":
      return { ...state, received: message.at };
    case "lost":
      return state.link === "lost" ? state : { ...state, link: "lost" };
    case "live":
      if (message.live.site !== state.site) return state;
      return { ...state, live: newer(state.live, message.live), received: message.at };
    case "chart":
      return message.chart.site === state.site ? { ...state, chart: message.chart } : state;
    case "forecasts":
      return message.forecasts.site === state.site ? { ...state, forecasts: message.forecasts.series } : state;
    case "events":
      return { ...state, events: merge(state.events, message.events) };
    case "problem":
      return { ...state, problem: message.problem };
    case "alerts":
    case "alerts-unread":
      // An answer that comes after the logout is not for this reader any more.
      return state.session ? { ...state, alerts: alertsAfter(state.alerts, message) } : state;
    case "tasks":
      return state.session ? { ...state, tasks: { known: message.tasks, problem: undefined } } : state;
    case "tasks-unread":
      return state.session ? { ...state, tasks: { ...state.tasks, problem: message.problem } } : state;
  }
}

function alertsAfter(known: AlertState, message: Message & { type: "alerts" | "alerts-unread" }): AlertState {
  if (message.type === "alerts-unread") return { ...known, problem: message.problem };
  const { alarms, notifications, silences } = message;
  const said = announcement(known.known, alarms) ?? known.announcement;
  return { known: alarms, problem: undefined, notifications, silences, announcement: said };
}

/** An answer that was overtaken by the stream does not set the page back; a restarted site may. */
function newer(known: SiteLive | undefined, next: SiteLive): SiteLive {
  const overtaken = known !== undefined && next.tick < known.tick && next.tick > known.tick - 10;
  return overtaken ? known : next;
}

/** Newest first, bounded; an event that happened again comes with a new id and a higher count, and replaces itself. */
function merge(known: EventRecord[], more: EventRecord[]): EventRecord[] {
  const what = (event: EventRecord) => JSON.stringify([event.kind, event.name, event.type, event.reason, event.message]);
  const oldestFirst = [...known, ...more].sort((a, b) => a.id - b.id);
  const latest = new Map(oldestFirst.map((event) => [what(event), event]));
  return [...latest.values()].sort((a, b) => b.id - a.id).slice(0, EVENTS);
}

/** The chart is read again when a step was completed or a new plan was made. */
export function chartKey(live: SiteLive | undefined): string {
  if (!live) return "";
  const step = Math.floor(Date.parse(live.time) / 1000 / Math.max(1, live.step_seconds));
  return `${live.site} ${step} ${live.plan?.made_at ?? ""}`;
}
