// The images that a training is to use, with their captions, kept by the browser until they are sent.
import { signal } from "@preact/signals";
import type { Sent } from "./api";
import { base64Of, keepBlob, keptBlob } from "./blobs";
import { keep, kept } from "./store";

const KEPT = "promptengine.studio.dataset";
const IMAGES = /\.(png|jpe?g|webp|bmp)$/i;
const CAPTIONS = /\.txt$/i;
/** WebUI takes leading digits and dashes of a name for a number. */
const NUMBERING = /^[-\d]+\s*/;
/** Captions are edited key by key; this is soon enough to lose none. */
const PAUSE_MS = 300;

export interface DataImage {
  id: string;
  name: string;
  caption: string;
  url: string;
  blob: Blob;
}

type KeptImage = Pick<DataImage, "id" | "name" | "caption">;

export const dataset = signal<DataImage[]>([]);

let pause: ReturnType<typeof setTimeout> | undefined;

/** Take up what the browser has kept; call once. */
export async function loadDataset(): Promise<void> {
  const found = kept<unknown>(KEPT, []);
  const loaded: DataImage[] = [];
  for (const one of (Array.isArray(found) ? found : []) as KeptImage[]) {
    const blob = typeof one?.id === "string" ? await keptBlob(one.id) : null;
    if (blob) loaded.push({ ...one, caption: String(one.caption), blob, url: URL.createObjectURL(blob) });
  }
  dataset.value = [...loaded, ...dataset.value];
}

/** Take files: images, and texts of the same names as their captions. Returns how many are of neither kind. */
export async function addFiles(files: Iterable<File>): Promise<number> {
  const all = [...files];
  const stem = (name: string) => name.replace(/\.[^.]*$/, "");
  const texts = new Map<string, string>();
  for (const file of all.filter((one) => CAPTIONS.test(one.name))) texts.set(stem(file.name), (await file.text()).trim());
  const known = dataset.value.map((one) => {
    const caption = texts.get(stem(one.name));
    return caption === undefined ? one : { ...one, caption };
  });
  const images = all.filter((one) => IMAGES.test(one.name));
  const added = images.map((blob) => ({
    ...{ id: `dataset/${crypto.getRandomValues(new Uint32Array(2)).join("")}`, name: blob.name, blob },
    ...{ caption: texts.get(stem(blob.name)) ?? stem(blob.name).replace(NUMBERING, ""), url: URL.createObjectURL(blob) },
  }));
  dataset.value = [...known, ...added];
  save();
  await Promise.all(added.map((one) => keepBlob(one.id, one.blob)));
  return all.length - images.length - texts.size;
}

export function caption(id: string, text: string): void {
  dataset.value = dataset.value.map((one) => (one.id === id ? { ...one, caption: text } : one));
  clearTimeout(pause);
  pause = setTimeout(save, PAUSE_MS);
}

export function removeImage(id: string): void {
  for (const one of dataset.value.filter((image) => image.id === id)) drop(one);
  dataset.value = dataset.value.filter((one) => one.id !== id);
  save();
}

export function removeAll(): void {
  dataset.value.forEach(drop);
  dataset.value = [];
  save();
}

function drop(image: DataImage): void {
  URL.revokeObjectURL(image.url);
  void keepBlob(image.id, null);
}

function save(): void {
  keep(KEPT, dataset.value.map(({ id, name, caption }) => ({ id, name, caption })));
}

/** What is sent of the images. */
export function sentImages(): Promise<Sent[]> {
  return Promise.all(dataset.value.map(async (one) => ({ image: await base64Of(one.blob), caption: one.caption })));
}
