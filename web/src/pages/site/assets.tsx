// Homes and what is in them. The explicit roles keep the table a table where a phone shows its rows as cards.

import type { AssetLive } from "../../contract";
import { percent, powerWords, setpointWords } from "../../format";
import { Badge } from "../../parts/badge";
import { Meter } from "../../parts/meter";
import { Value } from "../../parts/value";

interface Group {
  name: string;
  assets: AssetLive[];
}

/** In the server's order; assets without a group come under the site's own heading. */
export function groups(assets: AssetLive[]): Group[] {
  const found = new Map<string, AssetLive[]>();
  for (const asset of assets) {
    const name = asset.group ?? "";
    const known = found.get(name);
    if (known) known.push(asset);
    else found.set(name, [asset]);
  }
  return [...found.entries()].map(([name, members]) => ({ name: name === "" ? "Shared" : name, assets: members }));
}

function Row({ asset }: { asset: AssetLive }) {
  const field = (name: string) => `assets.${asset.name}.${name}`;
  return (
    <tr role="row" class={asset.available ? "" : "off"}>
      <th role="rowheader" scope="row">
        {asset.name} <span class="kind">{asset.type}</span>
      </th>
      <td role="cell" class="power">
        <Value field={field("power_kw")} value={asset.power_kw} text={powerWords(asset.type, asset.power_kw)} />
        {asset.missing === undefined ? null : <span class="note"> ({asset.missing})</span>}
      </td>
      <td role="cell" class="soc">
        {asset.soc === undefined ? null : (
          <><Meter fill={asset.soc} /><Value field={field("soc")} value={asset.soc} text={percent(asset.soc)} /></>
        )}
      </td>
      <td role="cell" class={asset.setpoint_kw === undefined ? "setpoint none" : "setpoint"}>
        {asset.setpoint_kw === undefined ? <span class="note">{asset.mode === "control" ? "none yet" : `${asset.mode} only`}</span> : (
          <Value field={field("setpoint_kw")} value={asset.setpoint_kw} text={setpointWords(asset.type, asset.setpoint_kw)} />
        )}
      </td>
      <td role="cell" class="reason" data-field={field("reason")}>{asset.reason}</td>
      <td role="cell" class="state">
        <Badge tone={asset.available ? "good" : "bad"} text={asset.available ? "available" : "unavailable"} />
      </td>
    </tr>
  );
}

export function Assets({ assets }: { assets: AssetLive[] }) {
  if (assets.length === 0) return <p class="empty">This site has no assets yet.</p>;
  return (
    <table role="table" class="assets" aria-labelledby="assets-title">
      <thead role="rowgroup">
        <tr role="row">
          {["Asset", "Power now", "Stored", "Set-point", "Why", "State"].map((name) => (
            <th role="columnheader" scope="col" key={name}>{name}</th>
          ))}
        </tr>
      </thead>
      {groups(assets).map((group) => (
        <tbody role="rowgroup" key={group.name}>
          <tr role="row" class="group">
            <th role="rowheader" scope="rowgroup" colSpan={6}>{group.name}</th>
          </tr>
          {group.assets.map((asset) => <Row asset={asset} key={asset.name} />)}
        </tbody>
      ))}
    </table>
  );
}
