// The mask of one region: painted at the image's size, kept by the browser as it was painted.
import { signal } from "@preact/signals";
import { keepBlob, keptBlob } from "./blobs";
import { MaskPainting } from "./mask/painting";
import type { Size } from "./mask/place";
import { decoded } from "./source";

/** A mask is kept when nothing more has come for so long. */
const KEEP_MS = 200;

export class RegionMask {
  /** The mask over the image; null until it is opened. */
  readonly painting = signal<MaskPainting | null>(null);
  /** Whether the browser has it as it is painted. */
  readonly kept = signal(true);
  /** As it was painted, at the size it had then: an image of another size changes nothing of it. */
  private blob: Blob | null = null;
  private changed = false;
  private opened = 0;
  private pause: ReturnType<typeof setTimeout> | undefined;
  private readonly restored: Promise<void>;

  /**
   * @param name What it is kept under.
   * @param onChange Is told when it is painted.
   */
  constructor(
    private readonly name: string,
    private readonly onChange: () => void,
  ) {
    this.restored = keptBlob(name).then((blob) => void (this.blob = blob));
  }

  /** Show it over an image of some size. */
  async open(size: Size): Promise<void> {
    const before = this.painting.peek();
    if (before?.size.width === size.width && before.size.height === size.height) return;
    const turn = (this.opened += 1);
    const blob = await this.file();
    const drawn = new MaskPainting(size, () => this.take());
    if (blob) await restore(drawn, blob);
    if (turn === this.opened) this.painting.value = drawn;
  }

  private take(): void {
    this.changed = true;
    this.kept.value = false;
    this.onChange();
    clearTimeout(this.pause);
    this.pause = setTimeout(() => void this.keep(), KEEP_MS);
  }

  private async keep(): Promise<void> {
    const blob = await this.file();
    if (this.changed) return;
    await keepBlob(this.name, blob);
    this.kept.value = !this.changed;
  }

  /** White where it is painted; null where it is nowhere. */
  async file(): Promise<Blob | null> {
    await this.restored;
    const drawn = this.painting.peek();
    if (!this.changed || !drawn) return this.blob;
    const state = drawn.history.peek();
    const { png, empty } = await drawn.file();
    const blob = empty ? null : png;
    if (drawn === this.painting.peek() && state === drawn.history.peek()) {
      this.blob = blob;
      this.changed = false;
    }
    return blob;
  }

  /** Let the browser keep it no longer. */
  forget(): void {
    clearTimeout(this.pause);
    this.opened += 1;
    void keepBlob(this.name, null);
  }
}

async function restore(drawn: MaskPainting, blob: Blob): Promise<void> {
  const url = URL.createObjectURL(blob);
  try {
    drawn.restore(await decoded(url));
  } catch {
    // A mask that cannot be read any more is none.
  } finally {
    URL.revokeObjectURL(url);
  }
}
