// Values between commas, as X/Y/Z plots read them: one that holds a comma or a quote stands in quotes.

/** The values of a text, without empty ones. */
export function valuesOf(text: string): string[] {
  const found = text.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,\n]*))\s*(?:,|\n|$)/g);
  return [...found].map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain ?? "").trim()).filter(Boolean);
}

/** A text that reads as these values. */
export function textOf(values: string[]): string {
  return values.map((one) => (/[",\n]/.test(one) ? `"${one.replaceAll('"', '""')}"` : one)).join(", ");
}
