import { describe, expect, it } from "vitest";
import * as a from "./alerts";
import type { Alarm, Alarms, NotificationRecord } from "./contract";

const EVIL = "<img src=x onerror=alert(1)>";
const alarm = (more: Partial<Alarm> = {}): Alarm => ({
  fingerprint: "00000000000000aa", name: "HomeDown", state: "firing", since: "2016-08-02T21:00:00Z", severity: "warning",
  labels: { alertname: "HomeDown" }, annotations: {}, value: "1", told: [], ...more,
});
const alarms = (...some: Alarm[]): Alarms => ({ time: "2016-08-02T21:12:00Z", total: some.length, alarms: some });
const silenced = { by: "silence", what: "s1", until: "2016-08-02T22:00:00Z" };
const SITE = "2016-08-02T13:12:00-08:00";
const CLOCKS = { wall: "2016-08-02T21:12:00Z", site: SITE };

describe("severity", () => {
  it("has a tone for known words, and an unknown one is taken for a warning", () => {
    const tones = ["critical", "PAGE", "warning", "info", "", "sev-9", "constructor", "__proto__"].map(a.severityTone);
    expect(tones).toEqual(["bad", "bad", "warn", "idle", "warn", "warn", "warn", "warn"]);
  });
  it("is always a word too", () => {
    expect(a.severityWord("")).toBe("no severity");
    expect(a.severityWord("critical")).toBe("critical");
    expect(a.severityWord("x".repeat(500))).toHaveLength(40);
  });
});

describe("order", () => {
  it("puts the worst first and keeps the newest first among equals", () => {
    const of = (name: string, severity: string) => alarm({ name, severity });
    const { firing } = a.sorted([of("new", "info"), of("w1", "warning"), of("bad", "critical"), of("w2", "warning")]);
    expect(firing.map(({ name }) => name)).toEqual(["bad", "w1", "w2", "new"]);
  });
  it("sets aside what is silenced or inhibited and what is pending, but not what quiet hours keep quiet", () => {
    const all = a.sorted([
      alarm({ name: "open" }),
      alarm({ name: "silenced", muted: silenced }),
      alarm({ name: "inhibited", muted: { by: "inhibition", what: "{}" } }),
      alarm({ name: "night", muted: { by: "quiet hours", what: "" } }),
      alarm({ name: "pending", state: "pending" }),
    ]);
    const names = [all.firing, all.muted, all.pending].map((some) => some.map(({ name }) => name));
    expect(names).toEqual([["open", "night"], ["silenced", "inhibited"], ["pending"]]);
  });
  it("is counted in the title", () => {
    expect(a.pageTitle(undefined)).toBe("SOS");
    expect(a.pageTitle(alarms(alarm({ muted: silenced }), alarm({ state: "pending" })))).toBe("SOS");
    expect(a.pageTitle(alarms(alarm(), alarm(), alarm({ muted: silenced })))).toBe("(2) SOS");
  });
});

describe("texts", () => {
  it("stay text and are cut between characters", () => {
    expect(a.summary(alarm({ annotations: { summary: EVIL } }))).toBe(EVIL);
    expect(a.short("⚡⚡⚡", 3)).toBe("⚡⚡⚡");
    expect(a.short("🔋🔋🔋", 4)).toBe("🔋…");
    expect(a.short("🔋🔋🔋", 5)).toBe("🔋🔋…");
    expect(a.summary(alarm({ annotations: { summary: "x".repeat(100_000) } }))).toHaveLength(400);
    expect(a.summary(alarm({ annotations: { description: "d" } }))).toBe("d");
    expect(a.summary(alarm())).toBe("");
  });
  it("name the place first, and neither name nor severity again", () => {
    const labels = { alertname: "X", severity: "page", zone: "9", job: "j", asset: "a", site: "s", service: "v", instance: "i" };
    expect(a.mainLabels(alarm({ labels })).map(([name]) => name)).toEqual(["site", "service", "asset", "job"]);
  });
  it("say why nobody is told", () => {
    const words = (muted: Alarm["muted"]) => a.mutedWords(alarm(muted === undefined ? {} : { muted }), CLOCKS);
    expect(words(undefined)).toBeUndefined();
    expect(words(silenced)).toBe("silenced until 14:00");
    expect(words({ by: "quiet hours", what: "", until: "2016-08-03T14:00:00Z" })).toBe("nobody is told in quiet hours until Wed, 3 Aug 2016, 06:00");
    expect(words({ by: "inhibition", what: "{alertname=\"HomeDown\", home=\"x\"}" })).toBe("muted as long as HomeDown fires");
    expect(words({ by: "inhibition", what: "{home=\"x\"}" })).toBe("muted as long as {home=\"x\"} fires");
    expect(words({ by: "new way", what: "" })).toBe("muted by new way");
  });
  it("say who was told", () => {
    const words = (state: string) => a.toldWords({ notifier: "phone", at: "2016-08-02T21:05:00Z", state }, CLOCKS);
    expect(words("delivered")).toBe("phone told 13:05");
    expect(words("failed")).toBe("phone not told: given up 13:05");
    expect(words("waiting")).toBe("phone not told yet: waiting since 13:05");
  });
});

