// What flows through feeders and may flow, and what charges have come to.

import type { ChargeLive, FeederLive, SiteLive } from "../../contract";
import { kw, money, number } from "../../format";
import { Value } from "../../parts/value";

function Feeder({ feeder }: { feeder: FeederLive }) {
  const { power_kw: power, import_limit_kw: most, export_limit_kw: out, over_limit_kw: over } = feeder.connection;
  return (
    <tr role="row">
      <th role="rowheader" scope="row">{feeder.name} <span class="kind">feeder</span></th>
      <td role="cell"><Value field={`feeders.${feeder.name}.connection.power_kw`} value={power} text={kw(power)} /></td>
      <td role="cell">{most === undefined ? "no limit" : `in ${kw(most)}`}{out === undefined ? "" : `, out ${kw(out)}`}</td>
      <td role="cell">{over > 0 ? `${kw(over)} over the limit` : ""}</td>
    </tr>
  );
}

function Charge({ charge, currency }: { charge: ChargeLive; currency: string }) {
  const { so_far: soFar, cost } = charge;
  return (
    <tr role="row">
      <th role="rowheader" scope="row">{charge.name} <span class="kind">charge{charge.feeder === undefined ? "" : ` of ${charge.feeder}`}</span></th>
      <td role="cell"><Value field={`charges.${charge.name}.so_far`} value={soFar.actual} text={`${number(soFar.actual, 2)} ${charge.unit}`} /></td>
      <td role="cell">{`without control ${number(soFar.baseline, 2)} ${charge.unit}`}</td>
      <td role="cell">{`${money(cost.actual, currency)}, without control ${money(cost.baseline, currency)}`}</td>
    </tr>
  );
}

export function Metered({ live }: { live: SiteLive }) {
  return (
    <table role="table" class="assets" aria-labelledby="metered-title">
      <thead role="rowgroup">
        <tr role="row">
          {["Meter", "Now or so far", "Limit", "Paid"].map((name) => <th role="columnheader" scope="col" key={name}>{name}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {live.feeders.map((feeder) => <Feeder feeder={feeder} key={feeder.name} />)}
        {live.charges.map((charge) => <Charge charge={charge} currency={live.currency} key={charge.name} />)}
      </tbody>
    </table>
  );
}
