// What the browser keeps: every value on every key, and which jobs are ours.
import { signal } from "@preact/signals";
import type { Shown, Values } from "./schema";

const VALUES = "promptengine.studio.values";
const THEME = "promptengine.studio.theme";

function kept<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem(key);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

export function keep(key: string, value: unknown): void {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing shows the page all the same.
  }
}

function readValues(): Values {
  const found = kept<unknown>(VALUES, {});
  const entries = found !== null && typeof found === "object" ? Object.entries(found) : [];
  return Object.fromEntries(
    entries.filter((entry): entry is [string, Shown] => ["string", "boolean"].includes(typeof entry[1])),
  );
}

/** What is shown, by the fields' paths; fields that nobody has touched show their defaults. */
export const values = signal<Values>(readValues());

export function setValue(path: string, shown: Shown): void {
  setValues({ [path]: shown });
}

export function setValues(some: Values): void {
  values.value = { ...values.value, ...some };
  keep(VALUES, values.value);
}

export function resetValues(paths: string[]): void {
  const left = Object.entries(values.value).filter(([path]) => !paths.includes(path));
  values.value = Object.fromEntries(left);
  keep(VALUES, values.value);
}

export type Theme = "system" | "light" | "dark";

const THEMES: readonly Theme[] = ["system", "light", "dark"];

export const theme = signal<Theme>(THEMES.find((one) => one === kept<unknown>(THEME, null)) ?? "system");

export function setTheme(chosen: Theme): void {
  theme.value = chosen;
  keep(THEME, chosen);
  showTheme();
}

export function showTheme(): void {
  if (theme.value === "light" || theme.value === "dark") document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
}

export { kept };
