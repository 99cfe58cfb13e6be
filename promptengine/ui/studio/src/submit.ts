// How a job is asked for: its body is put together from parts, each of which says what it sends, or why it cannot.
import { signal } from "@preact/signals";
import { ApiError, words, type Sent } from "./api";
import { submit } from "./jobs";
import { stageTab } from "./onStage";
import { script } from "./scripts";
import { bodyOf, faultOf, type Field, type Form } from "./schema";
import { overridesPart } from "./overrides";
import { regionsPart } from "./regions";
import { replaced, start } from "./start";
import { faults, form, groups, models, setFault, shown, shownAt } from "./state";
import { values } from "./store";
import { stylesPart } from "./styles";

export type Body = { [name: string]: Sent };

/** Something that a job says. */
export interface Part {
  /** What cannot be sent, by the paths of the fields. */
  faults(): Record<string, string>;
  /** What it adds to the body, once nothing is wrong; an `ApiError` names the field that is to blame. */
  body(): Body | Promise<Body>;
  /** The paths of all that it sends now, where what the server has against it is shown. */
  paths?(): string[];
}

/** The fields that are declared, with those of the groups that are on. */
export const fields: Part = {
  faults() {
    const found = sentFields(form.value).map((field) => [field.path, faultOf(field, shown(field))] as const);
    return Object.fromEntries(found.filter(([, fault]) => fault));
  },
  body: () =>
    form.value ? bodyOf(ownFields(form.value), groups.value, models.value, values.value) : {},
  paths: () => sentFields(form.value).map((field) => field.path),
};

const PARTS: readonly Part[] = [fields, start, regionsPart, stylesPart, script, overridesPart];

/** How many jobs are on their way to the server. */
export const sending = signal(0);

/** Put a job into the queue, or say at the field why it cannot be; returns whether it is there. */
export async function enqueue(): Promise<boolean> {
  if (!form.value) return false;
  faults.value = Object.assign({}, ...PARTS.map((part) => part.faults()));
  const [first] = Object.keys(faults.value);
  if (first !== undefined) {
    reveal(first);
    return false;
  }
  sending.value += 1;
  try {
    const body: Body = Object.assign({}, ...(await Promise.all(PARTS.map((part) => part.body()))));
    await submit(body, String(shownAt("prompt")));
    if (["source", "regions"].includes(stageTab.value)) stageTab.value = "image";
    return true;
  } catch (error) {
    const path = error instanceof ApiError ? placeOf(error.field) : "";
    setFault(path, words(error));
    if (path) reveal(path);
    return false;
  } finally {
    sending.value -= 1;
  }
}

const ownFields = (told: Form) => told.own.filter((field) => !replaced.value.includes(field.path));

/** Every declared field that is sent as it is shown. */
function sentFields(told: Form | null): Field[] {
  if (!told) return [];
  const on = groups.value.filter((group) => values.value[group.path] === true);
  return [...ownFields(told), ...models.value, ...on.flatMap((group) => group.fields)];
}

/** Where a field of the server's is shown; it may be named without its group. */
function placeOf(name: string): string {
  const paths = PARTS.flatMap((part) => part.paths?.() ?? []);
  if (paths.includes(name)) return name;
  const inner = paths.filter((path) => name !== "" && path.endsWith(`.${name}`));
  if (inner.length === 1) return inner[0] ?? "";
  // What is wrong with a part of something is shown with all of it.
  return name.includes(".") ? placeOf(name.slice(0, name.lastIndexOf("."))) : "";
}

function reveal(path: string): void {
  const found = document.getElementById(`field-${path}`);
  found?.closest("details")?.setAttribute("open", "");
  found?.focus();
  found?.scrollIntoView({ block: "nearest" });
}
