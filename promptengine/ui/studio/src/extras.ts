// WebUI's Extras: one image that is enlarged, and what came of it.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words } from "./api";
import { base64Of } from "./blobs";
import { faultOf, readGroup, saidBy, type Field } from "./schema";
import { ImageSlot, type SourceImage } from "./source";
import { faults, setFault, shown } from "./state";
import { values } from "./store";

/** What the paths of these fields begin with; the server knows them without it. */
const PLACE = "extras";
const IMAGE = `${PLACE}.image`;
/** Where what has no field is told. */
export const GENERAL = PLACE;

const AGAIN_MS = 3000;

export interface Result {
  /** The image as it was sent. */
  before: string;
  after: string;
  blob: Blob;
  width: number;
  height: number;
  infotext: string;
  postprocessing: string;
  /** What history knows it by; null where it is not kept. */
  saved: string | null;
  warnings: string[];
}

export const enlarged = new ImageSlot("extras", IMAGE);
export const fields = signal<Field[]>([]);
export const result = signal<Result | null>(null);
const running = signal<AbortController | null>(null);
export const busy = computed(() => running.value !== null);

/** Read the fields, unless they are here; upscalers come and go, so each look at the view does. */
export async function loadFields(): Promise<void> {
  try {
    fields.value = readGroup(PLACE, (await api.upscaleFields()) as object, {})[0]?.fields ?? [];
    setFault(GENERAL, "");
  } catch (error) {
    setFault(GENERAL, words(error));
    if (error instanceof ApiError && error.status === 0) setTimeout(() => void loadFields(), AGAIN_MS);
  }
}

/** Whether a field counts as the others are. */
export function counts(field: Field): boolean {
  const at = (name: string) => {
    const other = fields.value.find((one) => one.path === `${PLACE}.${name}`);
    return other ? String(shown(other)) : "";
  };
  const needs: Record<string, () => boolean> = {
    scale: () => at("mode") === "scale by",
    width: () => at("mode") === "scale to",
    height: () => at("mode") === "scale to",
    crop: () => at("mode") === "scale to",
    visibility: () => at("upscaler_2") !== "None",
  };
  return needs[field.path.slice(PLACE.length + 1)]?.() ?? true;
}

export function stop(): void {
  running.value?.abort();
}

/** Enlarge the image, or say at the field why that cannot be. */
export async function enlarge(): Promise<void> {
  const image = enlarged.image.value;
  if (running.value || !mayBeSent(image)) return;
  const control = new AbortController();
  running.value = control;
  try {
    const said = saidBy(fields.value.filter(counts), values.value);
    const made = await api.upscale({ ...said, image: await base64Of(image.blob) }, control.signal);
    show(image, made);
  } catch (error) {
    if (control.signal.aborted) return;
    const path = error instanceof ApiError && error.field ? `${PLACE}.${error.field}` : GENERAL;
    const known = path === IMAGE || fields.value.some((one) => one.path === path && counts(one));
    setFault(known ? path : GENERAL, words(error));
  } finally {
    running.value = null;
  }
}

function mayBeSent(image: SourceImage | null): image is SourceImage {
  const found = fields.value.filter(counts).map((field) => [field.path, faultOf(field, shown(field))] as const);
  const missing = image ? [] : [[IMAGE, "There is no image to enlarge: drop, choose or paste one."] as const];
  const others = Object.entries(faults.value).filter(([path]) => path !== PLACE && !path.startsWith(`${PLACE}.`));
  const wrong = [...missing, ...found.filter(([, fault]) => fault)];
  faults.value = Object.fromEntries([...others, ...wrong]);
  return wrong.length === 0 && fields.value.length > 0;
}

function show(image: SourceImage, made: Awaited<ReturnType<typeof api.upscale>>): void {
  const before = result.value;
  const bytes = Uint8Array.from(atob(made.image), (one) => one.charCodeAt(0));
  const blob = new Blob([bytes], { type: "image/png" });
  const { width, height, infotext, postprocessing, saved, warnings } = made;
  result.value = {
    ...{ width, height, infotext, postprocessing, saved, warnings, blob },
    before: URL.createObjectURL(image.blob),
    after: URL.createObjectURL(blob),
  };
  if (before) for (const url of [before.before, before.after]) URL.revokeObjectURL(url);
}
