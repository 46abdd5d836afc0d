// What is expected of one series, with its uncertainty, behind what was measured.

import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { SeriesForecast } from "../../contract";
import { clock, number, offsetSeconds, percent, seconds } from "../../format";
import { axis, AXIS, clockOptions, CURSOR, nowLine, timeAxis } from "../../parts/axes";
import { Plot, type Colours } from "../../parts/plot";
import { fanColumns } from "../../series";

/** What the values of a series are, in words. */
const WHAT: Record<string, string> = { load: "Consumption", solar: "Generation", need: "Need of the site", carbon: "Carbon intensity of import" };

function Accuracy({ series }: { series: SeriesForecast }) {
  if (series.accuracy.length === 0) return <p class="note">How good these forecasts are is known when the first of them have met what came.</p>;
  const digits = series.unit === "kW" ? 2 : 4;
  return (
    <table class="accuracy">
      <thead>
        <tr>
          <th scope="col">Ahead</th>
          <th scope="col" title="mean absolute error">Error ({series.unit})</th>
          <th scope="col" title="MASE: mean absolute error by that of the same time yesterday">By yesterday's</th>
          <th scope="col" title="values between the 10 % and the 90 % line; 80 % is right">Within the band</th>
        </tr>
      </thead>
      <tbody>
        {series.accuracy.map((row) => (
          <tr key={row.horizon}>
            <th scope="row">{row.horizon.replace("-", "–").replace("h", " h")}</th>
            <td>{number(row.mae, digits)}</td>
            <td>{number(row.mase, 2)}</td>
            <td>{percent(row.coverage)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Fan({ series }: { series: SeriesForecast }) {
  const offset = offsetSeconds(series.issued_at);
  const now = seconds(series.issued_at);
  const fan = useMemo(() => fanColumns(series), [series]);
  const from = fan.time[0] ?? now;
  const to = fan.time.at(-1) ?? now + 1;
  const digits = series.unit === "kW" ? 1 : 2;
  const options = useMemo(() => (c: Colours): Omit<uPlot.Options, "width" | "height"> => ({
    plugins: [clockOptions({ offset, now }), nowLine(c)],
    cursor: { ...CURSOR, sync: { key: "fan" } },
    legend: { show: false },
    scales: { x: { time: true, range: [from, to] }, y: { range: (_u, min, max) => [Math.min(0, min), Math.max(0.01, max * 1.08)] } },
    axes: [timeAxis(c), axis(c, { size: AXIS, values: (_u, ticks) => ticks.map((v) => number(v, Number.isInteger(v) ? 0 : digits)) })],
    series: [
      {},
      { stroke: c.blue, width: 2, points: { show: false } },
      { stroke: `${c.grey}66`, width: 1, points: { show: false } },
      { stroke: `${c.grey}66`, width: 1, points: { show: false } },
      { stroke: c.grey, width: 2, dash: [6, 4], points: { show: false } },
    ],
    bands: [{ series: [3, 2], fill: `${c.grey}2e` }],
  }), [offset, now, from, to, digits]);
  const data = useMemo((): uPlot.AlignedData => [fan.time, fan.actual, fan.low, fan.high, fan.mean], [fan]);
  const known = (column: (number | null)[]) => column.filter((value) => value !== null);
  const top = Math.max(0, ...known(fan.high));
  const label = `${series.name}: measured until ${clock(series.issued_at)}, then expected, at most ${number(top, digits)} ${series.unit} with a probability of 90 %.`;
  return <Plot options={options} data={data} height={200} label={label} />;
}

export function Forecasts({ all }: { all: SeriesForecast[] }) {
  const [chosen, choose] = useState<string | undefined>(undefined);
  const series = all.find((one) => one.name === chosen) ?? all.find((one) => one.type === "need") ?? all[0];
  if (!series) return <p class="empty">Forecasts appear with the first plan.</p>;
  return (
    <>
      <div class="choice">
        <select aria-label="Series" value={series.name} onChange={(event) => { choose(event.currentTarget.value); }}>
          {all.map((one) => <option value={one.name} key={one.name}>{one.name}{one.drifting ? " (drifting)" : ""}</option>)}
        </select>
        <p class="note">{`issued ${clock(series.issued_at)} by ${series.method}: ${series.because}`}</p>
      </div>
      {series.drifting
        ? <p class="banner info" role="note">{`Forecasts are off ${number(series.error_by_usual, 1)} times as much as usual.`}</p>
        : null}
      <h3>{WHAT[series.type] ?? series.type} <span class="unit">{series.unit}</span></h3>
      <Fan series={series} />
      <ul class="legend" aria-hidden="true">
        <li class="k-blue">measured</li>
        <li class="k-plan dashed">expected</li>
        <li class="k-band">10–90 %</li>
      </ul>
      <Accuracy series={series} />
    </>
  );
}
