// The frame around every page: who, where, when, and whether what is shown is current.

import type { State } from "./state";
import { clock, dayAndClock, speedWords } from "./format";
import { logout } from "./live";
import { LoginPage } from "./pages/login";
import { SitePage } from "./pages/site/page";
import { AlertCount, Alerts } from "./parts/alerts/section";
import { Badge } from "./parts/badge";
import { Tasks } from "./parts/tasks/section";
import { routeOfSite } from "./route";

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M17.5 5 8 18h6.5L13 27l11-14h-7z" />
    </svg>
  );
}

function LinkState({ state }: { state: State }) {
  if (state.link === "live") return <Badge tone="good" text="live" field="link" />;
  if (state.link === "lost") return <Badge tone="bad" text="disconnected" field="link" />;
  return <Badge tone="warn" text="connecting" field="link" />;
}

function SiteChoice({ state }: { state: State }) {
  if (state.sites.length < 2) return null;
  return (
    <select aria-label="Site" value={state.site ?? ""} onChange={(event) => { location.hash = routeOfSite(event.currentTarget.value); }}>
      {state.sites.map((site) => <option value={site} key={site}>{site}</option>)}
    </select>
  );
}

function Header({ state }: { state: State }) {
  const { live } = state;
  return (
    <header class="top">
      <Mark />
      <div class="where">
        <h1 data-field="site">{state.site ?? "SOS"}</h1>
        {live ? (
          <p class="note">
            <time dateTime={live.time} data-field="time" data-value={live.time}>{dayAndClock(live.time)}</time>
            {" · "}<span data-field="speed" data-value={live.speed}>{speedWords(live.speed)}</span>
          </p>
        ) : null}
      </div>
      <SiteChoice state={state} />
      <AlertCount alarms={state.alerts.known} />
      <div class="link" role="status"><LinkState state={state} /></div>
      <button type="button" class="quiet" title={`${state.session?.name ?? ""} (${state.session?.role ?? ""})`} onClick={() => void logout()}>Log out</button>
    </header>
  );
}

function Lost({ state }: { state: State }) {
  if (state.link !== "lost") return null;
  return (
    <p class="banner bad" role="alert" data-field="disconnected">
      {state.live
        ? `Disconnected, showing data of ${clock(state.live.time)} (site time). Trying again …`
        : "The server does not answer. Trying again …"}
    </p>
  );
}

export function App({ state }: { state: State }) {
  if (state.session === null) return <LoginPage note={state.loginNote} />;
  return (
    <>
      <a class="skip" href="#main">Skip to content</a>
      <Header state={state} />
      <Lost state={state} />
      {state.problem === undefined ? null : <p class="banner bad" role="alert">{state.problem}</p>}
      <main id="main" class={state.link === "lost" ? "stale" : ""}>
        <Alerts state={state} />
        <Tasks state={state} />
        <SitePage state={state} />
      </main>
    </>
  );
}
