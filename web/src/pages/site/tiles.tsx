// The figures one wants first.

import type { ComponentChildren } from "preact";
import type { SiteLive } from "../../contract";
import { gridWords, islandWords, kw, mass, money, number, percent, powerWords, share } from "../../format";
import { Meter } from "../../parts/meter";
import { Value } from "../../parts/value";

function Tile({ name, children, note, wide }: { name: string; children: ComponentChildren; note?: ComponentChildren; wide?: boolean | "large" }) {
  return (
    <div class={wide === undefined ? "tile" : wide === "large" ? "tile wide large" : "tile wide"}>
      <dt>{name}</dt>
      <dd class="figure">{children}</dd>
      {note === undefined ? null : <dd class="note">{note}</dd>}
    </div>
  );
}

function IslandTile({ live }: { live: SiteLive }) {
  const power = live.connection.power_kw;
  return (
    <Tile name="Island" wide note="no connection to a grid">
      <Value field="connection.power_kw" value={power} text={islandWords(power)} />
    </Tile>
  );
}

function GridTile({ live }: { live: SiteLive }) {
  const { power_kw: power, import_limit_kw: importLimit, export_limit_kw: exportLimit, over_limit_kw: over } = live.connection;
  const exporting = (power ?? 0) < 0 && exportLimit !== undefined;
  const limit = exporting ? exportLimit : importLimit;
  const used = share(Math.max(0, exporting ? -(power ?? 0) : (power ?? 0)), limit);
  const tone = over > 0 ? "bad" : (used ?? 0) > 0.9 ? "warn" : "good";
  return (
    <Tile
      name="Grid"
      wide
      note={
        <>
          {used === null ? null : <Meter fill={used} tone={tone} />}
          {limit === undefined ? "no import limit" : (
            <>{exporting ? "export" : "import"} limit <Value field={`connection.${exporting ? "export" : "import"}_limit_kw`} value={limit} text={kw(limit)} /></>
          )}
          {over > 0 ? <strong class="bad-text"> · <Value field="connection.over_limit_kw" value={over} text={`${kw(over)} over`} /></strong> : null}
        </>
      }
    >
      <Value field="connection.power_kw" value={power} text={gridWords(power)} />
    </Tile>
  );
}

function savedNote(live: SiteLive) {
  const { baseline } = live.totals.objective;
  const part = share(live.totals.saving, baseline);
  return <>{part === null ? "" : `${number(part * 100, 1)} % `}of <Value field="totals.objective.baseline" value={baseline} text={money(baseline, live.currency)} /> without control</>;
}

export function Tiles({ live }: { live: SiteLive }) {
  const { emissions_kg: carbon, limit_violations: violations, self_consumption: self } = live.totals;
  const carbonSaved = carbon.baseline - carbon.actual;
  const steps = (n: number) => `${number(n, 0)} ${n === 1 ? "step" : "steps"}`;
  return (
    <dl class="tiles">
      {live.connection.island ? <IslandTile live={live} /> : <GridTile live={live} />}
      <Tile name="Solar" note={<><Value field="totals.self_consumption" value={self} text={percent(self)} /> of it used on site</>}>
        <Value field="solar_kw" value={live.solar_kw} text={kw(live.solar_kw)} />
      </Tile>
      <Tile name="Consumption" note={live.connection.island ? undefined : <>at <Value field="price_per_kwh" value={live.price_per_kwh} text={money(live.price_per_kwh, `${live.currency}/kWh`)} /></>}>
        <Value field="load_kw" value={live.load_kw} text={kw(live.load_kw === null ? null : -live.load_kw)} />
      </Tile>
      <Tile
        name="Batteries"
        note={<><Meter fill={live.soc} /><Value field="battery_kw" value={live.battery_kw} text={powerWords("battery", live.battery_kw)} /></>}
      >
        <Value field="soc" value={live.soc} text={percent(live.soc)} />
      </Tile>
      <Tile name="Saved so far" wide="large" note={savedNote(live)}>
        <Value field="totals.saving" value={live.totals.saving} text={money(live.totals.saving, live.currency)} />
      </Tile>
      <Tile
        name={carbonSaved < 0 ? "More CO₂ so far" : "CO₂ avoided"}
        note={<>of <Value field="totals.emissions_kg.baseline" value={carbon.baseline} text={mass(carbon.baseline)} /> without control</>}
      >
        <Value field="totals.emissions_kg.saved" value={carbonSaved} text={mass(Math.abs(carbonSaved))} />
      </Tile>
      <Tile
        name={live.connection.island ? "Not all served" : "Limit exceeded"}
        note={<><Value field="totals.limit_violations.baseline" value={violations.baseline} text={steps(violations.baseline)} /> without control</>}
      >
        <Value field="totals.limit_violations.actual" value={violations.actual} text={violations.actual === 0 ? "never" : steps(violations.actual)} />
      </Tile>
    </dl>
  );
}
