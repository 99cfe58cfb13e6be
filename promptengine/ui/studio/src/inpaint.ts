// What img2img starts from: an image, the mask that is drawn over it, or the file that holds one.
import { effect, signal } from "@preact/signals";
import { keepBlob, keptBlob } from "./blobs";
import { CLEAR } from "./mask/marks";
import { MaskPainting } from "./mask/painting";
import { decoded, ImageSlot, type SourceImage } from "./source";
import { setFault } from "./state";

const DRAWN = "mask";
/** A mask is kept when nothing more has come for so long. */
const KEEP_MS = 200;

/** The fields of a job that these are for. */
export const IMAGE = "start.images";
export const MASK = "start.inpainting.mask";

export const source = new ImageSlot("img2img", IMAGE);
export const maskFile = new ImageSlot("mask-file", MASK);
/** The mask over the image that is here; null where there is none. */
export const painting = signal<MaskPainting | null>(null);
/** Whether the browser has the mask as it is drawn. */
export const maskKept = signal(true);

let pause: ReturnType<typeof setTimeout> | undefined;

effect(() => follow(source.image.value));
void source.restored.then((shown) => (shown ? restoreMask() : undefined));

/** An image of another size has a mask of its own; over one of the same size the mask is cleared, which can be undone. */
function follow(image: SourceImage | null): void {
  const before = painting.peek();
  if (image && before && image.width === before.size.width && image.height === before.size.height) {
    if (before.touched) before.mark(CLEAR);
    return;
  }
  painting.value = image && new MaskPainting({ width: image.width, height: image.height }, changed);
  if (before) changed();
}

function changed(): void {
  setFault(MASK, "");
  maskKept.value = false;
  clearTimeout(pause);
  pause = setTimeout(() => void keepMask(), KEEP_MS);
}

async function keepMask(): Promise<void> {
  const drawn = painting.peek();
  const state = drawn?.history.peek();
  const file = drawn && (await drawn.file());
  await keepBlob(DRAWN, file && !file.empty ? file.png : null);
  if (drawn === painting.peek() && state === drawn?.history.peek()) maskKept.value = true;
}

async function restoreMask(): Promise<void> {
  const blob = await keptBlob(DRAWN);
  const drawn = painting.peek();
  if (!blob || !drawn) return;
  const url = URL.createObjectURL(blob);
  try {
    const image = await decoded(url);
    const fits = image.naturalWidth === drawn.size.width && image.naturalHeight === drawn.size.height;
    if (fits && painting.peek() === drawn && !drawn.touched) drawn.restore(image);
  } catch {
    // A mask that cannot be read any more is none.
  } finally {
    URL.revokeObjectURL(url);
  }
}
