// From the server's chart to columns for drawing. Power and price are means over the step that starts at their time and
// are drawn as steps; the state of charge holds at a step's end and is drawn there.

import type { SeriesForecast, SiteChart } from "./contract";
import { seconds } from "./format";

type Column = (number | null)[];

export interface PowerColumns {
  time: number[];
  actual: Column;
  planned: Column;
  limit: Column;
  price: Column;
}

export interface StorageColumns {
  time: number[];
  actual: Column;
  planned: Column;
}

export interface FanColumns {
  time: number[];
  actual: Column;
  mean: Column;
  low: Column;
  high: Column;
}

function finite(value: number | null | undefined): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

interface Row {
  /** Length in seconds. */
  length: number;
  actual: number | null;
  planned: number | null;
  price: number | null;
}

function rowAt(rows: Map<number, Row>, time: number, length: number): Row {
  const row = rows.get(time) ?? { length, actual: null, planned: null, price: null };
  rows.set(time, row);
  return row;
}

function sorted(rows: Map<number, Row>): [number, Row][] {
  return [...rows.entries()].filter(([time]) => Number.isFinite(time)).sort((a, b) => a[0] - b[0]);
}

/** Grid exchange measured and planned, the limit as a line, the price measured and then expected. */
export function powerColumns(chart: SiteChart, limitKw: number | undefined): PowerColumns {
  const rows = new Map<number, Row>();
  for (const point of chart.actual) {
    const row = rowAt(rows, seconds(point.time), chart.step_seconds);
    row.actual = finite(point.grid_kw);
    row.planned = finite(point.planned_grid_kw);
    row.price = finite(point.price_per_kwh);
  }
  for (const point of chart.plan) {
    const row = rowAt(rows, seconds(point.time), point.seconds);
    row.planned = finite(point.grid_kw);
    row.price ??= finite(point.price_per_kwh);
  }
  // Two points a step, so that the last step before a gap, and before now, has its length too.
  const all = sorted(rows).flatMap(([time, row]): [number, Row][] => [[time, row], [time + row.length - 1, row]]);
  return {
    time: all.map(([time]) => time),
    actual: all.map(([, row]) => row.actual),
    planned: all.map(([, row]) => row.planned),
    limit: all.map(() => finite(limitKw)),
    price: all.map(([, row]) => row.price),
  };
}

/** State of charge in percent, each value at the end of its step. */
export function storageColumns(chart: SiteChart): StorageColumns {
  const rows = new Map<number, Row>();
  const percent = (soc: number | null) => (finite(soc) === null ? null : (soc ?? 0) * 100);
  for (const point of chart.actual) {
    rowAt(rows, seconds(point.time) + chart.step_seconds, 0).actual = percent(point.soc);
  }
  const plan = chart.plan.map((point) => [seconds(point.time) + point.seconds, percent(point.soc)] as const);
  // The planned line starts where the measured one ends.
  const begin = Math.min(...plan.map(([time]) => time));
  const before = sorted(rows).filter(([time, row]) => time < begin && row.actual !== null).at(-1);
  if (before) rowAt(rows, before[0], 0).planned = before[1].actual;
  for (const [time, soc] of plan) rowAt(rows, time, 0).planned = soc;
  const all = sorted(rows);
  return {
    time: all.map(([time]) => time),
    actual: all.map(([, row]) => row.actual),
    planned: all.map(([, row]) => row.planned),
  };
}

/** A forecast with its band, behind what was measured; a load is shown as consumption, above zero. */
export function fanColumns(series: SeriesForecast): FanColumns {
  const sign = series.type === "load" ? -1 : 1;
  const empty = { actual: null, mean: null, low: null, high: null };
  const rows = new Map<number, Record<keyof typeof empty, number | null>>();
  const rowOf = (time: string) => {
    const row = rows.get(seconds(time)) ?? { ...empty };
    rows.set(seconds(time), row);
    return row;
  };
  const signed = (value: number) => (finite(value) === null ? null : value * sign + 0);
  for (const step of series.actual) rowOf(step.time).actual = signed(step.value);
  for (const step of series.steps) {
    const row = rowOf(step.valid_at);
    row.mean = signed(step.mean);
    const band = step.quantiles.map(({ value }) => value * sign).filter(Number.isFinite);
    row.low = band.length > 0 ? Math.min(...band) : null;
    row.high = band.length > 0 ? Math.max(...band) : null;
  }
  const sorted = [...rows.entries()].filter(([time]) => Number.isFinite(time)).sort((a, b) => a[0] - b[0]);
  // Two points a step, as above; a step without a row is a gap.
  const all = sorted.flatMap(([time, row], at) => {
    const end = time + series.step_seconds;
    const next = sorted[at + 1]?.[0];
    const gap: [number, typeof row][] = next !== undefined && next > end ? [[end, { ...empty }]] : [];
    return [[time, row] as [number, typeof row], [end - 1, row] as [number, typeof row], ...gap];
  });
  const column = (name: keyof typeof empty) => all.map(([, row]) => row[name]);
  return { time: all.map(([time]) => time), actual: column("actual"), mean: column("mean"), low: column("low"), high: column("high") };
}
