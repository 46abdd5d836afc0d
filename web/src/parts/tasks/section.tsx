// What workflows ask people to do. Without a task there is nothing to see.

import { useState } from "preact/hooks";
import { durationWords } from "../../alerts";
import { attend } from "../../live";
import type { State } from "../../state";
import { data, dueWords, type Entered, type Field, type Task } from "../../tasks";

interface InputProps {
  id: string;
  field: Field;
  value: string;
  enter: (value: string) => void;
}

function Input({ id, field, value, enter }: InputProps) {
  if (field.kind === "yes") {
    return (
      <label class="yes">
        <input type="checkbox" id={id} checked={value === "yes"} onChange={(event) => { enter(event.currentTarget.checked ? "yes" : ""); }} /> {field.title}
      </label>
    );
  }
  const label = <label for={id}>{field.title}{field.required ? "" : " (optional)"}</label>;
  if (field.kind === "choice") {
    return (
      <div class="field">
        {label}
        <select id={id} value={value} onChange={(event) => { enter(event.currentTarget.value); }}>
          <option value="">–</option>
          {field.choices.map((choice) => <option value={choice} key={choice}>{choice}</option>)}
        </select>
      </div>
    );
  }
  return (
    <div class="field">
      {label}
      <input id={id} inputMode={field.kind === "number" ? "decimal" : "text"} value={value} onInput={(event) => { enter(event.currentTarget.value); }} />
    </div>
  );
}

function Form({ task }: { task: Task }) {
  const [entered, setEntered] = useState<Entered>({});
  const [said, setSaid] = useState("");
  const [busy, setBusy] = useState(false);
  const [refusing, setRefusing] = useState(false);
  const enter = (name: string) => (value: string) => { setEntered({ ...entered, [name]: value }); };
  const id = (name: string) => `task-${task.id}-${name}`;
  const send = async (action: "claim" | "complete" | "refuse", more: object) => {
    setBusy(true);
    setSaid((await attend(task.id, { action, ...more })) ?? "");
    setBusy(false);
  };
  const complete = () => {
    const found = data(task, entered);
    if ("missing" in found) setSaid(found.missing);
    else void send("complete", { data: found.data });
  };
  const refuse = () => {
    const reason = (entered[" why"] ?? "").trim();
    if (reason === "") setSaid("Say why: the workflow ends with it.");
    else void send("refuse", { reason });
  };
  return (
    <form class="ask" onSubmit={(event) => { event.preventDefault(); if (refusing) refuse(); else complete(); }}>
      {refusing ? (
        <div class="field">
          <label for={id("why")}>Why it cannot be done</label>
          <input id={id("why")} value={entered[" why"] ?? ""} onInput={(event) => { enter(" why")(event.currentTarget.value); }} />
        </div>
      ) : (
        <>
          {task.fields.map((field) => <Input key={field.name} id={id(field.name)} field={field} value={entered[field.name] ?? ""} enter={enter(field.name)} />)}
          {task.asJson ? (
            <div class="field">
              <label for={id("json")}>What it gives, as JSON</label>
              <textarea id={id("json")} rows={4} value={entered[""] ?? ""} onInput={(event) => { enter("")(event.currentTarget.value); }} />
            </div>
          ) : null}
        </>
      )}
      {said === "" ? null : <p role="alert" class="bad-text">{said}</p>}
      <div class="buttons">
        <button type="submit" disabled={busy}>{refusing ? "Refuse" : "Done"}</button>
        {refusing || task.claimedBy !== undefined ? null : <button type="button" class="plain" disabled={busy} onClick={() => void send("claim", {})}>I will do it</button>}
        <button type="button" class="plain" disabled={busy} onClick={() => { setRefusing(!refusing); setSaid(""); }}>{refusing ? "Back" : "Refuse …"}</button>
      </div>
    </form>
  );
}

function Item({ task, may }: { task: Task; may: boolean }) {
  const due = dueWords(task, Date.now(), durationWords);
  const late = task.escalated || due?.startsWith("overdue") === true;
  return (
    <li class={late ? "alert warn" : "alert"} data-field={`tasks.${task.id}`}>
      <div class="what">
        <strong>{task.title}</strong>
        <span class="note">{[task.claimedBy === undefined ? `for ${task.whose}` : `${task.claimedBy} does it`, due].filter((part) => part !== undefined).join(" · ")}</span>
      </div>
      {task.text === "" ? null : <p class="summary">{task.text}</p>}
      <p class="note">asked by workflow {task.workflow}, run {task.run}</p>
      {may ? <Form task={task} /> : null}
    </li>
  );
}

export function Tasks({ state }: { state: State }) {
  const { known, problem } = state.tasks;
  if (known.length === 0 && problem === undefined) return null;
  return (
    <section class="card alert-card" aria-labelledby="tasks-title">
      <header>
        <h2 id="tasks-title">Tasks</h2>
        <p class="note" data-field="tasks.count" data-value={known.length}>{known.length === 1 ? "1 task waits for a person" : `${known.length} tasks wait for people`}</p>
      </header>
      {problem === undefined || state.link === "lost" ? null : <p class="delivery" role="alert">The tasks could not be read: {problem}</p>}
      <ul class="alerts">{known.map((task) => <Item key={task.id} task={task} may={state.session?.role !== "viewer"} />)}</ul>
    </section>
  );
}
