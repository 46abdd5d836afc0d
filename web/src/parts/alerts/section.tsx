// What is wrong now: near the top of the page, and one quiet line when nothing is.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Clocks, countWords, deliveryProblem, firingCount, severityTone, sorted, type Sorted } from "../../alerts";
import type { Alarm, Alarms } from "../../contract";
import type { State } from "../../state";
import { focusAlerts } from "./actions";
import { Item } from "./item";

/** More of them are shown when asked for. */
const SHOWN = 8;

/** The number in the header; leads to the list. */
export function AlertCount({ alarms }: { alarms: Alarms | undefined }) {
  const count = firingCount(alarms);
  const worst = alarms && sorted(alarms.alarms).firing[0];
  if (worst === undefined) return null;
  const tone = severityTone(worst.severity);
  return (
    <button type="button" class={`badge count-badge ${tone}`} data-field="alerts.firing" data-value={count} onClick={focusAlerts}>
      <span class="dot" aria-hidden="true" />{countWords(count)}
    </button>
  );
}

function rest({ muted, pending }: Sorted): string {
  const words = [muted.length > 0 ? `${muted.length} muted` : "", pending.length > 0 ? `${pending.length} pending` : ""];
  return words.filter((word) => word !== "").join(", ");
}

function headline(all: Sorted): string {
  if (all.firing.length > 0) return `${countWords(all.firing.length)} firing`;
  return all.muted.length > 0 ? "No alerts but muted ones" : "No alerts";
}

interface ListProps {
  title?: string;
  alarms: Alarm[];
  clocks: Clocks;
  state: State;
}

function List({ title, alarms, clocks, state }: ListProps) {
  if (alarms.length === 0) return null;
  return (
    <>
      {title === undefined ? null : <h3>{title}</h3>}
      <ul class="alerts">
        {alarms.map((alarm) => <Item key={`${alarm.fingerprint} ${alarm.state}`} alarm={alarm} clocks={clocks} state={state} />)}
      </ul>
    </>
  );
}

function Known({ state, alarms, children }: { state: State; alarms: Alarms; children: ComponentChildren }) {
  const [whole, setWhole] = useState(false);
  const all = sorted(alarms.alarms);
  const clocks = { wall: alarms.time, site: state.live?.time };
  const shown = whole ? all.firing : all.firing.slice(0, SHOWN);
  const folded = [all.firing.length > SHOWN ? `${all.firing.length - SHOWN} more firing` : "", rest(all)].filter((word) => word !== "");
  const beyond = alarms.total - alarms.alarms.length;
  return (
    <>
      <header>
        <h2 id="alerts-title" tabIndex={-1}>Alerts</h2>
        <p class="note" data-field="alerts.headline">{headline(all)}</p>
      </header>
      {children}
      <List alarms={shown} clocks={clocks} state={state} />
      {whole ? <List title="Muted" alarms={all.muted} clocks={clocks} state={state} /> : null}
      {whole ? <List title="Pending: true, but not for long enough yet" alarms={all.pending} clocks={clocks} state={state} /> : null}
      {whole && beyond > 0 ? <p class="note">{beyond} more are not shown; the command line lists them all.</p> : null}
      {folded.length === 0 ? null : (
        <p class="fold">
          <button type="button" class="plain" aria-expanded={whole} onClick={() => { setWhole(!whole); }}>
            {whole ? "Show fewer" : `Show all (${folded.join(", ")})`}
          </button>
        </p>
      )}
    </>
  );
}

function Unread({ problem }: { problem: string | undefined }) {
  return (
    <header>
      <h2 id="alerts-title" tabIndex={-1}>Alerts</h2>
      {problem === undefined ? <p class="note">reading …</p> : null}
    </header>
  );
}

export function Alerts({ state }: { state: State }) {
  const { known, problem, notifications, announcement } = state.alerts;
  const undelivered = known && notifications ? deliveryProblem(notifications, known.time) : undefined;
  const quiet = known && problem === undefined && undelivered === undefined && sorted(known.alarms).firing.length === 0;
  const told = (
    <>
      {undelivered === undefined ? null : <p class="delivery" data-field="alerts.delivery"><strong>Not everybody is told:</strong> {undelivered}</p>}
      {problem === undefined || state.link === "lost" ? null : (
        <p class="delivery" role="alert">The alerts could not be read{known ? ", these may be old" : ""}: {problem}</p>
      )}
    </>
  );
  return (
    <section class={quiet ? "card alert-card quiet-card" : "card alert-card"} aria-labelledby="alerts-title">
      <p class="sr" role="status" aria-live="polite">{announcement}</p>
      {known ? <Known state={state} alarms={known}>{told}</Known> : <><Unread problem={problem} />{told}</>}
    </section>
  );
}
