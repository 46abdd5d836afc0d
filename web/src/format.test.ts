import { describe, expect, it } from "vitest";
import * as f from "./format";

describe("numbers", () => {
  it("show what is missing as missing, never as zero", () => {
    for (const missing of [null, undefined, NaN, Infinity]) {
      expect(f.kw(missing)).toBe("–");
      expect(f.money(missing, "USD")).toBe("–");
      expect(f.percent(missing)).toBe("–");
      expect(f.mass(missing)).toBe("–");
      expect(f.powerWords("battery", missing)).toBe("–");
    }
  });
  it("carry no sign when they round to zero", () => {
    expect(f.number(-0.001, 2)).toBe("0.00");
    expect(f.number(-1234.5, 1)).toBe("−1,234.5");
  });
  it("change decimals and units with size", () => {
    expect(f.kw(0.25)).toBe("0.25 kW");
    expect(f.kw(0.9951)).toBe("1.0 kW");
    expect(f.kw(12.34)).toBe("12.3 kW");
    expect(f.mass(12)).toBe("12.0 kg");
    expect(f.mass(4321)).toBe("4.32 t");
  });
  it("compare with nothing as unknown", () => {
    expect(f.share(1, 4)).toBe(0.25);
    expect(f.share(1, 0)).toBeNull();
  });
});

describe("power in words follows the sign rule", () => {
  it("above zero flows into the site", () => {
    expect(f.powerWords("battery", -1.5)).toBe("charging 1.5 kW");
    expect(f.powerWords("battery", 1.5)).toBe("discharging 1.5 kW");
    expect(f.powerWords("load", -2)).toBe("uses 2.0 kW");
    expect(f.powerWords("solar", 3.21)).toBe("generates 3.2 kW");
    expect(f.powerWords("wind", 3.21)).toBe("generates 3.2 kW");
    expect(f.powerWords("generator", 0)).toBe("at rest");
    expect(f.powerWords("heatPump", -1.2)).toBe("heats with 1.2 kW");
    expect(f.powerWords("something new", 3.21)).toBe("delivers 3.2 kW");
    expect(f.setpointWords("generator", 6)).toBe("generate 6.0 kW");
    expect(f.setpointWords("generator", 0)).toBe("rest");
    expect(f.powerWords("battery", -0.001)).toBe("idle");
    expect(f.gridWords(-4)).toBe("exporting 4.0 kW");
    expect(f.setpointWords("battery", -1.5)).toBe("charge 1.5 kW");
    expect(f.setpointWords("battery", 0)).toBe("hold 0 kW");
  });
});

describe("times", () => {
  it("are the site's clock, not the browser's", () => {
    expect(f.clock("2016-07-31T23:05:00-08:00")).toBe("23:05");
    expect(f.dayAndClock("2016-07-31T23:05:00-08:00")).toBe("Sun, 31 Jul 2016, 23:05");
    expect(f.offsetSeconds("2016-07-31T23:05:00-08:00")).toBe(-28800);
    expect(f.offsetSeconds("2016-07-31T23:05:00+05:30")).toBe(19800);
    expect(f.seconds("2016-07-31T23:00:00-08:00")).toBe(1470034800);
  });
  it("that cannot be read are unknown", () => {
    for (const bad of ["", "yesterday", "2016-13-45T00:00:00Z"]) expect(f.dayAndClock(bad)).toBe("–");
    expect(f.clock(undefined)).toBe("–");
  });
});
