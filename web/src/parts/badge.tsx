// A state as text with a coloured dot; the colour only repeats what the text says.

export type Tone = "good" | "warn" | "bad" | "idle";

export function Badge({ tone, text, field }: { tone: Tone; text: string; field?: string }) {
  return (
    <span class={`badge ${tone}`} {...(field === undefined ? {} : { "data-field": field })}>
      <span class="dot" aria-hidden="true" />
      {text}
    </span>
  );
}
