import { describe, expect, it } from "vitest";
import type { SeriesForecast, SiteChart } from "./contract";
import { fanColumns, powerColumns, storageColumns } from "./series";

const point = (hour: number, grid_kw: number | null, soc: number | null = null) => ({
  time: `2016-08-01T0${hour}:00:00Z`, grid_kw, planned_grid_kw: 1, solar_kw: 0, load_kw: 0, soc, price_per_kwh: 0.2,
});
const chart: SiteChart = {
  site: "x",
  step_seconds: 3600,
  actual: [point(1, 5, 0.5), point(2, null, 0.6)],
  plan: [{ time: "2016-08-01T03:00:00Z", seconds: 7200, grid_kw: 7, soc: 0.8, price_per_kwh: 0.5 }],
};
const t = (hour: number) => Date.UTC(2016, 7, 1, hour) / 1000;

describe("series", () => {
  it("keep a gap a gap and give every step its own length", () => {
    const columns = powerColumns(chart, 20);
    expect(columns.time).toEqual([t(1), t(2) - 1, t(2), t(3) - 1, t(3), t(5) - 1]);
    expect(columns.actual).toEqual([5, 5, null, null, null, null]);
    expect(columns.planned).toEqual([1, 1, 1, 1, 7, 7]);
    expect(columns.price).toEqual([0.2, 0.2, 0.2, 0.2, 0.5, 0.5]);
    expect(columns.limit).toEqual([20, 20, 20, 20, 20, 20]);
  });
  it("draw the state of charge at the end of a step and join plan to measurement", () => {
    const columns = storageColumns(chart);
    expect(columns.time).toEqual([t(2), t(3), t(5)]);
    expect(columns.actual).toEqual([50, 60, null]);
    expect(columns.planned).toEqual([null, 60, 80]);
  });
  it("are empty for an empty chart and drop times that cannot be read", () => {
    const empty = { ...chart, actual: [], plan: [] };
    expect(powerColumns(empty, undefined).time).toEqual([]);
    expect(storageColumns(empty).time).toEqual([]);
    expect(powerColumns({ ...empty, plan: [{ time: "?", seconds: 3600, grid_kw: 1, soc: 1, price_per_kwh: 1 }] }, 1).time).toEqual([]);
  });
});

describe("a fan", () => {
  const time = (hour: number) => `2016-08-01T0${hour}:00:00Z`;
  const series: SeriesForecast = {
    name: "home-1-load", type: "load", unit: "kW", step_seconds: 3600, method: "profile", because: "", issued_at: time(4),
    steps: [{ valid_at: time(4), mean: -2, quantiles: [{ q: 0.1, value: -3 }, { q: 0.9, value: -1 }] }],
    actual: [{ time: time(1), value: -1 }, { time: time(3), value: -0 }],
    accuracy: [], drifting: false,
  };
  it("shows a load as consumption, a missing step as a gap, and the band on its right sides", () => {
    const fan = fanColumns(series);
    expect(fan.time).toEqual([t(1), t(2) - 1, t(2), t(3), t(4) - 1, t(4), t(5) - 1]);
    expect(fan.actual).toEqual([1, 1, null, 0, 0, null, null]);
    expect(fan.mean).toEqual([null, null, null, null, null, 2, 2]);
    expect([fan.low.at(-1), fan.high.at(-1)]).toEqual([1, 3]);
  });
  it("keeps the sign of all else and is empty without steps", () => {
    expect(fanColumns({ ...series, type: "solar", actual: [{ time: time(1), value: 2 }] }).actual[0]).toBe(2);
    expect(fanColumns({ ...series, steps: [], actual: [] }).time).toEqual([]);
  });
});
