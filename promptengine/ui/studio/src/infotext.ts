// What an image says of itself, read by the server and put into the form.
import { api, words, type InfotextSource, type ReadInfotext } from "./api";
import { notice } from "./notices";
import { shownOf, type Field, type Shown, type Values } from "./schema";
import { faults, form, models } from "./state";
import { OVERRIDES, overridesText } from "./overrides";
import { setValues } from "./store";
import { setWay } from "./regions";
import { choose } from "./styles";
import type { SentImage, Target } from "./targets";

/** Where an infotext is read, or what was read already. */
export type Source = InfotextSource | { reading: ReadInfotext };

/** What of an infotext is taken over. */
export type Share = "all" | "prompt" | "seed";

const SHARES: Record<Exclude<Share, "all">, readonly string[]> = {
  prompt: ["prompt", "negative_prompt"],
  seed: ["seed"],
};
const NOTHING: Record<Share, string> = {
  all: "This does not say how the image was made.",
  prompt: "This holds no prompt.",
  seed: "This names no seed.",
};

/** Read an infotext and put it into the form; returns whether there was something to put. */
export async function applyInfotext(source: Source, share: Share = "all"): Promise<boolean> {
  try {
    return applyReading("reading" in source ? source.reading : await api.infotext(source), share);
  } catch (error) {
    notice.value = { text: words(error), bad: true };
    return false;
  }
}

/** Put into the form what an infotext says, and tell what could not be; returns whether it says anything. */
export function applyReading(reading: ReadInfotext, share: Share = "all"): boolean {
  const told = Object.entries(reading.values).filter(([name]) => share === "all" || SHARES[share].includes(name));
  const some = shownValues(Object.fromEntries(told));
  if (told.length === 0) {
    notice.value = { text: reading.notes[0]?.message ?? NOTHING[share], bad: true };
    return false;
  }
  setValues(some);
  if (share === "all" && "steps" in some && !("Regions" in reading.parameters)) setWay("prompt");
  // An infotext's prompts hold the texts of the styles that they were made with.
  if (share !== "seed") choose([]);
  faults.value = Object.fromEntries(Object.entries(faults.value).filter(([path]) => path !== "" && !(path in some)));
  const notes = share === "all" ? reading.notes : [];
  notice.value = { text: `${doneWords(share, some)}${notes.length ? " Note:" : ""}`, notes };
  return true;
}

function doneWords(share: Share, some: Values): string {
  if (share === "seed") return "The seed is read.";
  return share === "all" && "steps" in some ? "Prompt and settings are read." : "The prompt is read, and nothing else.";
}

/** Hand an image to another view, and its settings to the form. */
export async function sendTo(target: Target, image: SentImage, source: Source | null): Promise<void> {
  try {
    const reads = source !== null && target.settings !== false;
    const read = reads && (await applyInfotext(source));
    if (target.settings === "needed" && !read) return;
    await target.take(image);
  } catch (error) {
    notice.value = { text: words(error), bad: true };
  }
}

/** What controls show for values of a job, by their paths. */
function shownValues(told: { [name: string]: unknown }): Values {
  const groups = new Set(form.value?.groups.map((group) => group.path));
  const fields = new Map(knownFields().map((field) => [field.path, field]));
  const found: Values = {};
  const put = (path: string, value: unknown) => {
    if (path === OVERRIDES) found[path] = overridesText(value);
    else if (isRecord(value)) {
      if (groups.has(path)) found[path] = true;
      for (const [name, inner] of Object.entries(value)) put(`${path}.${name}`, inner);
    } else if (groups.has(path)) found[path] = false;
    else if (value !== null || fields.has(path)) found[path] = shownBy(fields.get(path), value);
  };
  for (const [name, value] of Object.entries(told)) put(name, value);
  return found;
}

function knownFields(): Field[] {
  const told = form.value;
  const groups = told ? [...told.groups, ...told.imageGroups] : [];
  return [...(told?.own ?? []), ...models.value, ...groups.flatMap((group) => group.fields)];
}

function shownBy(field: Field | undefined, value: unknown): Shown {
  if (field) return shownOf(field, value);
  if (typeof value === "boolean") return value;
  return Array.isArray(value) ? value.join("×") : String(value);
}

function isRecord(value: unknown): value is { [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