describe("times", () => {
  it("are told in the two largest units", () => {
    const words = [0, 59, 60, 3599, 3600, 3900, 86_400, 90_061, 8_640_000, NaN].map(a.durationWords);
    const expected = ["less than a minute", "less than a minute", "1 min", "59 min", "1 h", "1 h 5 min", "1 d", "1 d 1 h", "100 d"];
    expect(words).toEqual([...expected, "less than a minute"]);
  });
  it("are measured by the clock that the alert follows", () => {
    const apart = { wall: "2026-05-01T12:00:00Z", site: SITE };
    expect(a.age("2016-08-02T21:00:00Z", apart)).toEqual({ clock: "site", seconds: 720 });
    expect(a.age("2026-05-01T11:59:00Z", apart)).toEqual({ clock: "wall", seconds: 60 });
    expect(a.age("2026-05-01T11:59:00Z", { wall: apart.wall, site: undefined })).toEqual({ clock: "wall", seconds: 60 });
    // A site that is ahead of the server.
    expect(a.age("2030-01-01T00:00:00Z", { wall: apart.wall, site: "2030-01-01T02:00:00Z" })).toEqual({ clock: "site", seconds: 7200 });
    expect(a.age("2016-08-02T21:12:30Z", CLOCKS)?.seconds).toBe(0);
    expect(a.age("2031-01-01T00:00:00Z", CLOCKS)).toBeUndefined();
    expect(a.age("soon", CLOCKS)).toBeUndefined();
  });
  it("are shown on the site's clock, else in UTC, and what is no time is unknown", () => {
    expect(a.exactTime("2016-08-02T21:00:00Z", CLOCKS)).toBe("13:00");
    expect(a.exactTime("2016-08-02T07:59:00Z", CLOCKS)).toBe("Mon, 1 Aug 2016, 23:59");
    expect(a.exactTime("2016-08-02T21:00:00.5Z", { ...CLOCKS, site: undefined })).toBe("21:00 UTC");
    const apart = { wall: "2026-05-01T12:00:00Z", site: SITE };
    expect(a.exactTime("2016-08-02T21:00:00Z", apart, "site")).toBe("13:00");
    expect(a.exactTime("2016-08-02T21:00:00Z", apart)).toBe("Tue, 2 Aug 2016, 13:00");
    expect(a.exactTime("soon", CLOCKS)).toBe("–");
    expect(a.wallNote(CLOCKS)).toBe("");
    expect(a.wallNote({ ...CLOCKS, wall: "2026-05-01T12:00:00Z" })).toBe(" (wall clock)");
  });
});

