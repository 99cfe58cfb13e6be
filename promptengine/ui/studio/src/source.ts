// An image that was handed in: dropped, chosen, pasted or sent from elsewhere, and kept over a reload.
import { signal, type Signal } from "@preact/signals";
import { words } from "./api";
import { keepBlob, keptBlob } from "./blobs";
import { faults, setFault } from "./state";

export interface SourceImage {
  blob: Blob;
  /** For showing it; the browser turns it as its camera noted, as the server does. */
  url: string;
  /** In pixels, turned. */
  width: number;
  height: number;
}

/** What the server reads; anything else that the browser can show is sent as PNG. */
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];

const NO_IMAGE = "This is no image that can be read; try PNG, JPEG or WEBP.";

/** Read a file as an image; throws words for a person. */
export async function readSource(blob: Blob): Promise<SourceImage> {
  const url = URL.createObjectURL(blob);
  try {
    const image = await decoded(url);
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    if (size.width === 0 || size.height === 0) throw new Error(NO_IMAGE);
    if (SENT_AS_THEY_ARE.includes(blob.type)) return { blob, url, ...size };
    const png = await asPng(image);
    URL.revokeObjectURL(url);
    return { blob: png, url: URL.createObjectURL(png), ...size };
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
}

export async function decoded(url: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    throw new Error(NO_IMAGE);
  }
  return image;
}

async function asPng(image: HTMLImageElement): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d")?.drawImage(image, 0, 0);
  return pngOf(canvas);
}

export function pngOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser has no room for this image.")))),
  );
}

/** A place for one image. */
export class ImageSlot {
  readonly image: Signal<SourceImage | null> = signal(null);
  /** Whether what was kept is shown again, once that is known. */
  readonly restored: Promise<boolean>;
  private taken = 0;

  /**
   * @param name What it is kept under.
   * @param path Of the field that it is for, where what is wrong with it is told.
   */
  constructor(
    readonly name: string,
    readonly path: string,
  ) {
    this.restored = this.restore();
  }

  private async restore(): Promise<boolean> {
    const blob = await keptBlob(this.name);
    return blob !== null && this.taken === 0 && (await this.show(blob));
  }

  /** Take an image in place of the one that is here, and return whether it is one; the one that came last stays. */
  async take(blob: Blob): Promise<boolean> {
    const shown = await this.show(blob);
    if (shown) await keepBlob(this.name, this.image.value?.blob ?? null);
    return shown;
  }

  /** Take an image that was sent from another view; throws words for a person. */
  async receive(blob: Blob): Promise<void> {
    if (!(await this.take(blob))) throw new Error(faults.value[this.path] ?? NO_IMAGE);
  }

  private async show(blob: Blob): Promise<boolean> {
    const turn = (this.taken += 1);
    try {
      const image = await readSource(blob);
      if (turn !== this.taken) {
        URL.revokeObjectURL(image.url);
        return false;
      }
      this.put(image);
      setFault(this.path, "");
      return true;
    } catch (error) {
      if (turn === this.taken) setFault(this.path, words(error));
      return false;
    }
  }

  clear(): void {
    this.taken += 1;
    this.put(null);
    setFault(this.path, "");
    void keepBlob(this.name, null);
  }

  private put(image: SourceImage | null): void {
    const before = this.image.value;
    this.image.value = image;
    if (before) URL.revokeObjectURL(before.url);
  }
}
