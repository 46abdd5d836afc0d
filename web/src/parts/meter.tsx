// A bar beside a number that says the same in text; screen readers read the number only.

interface Props {
  /** 0…1; beyond is shown full. */
  fill: number | null | undefined;
  tone?: "good" | "warn" | "bad";
}

export function Meter({ fill, tone = "good" }: Props) {
  const width = Math.min(1, Math.max(0, Number.isFinite(fill) ? (fill ?? 0) : 0));
  return (
    <span class={`meter ${tone}`} aria-hidden="true">
      <span style={{ width: `${width * 100}%` }} />
    </span>
  );
}