describe("a runbook", () => {
  const ORIGIN = "http://sos.example:7600";
  const link = (runbook: string, annotations: Record<string, string> = {}) => a.runbookLink(alarm({ runbook, annotations }), ORIGIN);
  it("is a page of this server, by name, path or address", () => {
    expect(link("ServiceDown")).toEqual({ href: "/runbooks/ServiceDown" });
    expect(link("/runbooks/home-down")).toEqual({ href: `${ORIGIN}/runbooks/home-down` });
    expect(link(`${ORIGIN}/runbooks/x?y=1#z`)).toEqual({ href: `${ORIGIN}/runbooks/x?y=1#z` });
  });
  it("is reached the way the browser came, whatever address the server gave itself", () => {
    expect(link("http://127.0.0.1:7600/runbooks/ServiceDown", { runbook: "ServiceDown" })).toEqual({ href: "/runbooks/ServiceDown" });
  });
  it("may be a page of others, which is named", () => {
    expect(link("https://wiki.example.org/a")).toEqual({ href: "https://wiki.example.org/a", host: "wiki.example.org" });
  });
  it("is never anything that runs, pretends, or leaves by a trick", () => {
    const wrong = [
      "javascript:alert(1)", "JavaScript:alert(1)", "\tjavascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "blob:x",
      "file:///etc/passwd", "//evil.example/x", "/\\evil.example/x", "/\t/evil.example", "https://sos.example:7600@evil.example/", "http://", "",
      "two words", EVIL, "../x",
    ];
    for (const text of wrong) expect(link(text), text).toBeUndefined();
    // A path that would be another host when written alone.
    expect(link("/.//evil.example")).toEqual({ href: `${ORIGIN}//evil.example` });
    expect(a.runbookLink(alarm(), ORIGIN)).toBeUndefined();
  });
});

describe("a silence", () => {
  it("matches the labels exactly, whatever they hold", () => {
    const labels: [string, string][] = [["alertname", "X"], ["home", `a"b\\c\n${EVIL}`], ["not.a.name", "y"]];
    expect(a.silenceRequest(labels, "4h", "  works ")).toEqual({
      matchers: ["alertname=\"X\"", `home="a\\"b\\\\c\\n${EVIL}"`], duration: "4h", comment: "works",
    });
  });
  it("needs a reason and a label", () => {
    expect(a.silenceMissing([["a", "b"]], " ")).toContain("why");
    expect(a.silenceMissing([], "works")).toContain("label");
    expect(a.silenceMissing([["a", "b"]], "works")).toBeUndefined();
  });
});

describe("an announcement", () => {
  const other = alarm({ fingerprint: "bb", name: "Hot", severity: "critical", annotations: { summary: "too hot" } });
  it("tells how many fire at first, then what begins, then that nothing fires any more", () => {
    expect(a.announcement(undefined, alarms(alarm(), other))).toBe("2 alerts firing.");
    expect(a.announcement(undefined, alarms())).toBeUndefined();
    expect(a.announcement(alarms(alarm()), alarms(alarm(), other))).toBe("New alert, critical: Hot. too hot");
    expect(a.announcement(alarms(), alarms(alarm(), other))).toBe("New alert, critical: Hot. too hot, and 1 more");
    expect(a.announcement(alarms(alarm()), alarms(alarm()))).toBeUndefined();
    expect(a.announcement(alarms(alarm()), alarms(alarm({ since: "2016-08-02T21:09:00Z" })))).toContain("New alert");
    expect(a.announcement(alarms(alarm()), alarms(alarm({ muted: silenced })))).toBe("No alert fires any more.");
  });
});

describe("deliveries", () => {
  const NOW = "2016-08-02T21:12:00Z";
  const one = (more: Partial<NotificationRecord>): NotificationRecord => ({
    key: "k", notifier: "phone", reason: "first", at: "2016-08-02T21:00:00Z", state: "delivered", attempts: 1, alertCount: 1, alerts: [], ...more,
  });
  it("are no problem when they arrive, or have only just begun", () => {
    expect(a.deliveryProblem([], NOW)).toBeUndefined();
    expect(a.deliveryProblem([one({}), one({ state: "waiting", at: "2016-08-02T21:10:30Z", attempts: 3 })], NOW)).toBeUndefined();
  });
  it("that failed lately or wait long are told in one sentence, with whom and why", () => {
    const some = [
      one({ state: "waiting", error: `no answer${EVIL}` }),
      one({ state: "failed", notifier: "mail", endedAt: "2016-08-02T21:05:00Z", error: "mailbox full" }),
      one({ state: "failed", notifier: "old", endedAt: "2016-07-30T21:05:00Z", error: "?" }),
    ];
    expect(a.deliveryProblem(some, NOW)).toBe(
      `1 notification to mail could not be delivered in the last 24 hours (mailbox full); 1 notification to phone not delivered yet (no answer${EVIL}).`,
    );
    const many = ["a", "b", "c", "d", "e"].map((notifier) => one({ state: "waiting", notifier }));
    expect(a.deliveryProblem(many, NOW)).toBe("5 notifications to a, b, c and 2 more not delivered yet.");
  });
});
