// The kinds of files that have cards, as the server tells them, and what a click on one of their cards does.
import { signal } from "@preact/signals";
import { api, type NetworkEntry, type NetworkPage } from "../api";
import { models, networks } from "../state";
import { setValue, setValues, values } from "../store";
import { prepare } from "./list";
import { isIn, withTag, withWord } from "./insert";

export const pages = signal<NetworkPage[]>([]);

const PROMPT = "prompt";
const NEGATIVE = "negative_prompt";
const PAUSE_MS = 3000;

/** The prompt that was written in last: a word goes there, as in WebUI. */
let active = PROMPT;

/** Learn which kinds there are, and follow which prompt is written in; call once. */
export async function loadPages(): Promise<void> {
  document.addEventListener("focusin", (event) => {
    const box = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-prompt]") : null;
    const path = box?.dataset["prompt"];
    if (path === PROMPT || path === NEGATIVE) active = path;
  });
  prepare();
  while (pages.value.length === 0) {
    try {
      pages.value = await api.networkPages();
      return;
    } catch {
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  }
}

const text = (path: string) => String(values.value[path] ?? "");

/** The field that chooses a file of this kind for the next job, where there is one. */
const fieldOf = (page: NetworkPage) => models.value.find((field) => field.path === page.kind);

/** Whether a click on a card does anything. */
export function isUsable(page: NetworkPage, entry: NetworkEntry): boolean {
  return page.in_text || entry.tag !== null || fieldOf(page) !== undefined;
}

/** Whether the next job has the file of a card. */
export function isChosen(page: NetworkPage, entry: NetworkEntry): boolean {
  if (fieldOf(page)) return text(page.kind) === entry.name;
  if (page.in_text) return isIn(text(PROMPT), entry) || isIn(text(NEGATIVE), entry);
  return entry.tag !== null && isIn(text(PROMPT), entry);
}

/** Take the file of a card for the next job, or leave it out again. */
export function choose(page: NetworkPage, entry: NetworkEntry): void {
  if (fieldOf(page)) {
    setValue(page.kind, text(page.kind) === entry.name ? "" : entry.name);
  } else if (page.in_text) {
    const path = [PROMPT, NEGATIVE].find((one) => isIn(text(one), entry)) ?? active;
    setValue(path, withWord(text(path), entry));
  } else if (entry.tag !== null) {
    const { prompt, negative } = withTag({ prompt: text(PROMPT), negative: text(NEGATIVE) }, entry);
    setValues({ [PROMPT]: prompt, [NEGATIVE]: negative });
  }
}

/** The kind of a file, where it has cards. */
export const pageOf = (entry: NetworkEntry) => pages.value.find((page) => page.kind === entry.kind);

/** Show what the server now tells of a file. */
export function replaceEntry(entry: NetworkEntry): void {
  networks.value = networks.value.map((one) => (one.kind === entry.kind && one.name === entry.name ? entry : one));
}
