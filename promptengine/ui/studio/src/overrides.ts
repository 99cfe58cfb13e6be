// "Override settings", as WebUI calls them: settings of an infotext that have no control of their own.
import type { Sent } from "./api";
import { setValue, values } from "./store";

/** Where they are kept among the values, as JSON; and their name in a job. */
export const OVERRIDES = "options";

type Overrides = { [name: string]: string | number | boolean };

/** Those that are in force, by WebUI's names. */
export function overrides(): Overrides {
  try {
    return plain(JSON.parse(String(values.value[OVERRIDES] ?? "{}")));
  } catch {
    return {};
  }
}

/** Settings as they are kept. */
export function overridesText(told: unknown): string {
  return JSON.stringify(plain(told));
}

export function dropOverride(name: string): void {
  const { [name]: _, ...others } = overrides();
  setValue(OVERRIDES, overridesText(others));
}

function plain(told: unknown): Overrides {
  const entries = typeof told === "object" && told !== null ? Object.entries(told) : [];
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string | number | boolean] =>
      ["string", "number", "boolean"].includes(typeof entry[1]),
    ),
  );
}

/** What a job says of them. */
export const overridesPart = {
  faults: (): Record<string, string> => ({}),
  body: (): { [name: string]: Sent } => ({ [OVERRIDES]: overrides() }),
};
