// One alert: how bad, what, since when, who knows, and what can be done.

import {
  age, type Clocks, durationWords, exactTime, mainLabels, mutedWords, runbookLink, severityTone, severityWord, short, summary, toldWords,
  wallNote,
} from "../../alerts";
import type { Alarm } from "../../contract";
import type { State } from "../../state";
import { Badge } from "../badge";
import { Actions } from "./actions";

interface Props {
  alarm: Alarm;
  clocks: Clocks;
  state: State;
}

function Since({ alarm, clocks }: { alarm: Alarm; clocks: Clocks }) {
  const old = age(alarm.since, clocks);
  return (
    <span>
      {old === undefined ? "" : `for ${durationWords(old.seconds)}, `}since{" "}
      <time dateTime={alarm.since} title={alarm.since}>{exactTime(alarm.since, clocks, old?.clock)}</time>
      {old?.clock === "wall" ? wallNote(clocks) : ""}
    </span>
  );
}

function Labels({ alarm }: { alarm: Alarm }) {
  return (
    <ul class="labels" aria-label="Labels">
      {mainLabels(alarm).map(([name, value]) => <li key={name}><span class="kind">{short(name, 40)}</span> {short(value, 80)}</li>)}
    </ul>
  );
}

/** Why nobody is told, who looks after it, and who was told; in this order, as each explains the next. */
function Known({ alarm, clocks, state }: Props) {
  const muted = mutedWords(alarm, clocks);
  const silence = alarm.muted?.by === "silence" ? state.alerts.silences.find(({ id }) => id === alarm.muted?.what) : undefined;
  const why = silence && ` by ${short(silence.createdBy, 60)}: ${short(silence.comment, 200)}`;
  return (
    <ul class="known">
      {alarm.acknowledgedBy === undefined ? null : <li class="taken">{short(alarm.acknowledgedBy, 60)} looks after it</li>}
      {muted === undefined ? null : <li>{muted}{why}</li>}
      {(alarm.told ?? []).map((told) => <li key={told.notifier} class={told.state === "delivered" ? "" : "untold"}>{toldWords(told, clocks)}</li>)}
      {alarm.told === null ? <li>who was told is not known: the notifications could not be read</li> : null}
      {alarm.told?.length === 0 && muted === undefined && alarm.state === "firing" ? <li>nobody was told</li> : null}
    </ul>
  );
}

function Runbook({ alarm }: { alarm: Alarm }) {
  const link = runbookLink(alarm, location.origin);
  if (link === undefined) return null;
  return (
    <a href={link.href} target="_blank" rel="noopener noreferrer">
      What to do{link.host === undefined ? "" : ` (${link.host})`}<span class="sr"> about {short(alarm.name, 80)}, in a new tab</span>
    </a>
  );
}

function Pairs({ title, of }: { title: string; of: [string, string][] }) {
  if (of.length === 0) return null;
  return (
    <>
      <dt>{title}</dt>
      {of.map(([name, value]) => <dd key={name}><span class="kind">{short(name, 120)}</span> {short(value, 2000)}</dd>)}
    </>
  );
}

function Details({ alarm }: { alarm: Alarm }) {
  const annotations = Object.entries(alarm.annotations).filter(([name]) => name !== "summary");
  return (
    <details>
      <summary>Details<span class="sr"> of {short(alarm.name, 80)}</span></summary>
      <dl>
        <Pairs title="Annotations" of={annotations} />
        <Pairs title="Labels" of={Object.entries(alarm.labels)} />
        <Pairs title="Value and fingerprint" of={[["value", alarm.value], ["fingerprint", alarm.fingerprint]]} />
      </dl>
    </details>
  );
}

export function Item({ alarm, clocks, state }: Props) {
  const tone = alarm.state === "firing" ? severityTone(alarm.severity) : "idle";
  const text = summary(alarm);
  return (
    <li class={`alert ${tone}`} data-field={`alerts.${alarm.fingerprint}`}>
      <p class="what">
        <Badge tone={tone} text={severityWord(alarm.severity)} />
        <span class="about">{short(alarm.name, 120)}</span>
        <span class="note"><Since alarm={alarm} clocks={clocks} /></span>
      </p>
      <div class="said">
        {text === "" ? null : <p class="summary">{text}</p>}
        <Labels alarm={alarm} />
        <Known alarm={alarm} clocks={clocks} state={state} />
      </div>
      <Actions alarm={alarm} state={state}><Runbook alarm={alarm} /></Actions>
      <Details alarm={alarm} />
    </li>
  );
}
