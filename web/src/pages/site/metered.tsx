// What flows through feeders and may flow, and what charges have come to.

import type { ComponentChildren } from "preact";
import type { ChargeLive, FeederLive, SiteLive } from "../../contract";
import { gridWords, kw, money, number } from "../../format";
import { Value } from "../../parts/value";

function Feeder({ feeder }: { feeder: FeederLive }) {
  const { power_kw: power, import_limit_kw: most, export_limit_kw: out, over_limit_kw: over } = feeder.connection;
  return (
    <tr role="row">
      <th role="rowheader" scope="row">{feeder.name}</th>
      <td role="cell" class="now"><Value field={`feeders.${feeder.name}.connection.power_kw`} value={power} text={gridWords(power)} /></td>
      <td role="cell" class="limits">
        {most === undefined && out === undefined ? "no limit" : null}
        {most === undefined ? null : <>at most <Value field={`feeders.${feeder.name}.connection.import_limit_kw`} value={most} text={kw(most)} /> in</>}
        {most === undefined || out === undefined ? null : ", "}
        {out === undefined ? null : <>at most <Value field={`feeders.${feeder.name}.connection.export_limit_kw`} value={out} text={kw(out)} /> out</>}
        {over > 0 ? <strong class="bad-text"> · {kw(over)} over</strong> : null}
      </td>
    </tr>
  );
}

function Charge({ charge, currency }: { charge: ChargeLive; currency: string }) {
  const { so_far: soFar, cost } = charge;
  return (
    <tr role="row">
      <th role="rowheader" scope="row">{charge.name}{charge.feeder === undefined ? null : <> <span class="kind">at {charge.feeder}</span></>}</th>
      <td role="cell" class="now"><Value field={`charges.${charge.name}.so_far.actual`} value={soFar.actual} text={`${number(soFar.actual, 2)} ${charge.unit}`} /></td>
      <td role="cell" class="without">{`${number(soFar.baseline, 2)} ${charge.unit}`}</td>
      <td role="cell" class="paid">{`${money(cost.actual, currency)}, without control ${money(cost.baseline, currency)}`}</td>
    </tr>
  );
}

function Rows({ heads, titled, children }: { heads: string[]; titled: string; children: ComponentChildren }) {
  return (
    <table role="table" class="metered" aria-label={titled}>
      <thead role="rowgroup">
        <tr role="row">{heads.map((name) => <th role="columnheader" scope="col" key={name}>{name}</th>)}</tr>
      </thead>
      <tbody role="rowgroup">{children}</tbody>
    </table>
  );
}

export function Metered({ live }: { live: SiteLive }) {
  return (
    <>
      {live.feeders.length === 0 ? null : (
        <Rows titled="Feeders" heads={["Feeder", "Now", "Limits"]}>
          {live.feeders.map((feeder) => <Feeder feeder={feeder} key={feeder.name} />)}
        </Rows>
      )}
      {live.charges.length === 0 ? null : (
        <Rows titled="Charges" heads={["Charge", "So far", "Without control", "Paid since the start"]}>
          {live.charges.map((charge) => <Charge charge={charge} currency={live.currency} key={charge.name} />)}
        </Rows>
      )}
    </>
  );
}
