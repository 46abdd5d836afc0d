import { describe, expect, it } from "vitest";
import type { EventRecord } from "./contract";
import { sample } from "./sample";
import { chartKey, EVENTS, INITIAL, reduce, type Message, type State } from "./state";

const viewer = { name: "eva", role: "viewer" } as const;
const event = (id: number, count = 1): EventRecord => ({
  id, count, time: "2016-08-01T00:00:00-08:00", type: "Normal", reason: "Started", kind: "Service", name: "x", message: `replica ${String(id)}`,
});
const onSite = (): State => reduce(reduce(INITIAL, { type: "logged-in", session: viewer }), { type: "site", site: "fontana" });

describe("state", () => {
  it("keeps the last data when the connection is lost, and says so", () => {
    let state = reduce(onSite(), { type: "live", live: sample(), at: 1000 });
    state = reduce(state, { type: "lost" });
    expect(state.link).toBe("lost");
    expect(state.live?.tick).toBe(sample().tick);
    expect(state.received).toBe(1000);
    expect(reduce(state, { type: "connected", at: 2000 }).link).toBe("live");
  });

  it("forgets everything on logout", () => {
    const state = reduce(onSite(), { type: "live", live: sample(), at: 1000 });
    const out = reduce(state, { type: "logged-out", note: "the token was revoked" });
    expect(out).toEqual({ ...INITIAL, session: null, loginNote: "the token was revoked" });
  });

  it("is not set back by an answer that the stream overtook, but follows a restarted site", () => {
    const tick = (n: number) => ({ ...sample(), tick: n });
    let state = reduce(onSite(), { type: "live", live: tick(100), at: 1 });
    state = reduce(state, { type: "live", live: tick(99), at: 2 });
    expect(state.live?.tick).toBe(100);
    state = reduce(state, { type: "live", live: tick(3), at: 3 });
    expect(state.live?.tick).toBe(3);
  });

  it("ignores other sites", () => {
    const state = onSite();
    expect(reduce(state, { type: "live", live: { ...sample(), site: "other" }, at: 1 })).toBe(state);
  });

  it("shows each event once, newest first, and only so many", () => {
    let state = reduce(INITIAL, { type: "events", events: [event(1), event(2)] });
    state = reduce(state, { type: "events", events: [{ ...event(4, 7), message: event(2).message }, event(3)] });
    expect(state.events.map((e) => [e.id, e.count])).toEqual([[4, 7], [3, 1], [1, 1]]);
    const many = Array.from({ length: 2 * EVENTS }, (_, id) => event(id));
    expect(reduce(state, { type: "events", events: many }).events).toHaveLength(EVENTS);
  });

  it("keeps the alerts when they cannot be read, says so, and takes none after the logout", () => {
    const alarms = { time: "2016-08-01T00:00:00Z", total: 0, alarms: [] };
    const read: Message = { type: "alerts", alarms, notifications: undefined, silences: [] };
    let state = reduce(onSite(), read);
    state = reduce(state, { type: "alerts-unread", problem: "the server does not answer" });
    expect([state.alerts.known, state.alerts.problem]).toEqual([alarms, "the server does not answer"]);
    expect(reduce(state, read).alerts.problem).toBeUndefined();
    const out = reduce(state, { type: "logged-out" });
    expect(out.alerts.known).toBeUndefined();
    expect(reduce(out, read)).toBe(out);
  });

  it("asks for the chart again after a step or a new plan, not after each tick", () => {
    const live = sample();
    const later = (time: string) => chartKey({ ...live, time });
    expect(later("2016-08-01T14:05:10-08:00")).toBe(later("2016-08-01T14:59:59-08:00"));
    expect(later("2016-08-01T14:05:10-08:00")).not.toBe(later("2016-08-01T15:00:00-08:00"));
    expect(chartKey({ ...live, plan: null })).not.toBe(chartKey(live));
  });
});
