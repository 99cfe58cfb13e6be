// Downloads belong to the server: they go on when the page is closed, and every page shows the same.
import { signal } from "@preact/signals";
import { api, words, type CivitaiDownload } from "../api";
import { loadNetworks } from "../state";

const PAUSE_MS = 400;
const AGAIN_MS = 3000;

export const downloads = signal<CivitaiDownload[]>([]);
/** Why a download could not be begun, by the version's id. */
export const refusals = signal<Record<number, string>>({});

/** The last download of a version; undefined where there is none. */
export const downloadOf = (version: number) => downloads.value.findLast((one) => one.version === version);

export function goesOn(one: CivitaiDownload | undefined): boolean {
  return one !== undefined && ["waiting", "downloading", "stopping"].includes(one.state);
}

let following = false;
/** Whether something has been asked for since the last look began. */
let asked = false;
/** Downloads whose end has not been seen. */
const expected = new Set<string>();

/** Show what the server tells of its downloads, until all have ended. */
export async function follow(): Promise<void> {
  asked = true;
  if (following) return;
  following = true;
  try {
    for (;;) {
      asked = false;
      const pause = await look();
      if (pause === null && !asked) return;
      await new Promise((done) => setTimeout(done, pause ?? 0));
    }
  } finally {
    following = false;
  }
}

/** Look once; return how long to wait for the next look, null where nothing more will come. */
async function look(): Promise<number | null> {
  try {
    downloads.value = await api.downloads();
  } catch {
    return expected.size > 0 ? AGAIN_MS : null;
  }
  const ended = downloads.value.filter((one) => !goesOn(one) && expected.delete(one.id));
  for (const one of downloads.value.filter(goesOn)) expected.add(one.id);
  // A new file is to be found at once.
  if (ended.some((one) => one.state === "done")) await loadNetworks(true);
  return downloads.value.some(goesOn) ? PAUSE_MS : null;
}

export async function download(version: number, how: { nsfw: boolean; overwrite?: boolean }): Promise<void> {
  const { [version]: _, ...others } = refusals.value;
  refusals.value = others;
  try {
    const told = await api.download({ version, nsfw: how.nsfw, overwrite: how.overwrite ?? false });
    downloads.value = [...downloads.value.filter((one) => one.id !== told.id), told];
    expected.add(told.id);
    await follow();
  } catch (error) {
    refusals.value = { ...refusals.value, [version]: words(error) };
  }
}

/** End a download; one that has just ended is no fault. */
export async function cancel(id: string): Promise<void> {
  await api.cancelDownload(id).catch(() => undefined);
  await follow();
}
