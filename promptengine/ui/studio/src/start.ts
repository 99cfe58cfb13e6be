// What a job of img2img says beside its fields: the image that it starts from, the mask, and the size.
import { computed, effect } from "@preact/signals";
import { ApiError, Exact } from "./api";
import { base64Of } from "./blobs";
import { IMAGE, MASK, maskFile, painting, source } from "./inpaint";
import type { Size } from "./mask/place";
import { stageTab } from "./onStage";
import { faultOf, saidBy, type Field, type Group } from "./schema";
import { faults, form, setFault, shown, shownAt, startsFromImage } from "./state";
import { setValue, values } from "./store";
import type { Body, Part } from "./submit";

export type Mode = "img2img" | "inpaint" | "upload";
export type Sizing = "own" | "to" | "by";

/** WebUI's words for what is done with the image. */
export const MODES: readonly { id: Mode; label: string }[] = [
  { id: "img2img", label: "img2img" },
  { id: "inpaint", label: "Inpaint" },
  { id: "upload", label: "Inpaint upload" },
];

export const SIZINGS: readonly { id: Sizing; label: string }[] = [
  { id: "own", label: "Image's own" },
  { id: "to", label: "Resize to" },
  { id: "by", label: "Resize by" },
];

const MODE = "img2img.mode";
export const SIZING = "img2img.sizing";
/** Of the factor that "Resize by" has. */
export const SCALE = "img2img.scale";

const CELL = 8;
const SCALES = { low: 0.05, high: 4 };

export const mode = computed<Mode>(() => MODES.find((one) => one.id === values.value[MODE])?.id ?? "img2img");
export const sizing = computed<Sizing>(() => SIZINGS.find((one) => one.id === values.value[SIZING])?.id ?? "own");
export const inpaints = computed(() => mode.value !== "img2img");

export function setMode(id: Mode): void {
  setValue(MODE, id);
  setFault(MASK, "");
}

export const setSizing = (id: Sizing) => setValue(SIZING, id);

/** The groups that are sent now: what it starts from, and what is painted of it. */
export const startGroups = computed<Group[]>(() => {
  const all = form.value?.imageGroups ?? [];
  return all.filter((one) => one.path === "start" || (one.path === "start.inpainting" && inpaints.value));
});

const sentFields = (): Field[] => startGroups.value.flatMap((group) => group.fields);

/** The factor of "Resize by", a field of the page's own. */
export const scaleField: Field = {
  ...{ path: SCALE, label: "Scale", help: "how many times the sides of the image grow", control: "slider" },
  ...{ whole: false, optional: false, usual: "", choices: [], labels: [], step: null, initial: "1" },
  ...{ min: SCALES.low, max: SCALES.high },
};

/** The image's size times a factor, in whole cells of latents, as the server makes it. */
function inCells(factor: number): Size | null {
  const image = source.image.value;
  const cells = (side: number) => Math.max(Math.floor((side * factor) / CELL) * CELL, CELL);
  return image && { width: cells(image.width), height: cells(image.height) };
}

/** The size that the server gives a result that asks for none. */
export const ownSize = computed<Size | null>(() => inCells(1));

/** The size that the image is brought to; null where there is none. */
export const resultSize = computed<Size | null>(() => {
  const own = ownSize.value;
  if (sizing.value === "by") return inCells(Number(shown(scaleField)) || 1);
  if (sizing.value === "own" || !own) return own;
  const typed = (path: string) => Number(values.value[path] ?? "") || 0;
  return { width: typed("width") || own.width, height: typed("height") || own.height };
});

/** The size of the image that is made, as far as the page knows it. */
export const madeSize = computed<Size | null>(() => {
  if (startsFromImage.value) return resultSize.value;
  const [width, height] = [Number(shownAt("width")), Number(shownAt("height"))];
  return width > 0 && height > 0 ? { width, height } : null;
});

/** The request's own fields that are not shown, since the image says what they would. */
export const replaced = computed<readonly string[]>(() =>
  startsFromImage.value && sizing.value !== "to" ? ["width", "height"] : [],
);

/** Width and height where the page knows them; an image that asks for none is given its own by the server. */
function sentSize(): Body {
  if (sizing.value !== "by" || !resultSize.value) return {};
  const { width, height } = resultSize.value;
  return { width: new Exact(String(width)), height: new Exact(String(height)) };
}

/** The mask as a file. */
async function maskOf(): Promise<Blob> {
  if (mode.value === "upload" && maskFile.image.value) return maskFile.image.value.blob;
  const file = await painting.value?.file();
  // All is painted where what an empty mask leaves out is.
  if (file && (!file.empty || values.value["start.inpainting.inverted"] === true)) return file.png;
  throw new ApiError(NO_MASK, 0, MASK);
}

const NO_IMAGE = "There is no image to start from: drop, choose or paste one.";
const NO_MASK = "There is no mask: paint over what may change.";
const NO_MASK_FILE = "There is no mask: drop, choose or paste one, white where the image may change.";

effect(() => {
  if (startsFromImage.value) stageTab.value = "source";
});
effect(() => {
  if (startsFromImage.value && (faults.value[IMAGE] || faults.value[MASK])) stageTab.value = "source";
});

export const start: Part = {
  faults() {
    if (!startsFromImage.value) return {};
    const fields = sizing.value === "by" ? [...sentFields(), scaleField] : sentFields();
    const found = fields.map((field) => [field.path, faultOf(field, shown(field))] as const);
    const missing: [string, string][] = [];
    if (!source.image.value) missing.push([IMAGE, NO_IMAGE]);
    else if (mode.value === "upload" && !maskFile.image.value) missing.push([MASK, NO_MASK_FILE]);
    return Object.fromEntries([...missing, ...found.filter(([, fault]) => fault)]);
  },
  async body() {
    const image = source.image.value;
    if (!startsFromImage.value || !image) return {};
    const [own, inpainting] = startGroups.value;
    const [data, mask] = await Promise.all([
      base64Of(image.blob),
      inpainting ? maskOf().then(base64Of) : Promise.resolve(null),
    ]);
    return {
      ...sentSize(),
      start: {
        ...saidBy(own?.fields ?? [], values.value),
        images: [data],
        inpainting: inpainting ? { ...saidBy(inpainting.fields, values.value), mask } : null,
      },
    };
  },
  paths: () => (startsFromImage.value ? [IMAGE, MASK, ...sentFields().map((field) => field.path)] : []),
};
