// A number from the server: people read the text, tests and scripts read `data-field` and `data-value`.

interface Props {
  /** Path of the field in the API's answer. */
  field: string;
  value: number | null | undefined;
  text: string;
}

export function Value({ field, value, text }: Props) {
  return (
    <data data-field={field} data-value={value ?? ""} value={String(value ?? "")}>
      {text}
    </data>
  );
}
