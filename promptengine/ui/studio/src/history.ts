// The images that the server keeps, newest first: a list of which only what is looked at is fetched.
import { signal } from "@preact/signals";
import { api, words, type SavedImage, type SavedImagePage } from "./api";

const PAGE = 100;
const AT_ONCE = 3;
/** Images at the beginning of the list that are looked at for new ones. */
const NEWEST = 20;
const AGAIN_MS = 1000;

/** How many there are, or are found; null as long as nobody knows. */
export const total = signal<number | null>(null);
/** Whether the server still looks at its files. */
export const scanning = signal(false);
export const search = signal("");
/** Why the list cannot be had, or empty. */
export const fault = signal("");
/** Grows with the list's every change, which is too long to be copied each time. */
const version = signal(0);

let slots: (SavedImage | undefined)[] = [];
let wanted = { first: 0, last: 0 };
/** What was asked of an older list is no part of the newer one. */
let epoch = 0;
const loading = new Set<number>();

/** The image at a place of the list; undefined as long as it is not here. */
export function imageAt(index: number): SavedImage | undefined {
  void version.value;
  return slots[index];
}

export function placeOf(id: string): number {
  void version.value;
  return slots.findIndex((one) => one?.id === id);
}

/** Have the images of some places fetched, and forget about those that were wanted before. */
export function want(first: number, last: number): void {
  wanted = { first, last };
  fill();
}

/** Have the image of one place. */
export async function fetchAt(index: number): Promise<SavedImage | undefined> {
  if (!slots[index] && index >= 0 && index < slots.length) await load(Math.floor(index / PAGE));
  return slots[index];
}

export async function searchFor(text: string): Promise<void> {
  search.value = text;
  wanted = { first: 0, last: PAGE - 1 };
  await reload();
}

/** Fetch what is looked at anew; the old list stays until then. */
export async function reload(): Promise<void> {
  const begun = (epoch += 1);
  loading.clear();
  try {
    const found = await Promise.all(pagesOf(wanted).map(async (page) => [page, await ask(page)] as const));
    if (begun !== epoch) return;
    const told = found[0]?.[1];
    slots = new Array<SavedImage | undefined>(told?.total ?? 0);
    for (const [page, { images }] of found) place(page * PAGE, images);
    settle(told);
  } catch (error) {
    if (begun === epoch) fault.value = words(error);
  }
}

/** See whether there are new images, or others are gone. */
export async function refresh(): Promise<void> {
  if (total.value === null) return reload();
  const begun = epoch;
  try {
    const told = await api.images({ limit: NEWEST, offset: 0, search: search.value });
    if (begun !== epoch) return;
    scanning.value = told.scanning;
    fault.value = "";
    const known = slots[0]?.id;
    const fresh = known === undefined ? 0 : told.images.findIndex((one) => one.id === known);
    if (fresh < 0 || told.total !== slots.length + fresh) return await reload();
    if (fresh > 0) change(() => slots.unshift(...told.images.slice(0, fresh)));
    else fill();
  } catch (error) {
    if (begun === epoch) fault.value = words(error);
  }
}

/** Move an image to the bin. */
export async function remove(image: SavedImage): Promise<void> {
  await api.deleteImage(image.id);
  const index = slots.findIndex((one) => one?.id === image.id);
  if (index >= 0) change(() => slots.splice(index, 1));
}

/** Take an image out of the bin. */
export async function restore(image: SavedImage): Promise<void> {
  await api.restoreImage(image.id);
  await reload();
}

/** Change the list as the server's has changed. */
function change(edit: () => unknown): void {
  epoch += 1;
  loading.clear();
  edit();
  total.value = slots.length;
  version.value += 1;
  fill();
}

function settle(told: SavedImagePage | undefined): void {
  fault.value = "";
  total.value = slots.length;
  scanning.value = told?.scanning ?? false;
  version.value += 1;
  fill();
}

const ask = (page: number) => api.images({ limit: PAGE, offset: page * PAGE, search: search.value });

function place(offset: number, images: SavedImage[]): void {
  images.forEach((image, index) => {
    if (offset + index < slots.length) slots[offset + index] = image;
  });
}

function pagesOf({ first, last }: { first: number; last: number }): number[] {
  const begin = Math.max(Math.floor(first / PAGE), 0);
  const end = Math.max(Math.floor(last / PAGE), begin);
  return Array.from({ length: end - begin + 1 }, (_, index) => begin + index);
}

function fill(): void {
  const end = Math.min(wanted.last, slots.length - 1);
  for (const page of pagesOf({ first: wanted.first, last: end })) {
    if (loading.size >= AT_ONCE) return;
    const from = Math.max(page * PAGE, wanted.first);
    const to = Math.min(page * PAGE + PAGE - 1, end);
    const lacks = Array.from({ length: Math.max(to - from + 1, 0) }, (_, index) => slots[from + index]).includes(undefined);
    if (lacks && !loading.has(page)) void load(page);
  }
}

async function load(page: number): Promise<void> {
  const begun = epoch;
  loading.add(page);
  try {
    const told = await ask(page);
    if (begun !== epoch) return;
    loading.delete(page);
    const expected = Math.min(PAGE, slots.length - page * PAGE);
    if (told.total !== slots.length || told.images.length < expected) {
      // The list has changed elsewhere meanwhile.
      setTimeout(() => begun === epoch && void reload(), AGAIN_MS);
      return;
    }
    place(page * PAGE, told.images);
    settle(told);
  } catch (error) {
    if (begun !== epoch) return;
    loading.delete(page);
    fault.value = words(error);
  }
}
