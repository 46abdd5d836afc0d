// Alerts as people read them. Pure; every text of an alert comes from others and is only ever shown as text.

import type { Alarm, AlarmTold, Alarms, NotificationRecord, SilenceRequest } from "./contract";
import type { Tone } from "./parts/badge";
import { dayAndClock, offsetSeconds } from "./format";

/** The clocks that an alert can follow, RFC 3339: rules over what sites measure follow the site's. */
export interface Clocks {
  /** Of the server, when it answered. */
  wall: string;
  /** Of the site that is shown. */
  site: string | undefined;
}

const TONES: Record<string, Tone> = {
  emergency: "bad", critical: "bad", crit: "bad", page: "bad", error: "bad", high: "bad",
  warning: "warn", warn: "warn", medium: "warn",
  info: "idle", information: "idle", notice: "idle", low: "idle", none: "idle",
};

/** A severity that is not known is taken for a warning. */
export function severityTone(severity: string): Tone {
  return Object.hasOwn(TONES, severity.toLowerCase()) ? (TONES[severity.toLowerCase()] ?? "warn") : "warn";
}

export function severityWord(severity: string): string {
  return severity === "" ? "no severity" : short(severity, 40);
}

/** At most `most` UTF-16 units, never half a character; what is cut says so. */
export function short(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, "")}…`;
}

const WORST: Tone[] = ["bad", "warn", "idle", "good"];

export interface Sorted {
  /** They fire, the worst first, then the newest. */
  firing: Alarm[];
  /** They fire, and a silence or a graver alert says that nobody needs to look. */
  muted: Alarm[];
  pending: Alarm[];
}

/** Quiet hours spare people's sleep, they make nothing less wrong: such an alert stays in sight. */
function setAside(alarm: Alarm): boolean {
  return alarm.muted !== undefined && alarm.muted.by !== "quiet hours";
}

export function sorted(alarms: Alarm[]): Sorted {
  const rank = (alarm: Alarm) => WORST.indexOf(severityTone(alarm.severity));
  // The server sends the newest first; sorting keeps that order among equals.
  const all = alarms.toSorted((a, b) => rank(a) - rank(b));
  const firing = all.filter((alarm) => alarm.state === "firing");
  return {
    firing: firing.filter((alarm) => !setAside(alarm)),
    muted: firing.filter(setAside),
    pending: all.filter((alarm) => alarm.state !== "firing"),
  };
}

/** Firing alerts that are not set aside: the number in the header and in the title. */
export function firingCount(alarms: Alarms | undefined): number {
  return alarms === undefined ? 0 : sorted(alarms.alarms).firing.length;
}

export function pageTitle(alarms: Alarms | undefined): string {
  const count = firingCount(alarms);
  return count === 0 ? "SOS" : `(${count}) SOS`;
}

export function countWords(count: number): string {
  return count === 1 ? "1 alert" : `${count} alerts`;
}

/** What people should know, in one sentence. */
export function summary(alarm: Alarm): string {
  const { annotations } = alarm;
  return short(annotations["summary"] ?? annotations["description"] ?? annotations["message"] ?? "", 400);
}

/** Where it is, best first; what stands for a place in metrics of others comes after the project's own words. */
const PLACES = ["site", "service", "asset", "notifier", "job", "instance"];
const NO_PLACE = new Set(["alertname", "severity"]);
const SHOWN_LABELS = 4;

/** The labels that tell one alert from another of its name. */
export function mainLabels(alarm: Alarm): [string, string][] {
  const rank = (name: string) => (PLACES.includes(name) ? PLACES.indexOf(name) : PLACES.length);
  return Object.entries(alarm.labels)
    .filter(([name]) => !NO_PLACE.has(name))
    .sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b))
    .slice(0, SHOWN_LABELS);
}

/** Whole minutes, hours and days: "3 h 5 min". */
export function durationWords(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (!(minutes >= 1)) return "less than a minute";
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60), minutes % 60];
  const part = (n: number, unit: string) => (n === 0 ? "" : ` ${n} ${unit}`);
  return `${part(days, "d")}${part(hours, "h")}${days > 0 ? "" : part(rest, "min")}`.trim();
}

/** Answer and site are not read at the same moment. */
const SLACK_S = 60;

/**
 * How long ago `time` was. The answer does not say which clock an alert follows; a time cannot be later than its own
 * clock, and of two clocks that it may follow the one that it is nearer to is its own.
 */
export function age(time: string, clocks: Clocks): { seconds: number; clock: "wall" | "site" } | undefined {
  const since = (clock: "wall" | "site") => ({ clock, seconds: (Date.parse(clocks[clock] ?? "") - Date.parse(time)) / 1000 });
  const possible = [since("wall"), since("site")].filter(({ seconds }) => seconds >= -SLACK_S).sort((a, b) => a.seconds - b.seconds);
  const nearest = possible[0];
  return nearest && { clock: nearest.clock, seconds: Math.max(0, nearest.seconds) };
}

/** "13:00" of today, else "Mon, 1 Aug 2016, 13:00"; on the clock of the site, in UTC where no site is shown. */
export function exactTime(time: string, clocks: Clocks, clock: "wall" | "site" = "wall"): string {
  const [at, now] = [time, clocks[clock] ?? clocks.wall].map((one) => dayAndClock(atSite(one, clocks)));
  const [day, today] = [at, now].map((text) => text?.slice(0, -7));
  return `${day === today ? (at?.slice(-5) ?? "") : at}${clocks.site === undefined ? " UTC" : ""}`;
}

function atSite(time: string, clocks: Clocks): string | undefined {
  const at = Date.parse(time);
  return Number.isNaN(at) ? undefined : new Date(at + offsetSeconds(clocks.site ?? "") * 1000).toISOString();
}

/** A site that lives at another time than the server: times of the server's clock say so. */
export function wallNote(clocks: Clocks): string {
  const apart = Math.abs(Date.parse(clocks.wall) - Date.parse(clocks.site ?? clocks.wall));
  return apart > 5 * 60_000 ? " (wall clock)" : "";
}

/** Why nobody is told: "silenced until …". */
export function mutedWords(alarm: Alarm, clocks: Clocks): string | undefined {
  if (alarm.muted === undefined) return undefined;
  const { by, what, until } = alarm.muted;
  const end = until === undefined ? "" : ` until ${exactTime(until, clocks)}${wallNote(clocks)}`;
  if (by === "silence") return `silenced${end}`;
  if (by === "quiet hours") return `nobody is told in quiet hours${end}`;
  if (by === "inhibition") return `muted as long as ${short(alertOf(what), 80)} fires`;
  return `muted by ${short(by, 40)}${end}`;
}

/** `{alertname="X", …}` is the alert X. */
function alertOf(labels: string): string {
  return /\balertname="((?:[^"\\]|\\.)+)"/.exec(labels)?.[1] ?? labels;
}

export function toldWords(told: AlarmTold, clocks: Clocks): string {
  const name = short(told.notifier, 60);
  const at = `${exactTime(told.at, clocks)}${wallNote(clocks)}`;
  if (told.state === "delivered") return `${name} told ${at}`;
  if (told.state === "failed") return `${name} not told: given up ${at}`;
  return `${name} not told yet: waiting since ${at}`;
}

export interface Link {
  href: string;
  /** Name of the other server; left out for this one. */
  host?: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Where the runbook is: a page of this server (by name, by path, or by an address that this server gave itself), or one
 * of another server over HTTP. Anything else, `javascript:` first, is no link.
 */
export function runbookLink(alarm: Alarm, origin: string): Link | undefined {
  const text = (alarm.runbook ?? "").trim();
  const name = alarm.annotations["runbook"] ?? "";
  // The server writes its own address, which may not be the one that this browser reaches it by.
  const own = NAME.test(name) && text.endsWith(`/runbooks/${name}`);
  if (own) return { href: `/runbooks/${name}` };
  if (NAME.test(text)) return { href: `/runbooks/${text}` };
  if (!/^(?:\/|https?:\/\/)/i.test(text) || !URL.canParse(text, origin)) return undefined;
  const url = new URL(text, origin);
  // A name before the host makes an address look like another one.
  if (url.username !== "" || url.password !== "") return undefined;
  if (url.origin === origin) return { href: url.href };
  return text.startsWith("/") ? undefined : { href: url.href, host: url.host };
}

export const DURATIONS: [string, string][] = [["1h", "1 hour"], ["4h", "4 hours"], ["1d", "1 day"]];

/** A silence for what carries these labels; names that no matcher can hold are left out. */
export function silenceRequest(labels: [string, string][], duration: string, comment: string): SilenceRequest {
  const matchers = labels.filter(([name]) => isMatchable(name)).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return { matchers, duration, comment: comment.trim() };
}

export function isMatchable(label: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(label);
}

/** What a person must still do before a silence can be asked for. */
export function silenceMissing(labels: [string, string][], comment: string): string | undefined {
  if (labels.length === 0) return "Choose at least one label.";
  return comment.trim() === "" ? "Say why: others will want to know." : undefined;
}

const MARKED = (alarm: Alarm) => `${alarm.fingerprint} ${alarm.since}`;

/** What is said aloud when the alerts changed; nothing when none began and some still fire. */
export function announcement(before: Alarms | undefined, after: Alarms): string | undefined {
  const { firing } = sorted(after.alarms);
  const known = new Set(before === undefined ? [] : sorted(before.alarms).firing.map(MARKED));
  const [first, ...more] = firing.filter((alarm) => !known.has(MARKED(alarm)));
  if (first === undefined) return firing.length === 0 && known.size > 0 ? "No alert fires any more." : undefined;
  if (before === undefined) return `${countWords(firing.length)} firing.`;
  const rest = more.length === 0 ? "" : `, and ${more.length} more`;
  return `New alert, ${severityWord(first.severity)}: ${short(first.name, 80)}. ${short(summary(first), 160)}${rest}`;
}

/** A notification that waits longer than this did not get through at once. */
const LONG_MS = 2 * 60_000;
/** What was given up longer ago than this is history. */
const RECENT_MS = 24 * 3_600_000;

/** Whether people are not told as they should be, in one sentence. */
export function deliveryProblem(all: NotificationRecord[], wall: string): string | undefined {
  const now = Date.parse(wall);
  const failed = all.filter((one) => one.state === "failed" && now - Date.parse(one.endedAt ?? one.at) <= RECENT_MS);
  const waiting = all.filter((one) => one.state === "waiting" && now - Date.parse(one.at) > LONG_MS);
  const parts = [part(failed, "could not be delivered in the last 24 hours"), part(waiting, "not delivered yet")];
  const told = parts.filter((text) => text !== undefined);
  return told.length === 0 ? undefined : `${told.join("; ")}.`;
}

function part(some: NotificationRecord[], what: string): string | undefined {
  if (some.length === 0) return undefined;
  const names = [...new Set(some.map((one) => short(one.notifier, 40)))].sort();
  const to = names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
  const error = some.find((one) => one.error !== undefined && one.error !== "")?.error;
  const why = error === undefined ? "" : ` (${short(error, 120)})`;
  return `${some.length === 1 ? "1 notification" : `${some.length} notifications`} to ${to} ${what}${why}`;
}
