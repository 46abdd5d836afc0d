// Tasks of people as they are shown: read from the server's objects, and a form from a JSON Schema. Pure; every text comes from others and
// is only ever shown as text.

export interface Task {
  /** Its number. */
  id: string;
  workflow: string;
  run: string;
  title: string;
  text: string;
  /** Who is meant: a name, a role, or anybody. */
  whose: string;
  /** RFC 3339. */
  asked: string;
  due: string | undefined;
  claimedBy: string | undefined;
  escalated: boolean;
  fields: Field[];
  /** What the form cannot show is asked for as JSON. */
  asJson: boolean;
}

export interface Field {
  name: string;
  title: string;
  kind: "text" | "number" | "yes" | "choice";
  choices: string[];
  required: boolean;
}

type Fields = Record<string, unknown>;

function object(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The tasks of the server's answer, the oldest first; what is none is left out. */
export function read(answer: unknown): Task[] {
  if (!Array.isArray(answer)) return [];
  return answer.map(one).filter((task) => task.id !== "");
}

function one(answer: unknown): Task {
  const { metadata, spec, status } = object(answer);
  const [of, stands] = [object(spec), object(status)];
  const form = fieldsOf(of["form"]);
  const role = text(of["role"]);
  return {
    id: text(object(metadata)["name"]),
    workflow: text(of["workflow"]),
    run: text(of["run"]),
    title: text(of["title"]) || "A task without a title",
    text: text(of["text"]),
    whose: text(of["assignee"]) || (role === "" ? "anybody" : `any ${role}`),
    asked: text(stands["asked"]),
    due: text(stands["due"]) || undefined,
    claimedBy: text(stands["claimedBy"]) || undefined,
    escalated: stands["escalated"] !== undefined,
    fields: form ?? [],
    asJson: form === undefined,
  };
}

/** The fields of a form, as far as it is a flat object of texts, numbers, choices and yes or no; nothing asks for nothing. */
function fieldsOf(form: unknown): Field[] | undefined {
  if (form === undefined) return [];
  const schema = object(form);
  if (schema["type"] !== "object" || schema["properties"] === undefined) return undefined;
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  const fields = Object.entries(object(schema["properties"])).map(([name, of]) => field(name, object(of), required.includes(name)));
  return fields.every((one) => one !== undefined) ? fields : undefined;
}

function field(name: string, schema: Fields, required: boolean): Field | undefined {
  const of = { name, title: text(schema["title"]) || name, required };
  if (Array.isArray(schema["enum"])) {
    const choices = schema["enum"].filter((choice): choice is string => typeof choice === "string");
    return choices.length === schema["enum"].length ? { ...of, kind: "choice", choices } : undefined;
  }
  const kinds: Record<string, Field["kind"]> = { string: "text", number: "number", integer: "number", boolean: "yes" };
  const kind = kinds[text(schema["type"])];
  return kind && { ...of, kind, choices: [] };
}

/** What a person has entered: texts by name, `yes` or nothing for yes or no. */
export type Entered = Record<string, string>;

/** The data of a form, or what is still missing. */
export function data(task: Task, entered: Entered): { data: unknown } | { missing: string } {
  if (task.asJson) {
    try {
      return { data: JSON.parse(entered[""] ?? "") as unknown };
    } catch {
      return { missing: "Enter JSON, such as { \"approved\": true }." };
    }
  }
  const found: Fields = {};
  for (const { name, title, kind, required } of task.fields) {
    const value = (entered[name] ?? "").trim();
    if (kind === "yes") {
      found[name] = value === "yes";
    } else if (value === "") {
      if (required) return { missing: `${title} is missing.` };
    } else if (kind === "number") {
      const number = Number(value);
      if (!Number.isFinite(number)) return { missing: `${title} is no number.` };
      found[name] = number;
    } else {
      found[name] = value;
    }
  }
  return { data: found };
}

/** "due in 3 h", "overdue by 5 min"; nothing for one without an end. */
export function dueWords(task: Task, now: number, words: (seconds: number) => string): string | undefined {
  if (task.due === undefined) return task.escalated ? "nobody did it in time: passed on" : undefined;
  const left = (Date.parse(task.due) - now) / 1000;
  if (Number.isNaN(left)) return undefined;
  return left >= 0 ? `due in ${words(left)}` : `overdue by ${words(-left)}`;
}
