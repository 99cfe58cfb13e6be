// What the whole page shares: the form, the networks, what is wrong with a field, and how a job is asked for.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words, type NetworkEntry } from "./api";
import { submit } from "./jobs";
import { bodyOf, faultOf, readForm, type Field, type Form, type Shown } from "./schema";
import { values } from "./store";

export const form = signal<Form | null>(null);
export const networks = signal<NetworkEntry[]>([]);
/** What is wrong, by the field's path; the empty path is for what has no field. */
export const faults = signal<Record<string, string>>({});
export const sending = signal(0);

const FRESH_MS = 20_000;
let listed = 0;

/** A checkpoint and a VAE belong to a job, not to the request whose fields are declared. */
export const models = computed<Field[]>(() => [
  modelField("checkpoint", "Stable Diffusion checkpoint", "the model that makes the image", "checkpoint"),
  modelField("vae", "SD VAE", "what turns latents into pixels", "vae"),
]);

function modelField(path: string, label: string, help: string, kind: string): Field {
  const choices = networks.value.filter((one) => one.kind === kind).map((one) => one.name);
  return {
    ...{ path, label, help, choices, control: "choice", whole: false, optional: true },
    ...{ usual: "as the server is set", min: null, max: null, step: null, initial: "" },
  };
}

export async function loadForm(): Promise<void> {
  try {
    form.value = readForm(await api.fields());
    setFault("", "");
  } catch (error) {
    setFault("", words(error));
    setTimeout(() => void loadForm(), 3000);
  }
}

/** List the files again, unless that was just done. */
export async function loadNetworks(): Promise<void> {
  if (Date.now() - listed < FRESH_MS) return;
  listed = Date.now();
  try {
    networks.value = await api.networks();
  } catch {
    // The list of a moment ago is better than none; the next look tries again.
    listed = 0;
  }
}

export function shown(field: Field): Shown {
  return values.value[field.path] ?? field.initial;
}

/** The same of a field by its path; empty as long as it is not known. */
export function shownAt(path: string): Shown {
  const field = form.value?.own.find((one) => one.path === path);
  return field ? shown(field) : (values.value[path] ?? "");
}

export function setFault(path: string, fault: string): void {
  const { [path]: _, ...others } = faults.value;
  faults.value = fault ? { ...others, [path]: fault } : others;
}

/** Every field that is sent as it is shown. */
function sentFields(told: Form): Field[] {
  const groups = told.groups.filter((group) => values.value[group.path] === true);
  return [...told.own, ...models.value, ...groups.flatMap((group) => group.fields)];
}

/** Put a job into the queue, or say at the field why it cannot be. */
export async function enqueue(): Promise<void> {
  const told = form.value;
  if (!told) return;
  const fields = sentFields(told);
  const found = fields.map((field) => [field.path, faultOf(field, shown(field))] as const);
  faults.value = Object.fromEntries(found.filter(([, fault]) => fault));
  const first = found.find(([, fault]) => fault);
  if (first) return reveal(first[0]);
  sending.value += 1;
  try {
    await submit(bodyOf(told, models.value, values.value), String(shownAt("prompt")));
  } catch (error) {
    const path = error instanceof ApiError ? placeOf(error.field, fields) : "";
    setFault(path, words(error));
    if (path) reveal(path);
  } finally {
    sending.value -= 1;
  }
}

/** Where a field of the server's is shown; it may be named without its group. */
function placeOf(name: string, fields: Field[]): string {
  const paths = fields.map((field) => field.path);
  if (paths.includes(name)) return name;
  const inner = paths.filter((path) => name !== "" && path.endsWith(`.${name}`));
  return inner.length === 1 ? (inner[0] ?? "") : "";
}

function reveal(path: string): void {
  const found = document.getElementById(`field-${path}`);
  found?.closest("details")?.setAttribute("open", "");
  found?.focus();
  found?.scrollIntoView({ block: "nearest" });
}
