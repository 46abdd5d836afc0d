import { describe, expect, it } from "vitest";
import { durationWords } from "./alerts";
import { data, dueWords, read } from "./tasks";

const answer = (spec: object, status: object = {}) => [{
  metadata: { name: "7" },
  spec: { run: "r", workflow: "loan", title: "Approve", ...spec },
  status: { asked: "2026-01-05T08:00:00Z", ...status },
}];
const task = (spec: object, status: object = {}) => {
  const [found] = read(answer(spec, status));
  if (!found) throw new Error("no task");
  return found;
};
const form = {
  type: "object",
  required: ["approved", "amount"],
  properties: {
    approved: { type: "boolean", title: "Approved" },
    amount: { type: "number", title: "Amount" },
    grade: { enum: ["a", "b"] },
    note: { type: "string" },
  },
};

describe("tasks", () => {
  it("reads whose they are and what is asked", () => {
    expect(read("none")).toEqual([]);
    expect(read([{}, null])).toEqual([]);
    expect(task({ assignee: "anna", role: "operator" }).whose).toBe("anna");
    expect(task({ role: "operator" }).whose).toBe("any operator");
    expect(task({}).whose).toBe("anybody");
    expect(task({ form }).fields.map(({ name, kind, required }) => [name, kind, required])).toEqual([
      ["approved", "yes", true], ["amount", "number", true], ["grade", "choice", false], ["note", "text", false],
    ]);
  });

  it("asks for JSON where a form is more than fields", () => {
    for (const more of [{ type: "array" }, { type: "object", properties: { a: { type: "object" } } }, { type: "object", properties: { a: { enum: [1] } } }]) {
      expect(task({ form: more }).asJson).toBe(true);
    }
    const asked = task({ form: { type: "array" } });
    expect(data(asked, { "": "[1]" })).toEqual({ data: [1] });
    expect(data(asked, { "": "[1" })).toHaveProperty("missing");
  });

  it("makes data of what was entered, or says what is missing", () => {
    const asked = task({ form });
    expect(data(asked, { amount: "2.5", approved: "yes", note: " ok " })).toEqual({ data: { approved: true, amount: 2.5, note: "ok" } });
    expect(data(asked, { approved: "yes" })).toEqual({ missing: "Amount is missing." });
    expect(data(asked, { amount: "much" })).toEqual({ missing: "Amount is no number." });
    expect(data(task({}), {})).toEqual({ data: {} });
  });

  it("says when it is due", () => {
    const now = Date.parse("2026-01-05T09:00:00Z");
    const of = (status: object) => dueWords(task({}, status), now, durationWords);
    expect(of({ due: "2026-01-05T12:00:00Z" })).toBe("due in 3 h");
    expect(of({ due: "2026-01-05T08:55:00Z" })).toBe("overdue by 5 min");
    expect(of({ escalated: "2026-01-05T08:55:00Z" })).toBe("nobody did it in time: passed on");
    expect(of({})).toBeUndefined();
  });
});
