// Plan against actual: exchange with the grid with limit and price, and the state of charge.

import { useMemo } from "preact/hooks";
import type uPlot from "uplot";
import type { SiteChart, SiteLive } from "../../contract";
import { clock, kw, number, offsetSeconds, percent, seconds } from "../../format";
import { axis, AXIS, clockOptions, CURSOR, nowLine, timeAxis } from "../../parts/axes";
import { Plot, type Colours } from "../../parts/plot";
import { powerColumns, storageColumns } from "../../series";

export function Charts({ chart, live }: { chart: SiteChart; live: SiteLive }) {
  const limit = live.connection.import_limit_kw;
  const offset = offsetSeconds(live.time);
  const last = chart.actual.at(-1);
  // The plan begins where the measured steps end.
  const now = last ? seconds(last.time) + chart.step_seconds : seconds(live.time);
  const times = useMemo(() => ({ offset, now }), [offset, now]);
  const power = useMemo(() => powerColumns(chart, limit), [chart, limit]);
  const storage = useMemo(() => storageColumns(chart), [chart]);
  const span: [number, number] = useMemo(() => [power.time[0] ?? 0, power.time.at(-1) ?? 1], [power]);

  const powerOptions = useMemo(() => (c: Colours): Omit<uPlot.Options, "width" | "height"> => ({
    plugins: [clockOptions(times), nowLine(c)],
    cursor: CURSOR,
    legend: { show: false },
    scales: {
      x: { time: true, range: span },
      price: { range: (_u, _min, max) => [0, Math.max(0.01, max * 1.15)] },
    },
    axes: [
      timeAxis(c),
      axis(c, { size: AXIS, values: (_u, ticks) => ticks.map((v) => number(v, Number.isInteger(v) ? 0 : 1)) }),
      axis(c, { side: 1, scale: "price", size: AXIS, grid: { show: false }, values: (_u, ticks) => ticks.map((v) => number(v, 2)) }),
    ],
    series: [
      {},
      { stroke: c.amber, width: 1.5, scale: "price", points: { show: false } },
      { stroke: c.blue, fill: `${c.blue}22`, width: 2, points: { show: false } },
      { stroke: c.grey, width: 2, dash: [6, 4], points: { show: false } },
      { stroke: c.red, width: 1.5, dash: [3, 3], points: { show: false } },
    ],
  }), [times, span]);

  const storageOptions = useMemo(() => (c: Colours): Omit<uPlot.Options, "width" | "height"> => ({
    plugins: [clockOptions(times), nowLine(c)],
    cursor: CURSOR,
    legend: { show: false },
    scales: { x: { time: true, range: span }, y: { range: [0, 100] } },
    axes: [
      timeAxis(c),
      axis(c, { size: AXIS, incrs: [25, 50], values: (_u, ticks) => ticks.map((v) => number(v, 0)) }),
      axis(c, { side: 1, size: AXIS, grid: { show: false }, ticks: { show: false }, values: (_u, ticks) => ticks.map(() => "") }),
    ],
    series: [
      {},
      { stroke: c.green, fill: `${c.green}22`, width: 2, points: { show: false } },
      { stroke: c.grey, width: 2, dash: [6, 4], points: { show: false } },
    ],
  }), [times, span]);

  const powerData = useMemo((): uPlot.AlignedData => [power.time, power.price, power.actual, power.planned, power.limit], [power]);
  const storageData = useMemo((): uPlot.AlignedData => [storage.time, storage.actual, storage.planned], [storage]);
  const planned = chart.plan.map((step) => step.grid_kw);
  const summary = `Exchange with the grid until ${clock(live.time)}: now ${kw(live.connection.power_kw)}, limit ${kw(limit)}. ` +
    (planned.length > 0 ? `Planned ahead between ${kw(Math.min(...planned))} and ${kw(Math.max(...planned))}.` : "No plan yet.");

  return (
    <>
      <h3>Grid exchange <span class="unit">kW, import above zero</span> <span class="unit right">{live.currency}/kWh</span></h3>
      <Plot options={powerOptions} data={powerData} height={250} label={summary} />
      <ul class="legend" aria-hidden="true">
        <li class="k-blue">measured</li>
        <li class="k-plan dashed">planned</li>
        {limit === undefined ? null : <li class="k-red dashed">import limit {kw(limit)}</li>}
        <li class="k-amber">price (right)</li>
      </ul>
      <h3>Stored in batteries <span class="unit">% of capacity</span></h3>
      <Plot options={storageOptions} data={storageData} height={125} label={`State of charge of all batteries: ${percent(live.soc)} now.`} />
      <ul class="legend" aria-hidden="true">
        <li class="k-green">measured</li>
        <li class="k-plan dashed">planned</li>
      </ul>
    </>
  );
}
