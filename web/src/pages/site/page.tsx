// The page of one site.

import type { State } from "../../state";
import { clock } from "../../format";
import { Assets } from "./assets";
import { Charts } from "./chart";
import { Events } from "./events";
import { Forecasts } from "./fan";
import { Metered } from "./metered";
import { Services } from "./services";
import { Tiles } from "./tiles";
import { Work } from "./work";

export function SitePage({ state }: { state: State }) {
  const { live, chart } = state;
  if (state.site === undefined && state.link === "live") {
    return <p class="empty page">No site is declared yet. Apply a manifest with a Site, and it appears here.</p>;
  }
  if (!live) return <p class="empty page" role="status">Waiting for the first tick of the site …</p>;
  return (
    <>
      {live.mode_note === undefined ? null : <p class="banner info" role="note">{live.mode_note}</p>}
      <section aria-label="Key figures"><Tiles live={live} /></section>
      <section class="card" aria-labelledby="chart-title">
        <header>
          <h2 id="chart-title">Plan and actual</h2>
          <p class="note">{live.plan ? `plan of ${clock(live.plan.made_at)}, made by ${live.plan.source}` : "no plan yet"}</p>
        </header>
        {chart && chart.actual.length + chart.plan.length > 0
          ? <Charts chart={chart} live={live} />
          : <p class="empty">The chart appears after the first step.</p>}
      </section>
      <section class="card" aria-labelledby="forecasts-title">
        <header><h2 id="forecasts-title">Forecasts</h2></header>
        <Forecasts all={state.forecasts} />
      </section>
      {live.feeders.length + live.charges.length === 0 ? null : (
        <section class="card" aria-labelledby="metered-title">
          <header><h2 id="metered-title">Feeders and charges</h2></header>
          <Metered live={live} />
        </section>
      )}
      {live.work.length === 0 ? null : (
        <section class="card" aria-labelledby="work-title">
          <header><h2 id="work-title">Work that may wait</h2></header>
          <Work live={live} />
        </section>
      )}
      <section class="card" aria-labelledby="assets-title">
        <header><h2 id="assets-title">Homes and assets</h2></header>
        <Assets assets={live.assets} />
      </section>
      <div class="columns">
        <section class="card" aria-labelledby="services-title">
          <header><h2 id="services-title">Services</h2></header>
          <Services services={live.services} />
        </section>
        <section class="card" aria-labelledby="events-title">
          <header><h2 id="events-title">Recent events</h2></header>
          <Events events={state.events} />
        </section>
      </div>
    </>
  );
}
