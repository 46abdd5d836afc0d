// What operators do about an alert: say that they look after it, silence it for a time, end a silence.

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { DURATIONS, isMatchable, short, silenceMissing, silenceRequest } from "../../alerts";
import type { Alarm } from "../../contract";
import { acknowledge, endSilence, silence } from "../../live";
import type { State } from "../../state";

/** Characters; the server takes 4096 bytes, and a character has at most four. */
const MAX_COMMENT = 1_000;

/** Leads eye and keyboard to the list. */
export function focusAlerts(): void {
  const title = document.getElementById("alerts-title");
  title?.focus({ preventScroll: true });
  title?.scrollIntoView({ block: "start" });
}

type Ask = () => Promise<string | undefined>;

/** Asks the server at most once at a time, and keeps the words of its refusal. */
function useCommand() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const run = async (ask: Ask): Promise<void> => {
    if (busy) return;
    setBusy(true);
    setProblem(undefined);
    const refused = await ask();
    setBusy(false);
    setProblem(refused);
    // The button that was pressed may be gone now; the keyboard is not left nowhere.
    if (refused === undefined) focusAlerts();
  };
  return { busy, problem, setProblem, run };
}

function Problem({ text }: { text: string | undefined }) {
  return text === undefined ? null : <p class="bad-text" role="alert">{text}</p>;
}

interface FormProps {
  title: string;
  submit: string;
  busy: boolean;
  problem: string | undefined;
  onSubmit: () => void;
  onCancel: () => void;
  children: ComponentChildren;
}

function Form({ title, submit, busy, problem, onSubmit, onCancel, children }: FormProps) {
  return (
    <form
      class="ask"
      aria-label={title}
      onSubmit={(event) => { event.preventDefault(); onSubmit(); }}
      onKeyDown={(event) => { if (event.key === "Escape") onCancel(); }}
    >
      {children}
      <Problem text={problem} />
      <p class="buttons">
        <button type="submit" disabled={busy}>{busy ? "Asking …" : submit}</button>
        <button type="button" class="quiet" onClick={onCancel}>Cancel</button>
      </p>
    </form>
  );
}

function Comment({ label, value, onInput }: { label: string; value: string; onInput: (text: string) => void }) {
  const id = useId();
  return (
    <p class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="text"
        value={value}
        maxLength={MAX_COMMENT}
        autocomplete="off"
        ref={(input) => { if (input && input.dataset["seen"] === undefined) { input.dataset["seen"] = ""; input.focus(); } }}
        onInput={(event) => { onInput(event.currentTarget.value); }}
      />
    </p>
  );
}

function Acknowledge({ alarm, onDone }: { alarm: Alarm; onDone: () => void }) {
  const { busy, problem, run } = useCommand();
  const [comment, setComment] = useState("");
  return (
    <Form
      title={`Look after ${short(alarm.name, 80)}`}
      submit="I look after it"
      busy={busy}
      problem={problem}
      onSubmit={() => void run(async () => {
        const refused = await acknowledge(alarm.fingerprint, comment.trim());
        if (refused === undefined) onDone();
        return refused;
      })}
      onCancel={onDone}
    >
      <p class="note">It is not repeated and not passed on to others until it ends.</p>
      <Comment label="What are you doing about it? (optional)" value={comment} onInput={setComment} />
    </Form>
  );
}

/** What fires anew with other labels is told; fewer labels silence more. */
function Silence({ alarm, onDone }: { alarm: Alarm; onDone: () => void }) {
  const { busy, problem, setProblem, run } = useCommand();
  const [comment, setComment] = useState("");
  const [duration, setDuration] = useState("1h");
  const [off, setOff] = useState<ReadonlySet<string>>(new Set());
  const name = useId();
  const all = Object.entries(alarm.labels).filter(([label]) => isMatchable(label));
  const chosen = all.filter(([label]) => !off.has(label));
  const flip = (label: string) => { setOff(off.has(label) ? new Set([...off].filter((one) => one !== label)) : new Set([...off, label])); };
  const submit = () => {
    const missing = silenceMissing(chosen, comment);
    if (missing !== undefined) {
      setProblem(missing);
      return;
    }
    void run(async () => {
      const refused = await silence(silenceRequest(chosen, duration, comment));
      if (refused === undefined) onDone();
      return refused;
    });
  };
  return (
    <Form title={`Silence ${short(alarm.name, 80)}`} submit="Silence" busy={busy} problem={problem} onSubmit={submit} onCancel={onDone}>
      <fieldset>
        <legend>For how long?</legend>
        {DURATIONS.map(([value, text]) => (
          <label key={value}>
            <input type="radio" name={name} checked={duration === value} onChange={() => { setDuration(value); }} /> {text}
          </label>
        ))}
      </fieldset>
      <fieldset>
        <legend>Which alerts? Those with all of these labels; fewer of them silence more.</legend>
        {all.map(([label, value]) => (
          <label key={label}>
            <input type="checkbox" checked={!off.has(label)} disabled={label === "alertname"} onChange={() => { flip(label); }} />{" "}
            <span><span class="kind">{short(label, 40)}</span> {short(value, 80)}</span>
          </label>
        ))}
      </fieldset>
      <Comment label="Why?" value={comment} onInput={setComment} />
    </Form>
  );
}

/** Buttons in a row, after `children`; what they ask for opens below. */
export function Actions({ alarm, state, children }: { alarm: Alarm; state: State; children: ComponentChildren }) {
  const [open, setOpen] = useState<"acknowledge" | "silence" | undefined>(undefined);
  const { busy, problem, run } = useCommand();
  // Viewers look; the server would refuse them all of this.
  if (!state.session || state.session.role === "viewer" || alarm.state !== "firing") return <div class="doing">{children}</div>;
  const done = () => { setOpen(undefined); };
  const toggle = (which: "acknowledge" | "silence") => { setOpen(open === which ? undefined : which); };
  const about = <span class="sr">: {short(alarm.name, 80)}</span>;
  const silenced = alarm.muted?.by === "silence" ? alarm.muted.what : undefined;
  return (
    <>
      <div class="doing">
        {children}
        {alarm.acknowledgedBy === state.session.name ? null : (
          <button type="button" class="plain" aria-expanded={open === "acknowledge"} onClick={() => { toggle("acknowledge"); }}>I look after it{about}</button>
        )}
        {silenced === undefined
          ? <button type="button" class="plain" aria-expanded={open === "silence"} onClick={() => { toggle("silence"); }}>Silence …{about}</button>
          : <button type="button" class="plain" disabled={busy} onClick={() => void run(() => endSilence(silenced))}>End the silence{about}</button>}
      </div>
      <Problem text={problem} />
      {open === "acknowledge" ? <Acknowledge alarm={alarm} onDone={done} /> : null}
      {open === "silence" ? <Silence alarm={alarm} onDone={done} /> : null}
    </>
  );
}
