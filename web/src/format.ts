// Numbers and times as people read them. What is not known is "–", never 0.

export const UNKNOWN = "–";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** A number with a fixed number of decimals and thousands in groups; a rounded zero has no sign. */
export function number(value: Maybe, decimals: number): string {
  if (!known(value)) return UNKNOWN;
  const text = value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return /^-[0.,]+$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

/** Magnitude in kW: two decimals below 1 kW, one above. */
export function kw(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  return `${number(value, Math.abs(value) < 0.995 ? 2 : 1)} kW`;
}

export function money(value: Maybe, currency: string): string {
  return known(value) ? `${number(value, 2)} ${currency}` : UNKNOWN;
}

/** 0…1 as percent. */
export function percent(value: Maybe): string {
  return known(value) ? `${number(value * 100, 0)} %` : UNKNOWN;
}

/** kg below a tonne, tonnes above. */
export function mass(kg: Maybe): string {
  if (!known(kg)) return UNKNOWN;
  return Math.abs(kg) < 1000 ? `${number(kg, 1)} kg` : `${number(kg / 1000, 2)} t`;
}

/** How much of `of` the `part` is, 0…1; unknown when there is nothing to compare with. */
export function share(part: Maybe, of: Maybe): number | null {
  return known(part) && known(of) && of > 0 ? part / of : null;
}

interface Words {
  positive: string;
  negative: string;
  idle: string;
}

const WORDS: Record<string, Words> = {
  battery: { positive: "discharging", negative: "charging", idle: "idle" },
  vehicle: { positive: "discharging", negative: "charging", idle: "not charging" },
  charger: { positive: "discharging", negative: "charging", idle: "not charging" },
  solar: { positive: "generates", negative: "uses", idle: "generates nothing" },
  wind: { positive: "generates", negative: "uses", idle: "generates nothing" },
  generator: { positive: "generates", negative: "uses", idle: "at rest" },
  heatPump: { positive: "delivers", negative: "heats with", idle: "not heating" },
  load: { positive: "delivers", negative: "uses", idle: "uses nothing" },
};
const ANY: Words = { positive: "delivers", negative: "uses", idle: "idle" };
const GRID: Words = { positive: "importing", negative: "exporting", idle: "balanced" };
const ISLAND: Words = { positive: "lacking", negative: "losing", idle: "in balance" };
/** What devices that measure in watts may be off together, kW. */
const ROUNDING = 0.01;

function inWords(value: Maybe, words: Words): string {
  if (!known(value)) return UNKNOWN;
  if (Math.abs(value) < 0.005) return words.idle;
  return `${value > 0 ? words.positive : words.negative} ${kw(Math.abs(value))}`;
}

/** The sign rule (above zero into the site) in people's words: "charging 1.5 kW", "uses 2.0 kW". */
export function powerWords(type: string, value: Maybe): string {
  return inWords(value, WORDS[type] ?? ANY);
}

export function gridWords(value: Maybe): string {
  return inWords(value, GRID);
}

/** What an island lacks or loses. */
export function islandWords(value: Maybe): string {
  return inWords(known(value) && Math.abs(value) <= ROUNDING ? 0 : value, ISLAND);
}

/** A set-point is an order, so its words are orders: "charge 1.5 kW". */
export function setpointWords(type: string, value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (Math.abs(value) < 0.005) return type === "generator" ? "rest" : "hold 0 kW";
  const storage = type === "battery" || type === "vehicle" || type === "charger";
  const given = type === "generator" ? "generate" : "deliver";
  const verb = storage ? (value > 0 ? "discharge" : "charge") : value > 0 ? given : "use";
  return `${verb} ${kw(Math.abs(value))}`;
}

/** `600` → "600 × real time". */
export function speedWords(speed: string): string {
  if (speed === "max") return "as fast as possible";
  return speed === "1" ? "real time" : `${speed} × real time`;
}

const TIME = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/;
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

/** The clock of the site, whatever the browser's zone is: "14:05". */
export function clock(time: string | undefined): string {
  return TIME.exec(time ?? "")?.[2] ?? UNKNOWN;
}

/** "Mon, 1 Aug 2016, 14:05" on the site's clock. */
export function dayAndClock(time: string | undefined): string {
  const match = TIME.exec(time ?? "");
  if (!match) return UNKNOWN;
  const day = new Date(`${match[1] ?? ""}T00:00:00Z`);
  return Number.isNaN(day.getTime()) ? UNKNOWN : `${DAY.format(day)}, ${match[2] ?? ""}`;
}

/** Seconds since 1970. */
export function seconds(time: string): number {
  return Date.parse(time) / 1000;
}

/** The site's offset from UTC in seconds. */
export function offsetSeconds(time: string): number {
  const zone = TIME.exec(time)?.[3];
  if (zone === undefined || zone === "Z") return 0;
  const [hours, minutes] = [zone.slice(1, 3), zone.slice(-2)];
  return (zone.startsWith("-") ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60);
}
