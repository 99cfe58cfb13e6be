// Styles: texts that the server puts around the prompts, chosen by name and sent with every job.
import { signal } from "@preact/signals";
import { api, type Style } from "./api";
import { setFault } from "./state";
import { keep, kept, setValues, values } from "./store";

const CHOSEN = "promptengine.studio.styles";
const PLACE = "{prompt}";

export const PATH = "styles";

/** Those of the server's file. */
export const styles = signal<Style[]>([]);

function readChosen(): string[] {
  const found = kept<unknown>(CHOSEN, []);
  return Array.isArray(found) ? found.filter((one): one is string => typeof one === "string") : [];
}

/** The names of those that are sent, in their order. */
export const chosen = signal<string[]>(readChosen());

export function choose(names: string[]): void {
  chosen.value = names;
  keep(CHOSEN, names);
  setFault(PATH, "");
}

export async function loadStyles(): Promise<void> {
  try {
    styles.value = await api.styles();
  } catch {
    // The list of a moment ago is better than none; the next look asks again.
  }
}

/** Save a style; what is wrong is thrown in words for a person. */
export async function saveStyle(style: Style): Promise<void> {
  await api.saveStyle(style);
  await loadStyles();
}

/** Delete a style, also from those that are sent. */
export async function deleteStyle(name: string): Promise<void> {
  await api.deleteStyle(name);
  choose(chosen.value.filter((one) => one !== name));
  await loadStyles();
}

/** Write the chosen styles' texts into the prompts, and choose none. */
export function applyStyles(): void {
  const known = new Map(styles.value.map((one) => [one.name, one]));
  const found = chosen.value.flatMap((name) => known.get(name) ?? []);
  const text = (path: string) => String(values.value[path] ?? "");
  setValues({
    prompt: around(text("prompt"), found.map((one) => one.prompt)),
    negative_prompt: around(text("negative_prompt"), found.map((one) => one.negative_prompt)),
  });
  choose(chosen.value.filter((name) => !known.has(name)));
}

/** A prompt with texts around it, one after another, as the server makes it. */
function around(prompt: string, texts: string[]): string {
  return texts.reduce(
    (inner, text) =>
      text.includes(PLACE) ? text.replaceAll(PLACE, () => inner) : [inner.trim(), text.trim()].filter(Boolean).join(", "),
    prompt,
  );
}

export const stylesPart = {
  faults: () => ({}),
  body: () => ({ styles: chosen.value }),
  paths: () => [PATH],
};
