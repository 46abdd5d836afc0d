// Work of workflows that may wait for cheap and clean power: when it runs, why, and what that saves.

import type { SiteLive, WorkLive } from "../../contract";
import { clock, dayAndClock, mass, money, number, UNKNOWN } from "../../format";
import { Badge } from "../../parts/badge";
import { Value } from "../../parts/value";

/** Waits until it begins; what may pause has begun and waits for more. */
export function standing(work: WorkLive): "Running" | "Paused" | "Waiting" {
  if (work.running) return "Running";
  return work.left_kwh < work.energy_kwh ? "Paused" : "Waiting";
}

/** Today's times are known by their hour. */
function when(time: string, now: string): string {
  return time.slice(0, 10) === now.slice(0, 10) ? clock(time) : dayAndClock(time);
}

function Saves({ work, currency }: { work: WorkLive; currency: string }) {
  if (work.saves === undefined) return <>{UNKNOWN}</>;
  return (
    <>
      <Value field={`work.${work.name}.saves`} value={work.saves} text={money(work.saves, currency)} />
      {", "}
      <Value field={`work.${work.name}.saves_kg`} value={work.saves_kg} text={`${mass(work.saves_kg)} CO2`} />
    </>
  );
}

export function Work({ live }: { live: SiteLive }) {
  return (
    <table role="table" class="metered work" aria-labelledby="work-title">
      <thead role="rowgroup">
        <tr role="row">
          {["Run", "Now", "Begins, has to be done", "Energy left", "Saves"].map((name) => <th role="columnheader" scope="col" key={name}>{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {live.work.map((work) => (
          <tr role="row" key={work.name}>
            <th role="rowheader" scope="row">
              {work.name} <span class="kind">of {work.workflow}</span>
              <span class="note below" data-field={`work.${work.name}.because`}>{work.because}</span>
            </th>
            <td role="cell" class="now"><Badge tone={work.running ? "good" : "idle"} text={standing(work)} field={`work.${work.name}.running`} /></td>
            <td role="cell" class="times">{work.planned === undefined ? UNKNOWN : when(work.planned, live.time)}, by {when(work.deadline, live.time)}</td>
            <td role="cell" class="left">
              <Value field={`work.${work.name}.left_kwh`} value={work.left_kwh} text={number(work.left_kwh, 2)} /> of {number(work.energy_kwh, 2)} kWh
            </td>
            <td role="cell" class="saves"><Saves work={work} currency={live.currency} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
