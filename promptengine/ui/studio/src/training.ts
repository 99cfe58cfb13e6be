// The training: its options as the server declares them, and where it is. It belongs to the server.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words, type Sent, type TrainingData, type TrainingStatus } from "./api";
import { dataset, sentImages } from "./dataset";
import { faultOf, fieldFrom, readForm, sentOf, type Field } from "./schema";
import { networks, setFault, faults, shown } from "./state";
import { setValue, values } from "./store";

/** What the paths of these fields begin with; the server knows them without it. */
const PLACE = "train";
/** Where what has no field is told. */
export const GENERAL = PLACE;
const AGAIN_MS = 3000;

export interface TrainingGroup {
  label: string;
  fields: Field[];
}

export const groups = signal<TrainingGroup[]>([]);
export const folders = signal<TrainingData[]>([]);
export const status = signal<TrainingStatus | null>(null);
export const starting = signal(false);

export const goesOn = computed(() => ["preparing", "training", "stopping"].includes(status.value?.state ?? "none"));

export const nameField = fieldFrom(`${PLACE}.name`, {
  title: "Name",
  description: "of the hypernetwork, and of its file",
  type: "string",
});

/** A name out of a list, or none. */
function choice(name: string, title: string, description: string, usual: string, choices: string[]): Field {
  const kind = { anyOf: [{ type: "string" }, { type: "null" }] };
  const more = { "x-control": "choice", "x-usual": usual, "x-choices": choices };
  return fieldFrom(`${PLACE}.${name}`, { title, description, ...kind, ...more });
}

/** A folder of the server's, or the images of this page. */
export const folderField = computed<Field>(() => {
  const names = folders.value.map((one) => one.name);
  return choice("folder", "Dataset", "images on the server, or those below", "the images below", names);
});

export const checkpointField = computed<Field>(() => {
  const names = networks.value.filter((one) => one.kind === "checkpoint").map((one) => one.name);
  return choice("checkpoint", "Stable Diffusion checkpoint", "the model it is trained on", "as the server is set", names);
});

const all = computed<Field[]>(() => [nameField, folderField.value, checkpointField.value, ...groups.value.flatMap((one) => one.fields)]);

export const ownImages = computed(() => !shown(folderField.value));

/** Read the options and what goes on; what the server cannot tell now is asked for again. */
export async function loadTraining(): Promise<void> {
  try {
    const [schema, data] = await Promise.all([api.trainingFields(), api.trainingData()]);
    groups.value = readGroups(schema);
    folders.value = data;
    setFault(GENERAL, "");
    await look();
  } catch (error) {
    setFault(GENERAL, words(error));
    if (error instanceof ApiError && error.status === 0) setTimeout(() => void loadTraining(), AGAIN_MS);
  }
}

function readGroups(schema: unknown): TrainingGroup[] {
  const fields = readForm(schema).own.map((field) => ({ ...field, path: `${PLACE}.${field.path}` }));
  const labelOf = (field: Field) => field.group || "More";
  const labels = [...new Set(fields.map(labelOf))];
  return labels.map((label) => ({ label, fields: fields.filter((one) => labelOf(one) === label) }));
}

let source: EventSource | null = null;

async function look(): Promise<void> {
  status.value = await api.training();
  if (goesOn.value) follow();
}

/** Hear of the training until it ends; the browser connects again by itself. */
function follow(): void {
  source?.close();
  const opened = api.trainingEvents();
  source = opened;
  const on = (event: MessageEvent<string>) => (status.value = JSON.parse(event.data) as TrainingStatus);
  opened.addEventListener("progress", on);
  opened.addEventListener("ended", (event: MessageEvent<string>) => {
    opened.close();
    on(event);
    void relist();
  });
  opened.onerror = () => {
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => void loadTraining(), AGAIN_MS);
  };
}

/** The new network is to be found at once. */
async function relist(): Promise<void> {
  networks.value = await api.networks().catch(() => networks.value);
}

/** Whether a run or a network of the name is there: the server has said so. */
export const taken = signal(false);

export async function start(how: { resume?: boolean; overwrite?: boolean } = {}): Promise<void> {
  if (!checked()) return;
  starting.value = true;
  taken.value = false;
  try {
    status.value = await api.startTraining({ ...(await body(how.resume ?? false)), ...how });
    follow();
  } catch (error) {
    taken.value = error instanceof ApiError && error.status === 409 && error.field === "name";
    const known = error instanceof ApiError && all.value.some((one) => one.path === `${PLACE}.${error.field}`);
    setFault(known ? `${PLACE}.${(error as ApiError).field}` : GENERAL, words(error));
    reveal();
  } finally {
    starting.value = false;
  }
}

function checked(): boolean {
  clear();
  for (const field of all.value) {
    const fault = field === nameField && !String(shown(field)).trim() ? "Give the hypernetwork a name." : faultOf(field, shown(field));
    if (fault) setFault(field.path, fault);
  }
  reveal();
  return mine().length === 0;
}

const mine = () => Object.keys(faults.value).filter((path) => path === PLACE || path.startsWith(`${PLACE}.`));

function clear(): void {
  for (const path of mine()) setFault(path, "");
}

function reveal(): void {
  const [first] = mine();
  const found = first && document.getElementById(`field-${first}`);
  if (!found) return;
  found.closest("details")?.setAttribute("open", "");
  found.focus();
}

/** All that is shown; a run that goes on has its images already. */
async function body(resumed: boolean): Promise<{ [name: string]: Sent }> {
  const said = all.value.map((field) => [field.path.slice(PLACE.length + 1), sentOf(field, shown(field))] as const);
  const images = ownImages.value && !resumed ? await sentImages() : [];
  return { ...Object.fromEntries(said), images };
}

export async function stop(): Promise<void> {
  try {
    const told = await api.stopTraining();
    // Its end may have been told of meanwhile.
    if (goesOn.value) status.value = told;
  } catch (error) {
    setFault(GENERAL, words(error));
  }
}

/** Where a preview is. */
export const previewUrl = (step: number) => api.previewUrl(step, status.value?.name ?? "");

/** Put the finished network's tag behind the prompt, unless it is there. */
export function useNetwork(name: string): void {
  const prompt = String(values.value["prompt"] ?? "");
  const tag = `<hypernet:${name}:1>`;
  if (!prompt.includes(`<hypernet:${name}:`)) setValue("prompt", `${prompt}${prompt && !/\s$/.test(prompt) ? " " : ""}${tag}`);
}

/** How many images there are to train with. */
export const imageCount = computed(() => {
  if (ownImages.value) return dataset.value.length;
  return folders.value.find((one) => one.name === shown(folderField.value))?.images ?? 0;
});
