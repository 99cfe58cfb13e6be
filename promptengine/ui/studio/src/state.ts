// What the whole page shares: the form, the networks, and what is wrong with a field.
import { computed, signal } from "@preact/signals";
import { api, words, type NetworkEntry } from "./api";
import { route } from "./route";
import { readForm, type Field, type Form, type Group, type Shown } from "./schema";
import { values } from "./store";

export const form = signal<Form | null>(null);
export const networks = signal<NetworkEntry[]>([]);
/** What is wrong, by the field's path; the empty path is for what has no field. */
export const faults = signal<Record<string, string>>({});

/** Whether images are made from an image: the view that is shown is img2img's. */
export const startsFromImage = computed(() => route.value === "img2img");

/** The groups that can be switched on in this view. */
export const groups = computed<Group[]>(() => {
  const all = form.value?.groups ?? [];
  return startsFromImage.value ? all.filter((one) => !TXT2IMG_ONLY.includes(one.path)) : all;
});

/** WebUI's second pass has no place where an image is given. */
const TXT2IMG_ONLY = ["hires"];
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
    ...{ path, label, help, choices, labels: [], control: "choice", whole: false, optional: true },
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

/**
 * List the files again, unless that was just done.
 *
 * @param now Whether to do it all the same.
 */
export async function loadNetworks(now = false): Promise<void> {
  if (!now && Date.now() - listed < FRESH_MS) return;
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
