// What acts in a part of the image: where the prompt divides it, or where a mask is painted.
import { computed, effect, signal } from "@preact/signals";
import { ApiError } from "./api";
import { base64Of } from "./blobs";
import type { Size } from "./mask/place";
import { stageTab } from "./onStage";
import { RegionMask } from "./regionMask";
import { faultOf, saidBy, type Field } from "./schema";
import { chosenName as scriptName } from "./scripts";
import { madeSize } from "./start";
import { faults, form, setFault, shown, shownAt } from "./state";
import { resetValues, setValue, setValues, values } from "./store";
import type { Part } from "./submit";

export type Way = "prompt" | "masks";

export const WAYS: readonly { id: Way; label: string }[] = [
  { id: "prompt", label: "Columns and rows" },
  { id: "masks", label: "Painted masks" },
];

/** The field of a job that regions with masks are for. */
export const REGIONS = "regions";
export const RATIOS = "region_ratios";
const SETTINGS = [RATIOS, "region_base_ratios", "region_layout"] as const;

const WAY = "regions.way";
const LIST = "regions.list";
/** Of an image whose size only the server knows. */
const USUAL: Size = { width: 512, height: 512 };
/** A finer mask than this says no more: latents have an eighth of an image's pixels. */
const MOST_SIDE = 2048;
const LEAST_SIDE = 8;

/** Which regions are sent: those of the prompt alone, or those with masks. */
export const way = computed<Way>(() => (values.value[WAY] === "masks" ? "masks" : "prompt"));
export const setWay = (id: Way) => {
  setValue(WAY, id);
  setFault(REGIONS, "");
};

/** Whether the prompt's dialect has words that divide the image. */
export const divides = computed(() => form.value?.dividing.includes(String(shownAt("dialect"))) ?? false);

/** The settings of regions that differ from what they are at first. */
export const changed = computed<Field[]>(() => {
  const own = form.value?.own.filter((field) => SETTINGS.some((path) => path === field.path)) ?? [];
  return own.filter((field) => shown(field) !== field.initial);
});

/** What the reading of a prompt needs to know of regions. */
export function regionSettings(): Record<(typeof SETTINGS)[number], string> {
  const [ratios, base, layout] = SETTINGS;
  return { [ratios]: text(ratios), [base]: text(base), [layout]: text(layout) };
}

const text = (path: string) => String(shownAt(path));

/** Regions with masks as the server declares them. */
const declared = computed(() => form.value?.lists.find((one) => one.path === REGIONS) ?? null);
export const mostRegions = computed(() => declared.value?.most ?? 0);

/** The regions with masks, in their order. */
export const ids = computed(() => String(values.value[LIST] ?? "").split(" ").filter(Boolean));
/** The one whose mask is painted. */
export const chosen = signal("");
export const shownRegion = computed(() => (ids.value.includes(chosen.value) ? chosen.value : (ids.value[0] ?? "")));

export const maskPath = (id: string) => `${REGIONS}.${id}.mask`;

/** The fields of a region, the mask aside. */
export function fieldsOf(id: string): Field[] {
  const own = declared.value?.fields ?? [];
  return own.map((field) => ({ ...field, path: field.path.replace(REGIONS, `${REGIONS}.${id}`) }));
}

const masks = new Map<string, RegionMask>();

export function maskOf(id: string): RegionMask {
  const found = masks.get(id) ?? new RegionMask(`region-${id}`, () => changedMask(id));
  masks.set(id, found);
  return found;
}

function changedMask(id: string): void {
  setFault(maskPath(id), "");
  setFault(REGIONS, "");
}

export function addRegion(): void {
  const id = String(1 + Math.max(0, ...ids.value.map(Number).filter(Number.isFinite)));
  chosen.value = id;
  setValue(LIST, [...ids.value, id].join(" "));
}

export function removeRegion(id: string): void {
  maskOf(id).forget();
  masks.delete(id);
  setFault(maskPath(id), "");
  setFault(REGIONS, "");
  setValues({ [LIST]: ids.value.filter((one) => one !== id).join(" ") });
  resetValues(fieldsOf(id).map((field) => field.path));
}

/** The size that masks are painted at: the image's own, but no finer than it helps. */
export const maskSize = computed<Size>(() => {
  const { width, height } = madeSize.value ?? USUAL;
  const factor = Math.min(1, MOST_SIDE / Math.max(width, height));
  const side = (length: number) => Math.max(Math.round(length * factor), LEAST_SIDE);
  return { width: side(width), height: side(height) };
});

const NO_MASK = "has no mask: paint where its text acts, or remove it.";
const NO_USE = "does nothing in this prompt dialect: use one that has regions, or put the setting back.";

const sent = () => (way.value === "masks" ? ids.value : []);

effect(() => {
  const wrong = Object.keys(faults.value).find((path) => path.split(".")[0] === REGIONS);
  if (wrong === undefined) return;
  stageTab.value = "regions";
  const [, id = ""] = wrong.split(".");
  if (ids.peek().includes(id)) chosen.value = id;
});

async function bodyOf(id: string) {
  const mask = await maskOf(id).file();
  if (!mask) throw new ApiError(`Region ${ids.value.indexOf(id) + 1} ${NO_MASK}`, 0, maskPath(id));
  return { ...saidBy(fieldsOf(id), values.value), mask: await base64Of(mask) };
}

export const regionsPart: Part = {
  faults() {
    const own = sent().flatMap(fieldsOf).map((field) => [field.path, faultOf(field, shown(field))] as const);
    // A script may bring the dialect, and a prompt that is divided.
    const idle = divides.value || scriptName.value !== "" ? [] : changed.value;
    const useless = idle.map((field) => [field.path, `${field.label} ${NO_USE}`] as const);
    return Object.fromEntries([...own.filter(([, fault]) => fault), ...useless]);
  },
  async body() {
    const list = sent();
    return list.length > 0 ? { [REGIONS]: await Promise.all(list.map(bodyOf)) } : {};
  },
  paths: () => sent().flatMap((id) => [maskPath(id), ...fieldsOf(id).map((field) => field.path)]).concat(REGIONS),
};
