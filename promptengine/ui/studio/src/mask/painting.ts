// A mask that is drawn: a canvas as large as the image, opaque where the mask is, and its history.
import { signal } from "@preact/signals";
import { pngOf } from "../source";
import { add, noHistory, redone, replay, undone, type History } from "./history";
import { loaded, MASK_COLOR, Stroke, type Drawn } from "./marks";
import type { Point, Size } from "./place";

/** Rows that are looked at together, so that a large mask needs little room beside itself. */
const BAND = 256;

export class MaskPainting {
  /** What is shown over the image. */
  readonly canvas: HTMLCanvasElement;
  readonly history = signal<History<Drawn>>(noHistory());
  private readonly pen: CanvasRenderingContext2D;
  /** What can no longer be undone; made when there is something. */
  private base: CanvasRenderingContext2D | null = null;
  private stroke: Stroke | null = null;

  /**
   * @param size Of the image.
   * @param onChange Is told of every change that is whole.
   */
  constructor(
    readonly size: Size,
    private readonly onChange: () => void,
  ) {
    this.pen = penOf(size);
    this.canvas = this.pen.canvas;
  }

  /** Whether there may be anything in it, now or behind an undo. */
  get touched(): boolean {
    return this.base !== null || this.history.peek().marks.length > 0;
  }

  /** Begin to draw, or to erase, with a brush of so many pixels. */
  begin(at: Point, brush: number, erases: boolean): void {
    this.end();
    this.stroke = new Stroke(brush, erases);
    this.stroke.extend(at, this.pen);
  }

  extend(points: Point[]): void {
    for (const point of points) this.stroke?.extend(point, this.pen);
  }

  end(): void {
    if (!this.stroke) return;
    this.remember(this.stroke);
    this.stroke = null;
    this.onChange();
  }

  /** What is being drawn was not meant. */
  abandon(): void {
    if (!this.stroke) return;
    this.stroke = null;
    this.redraw();
  }

  mark(mark: Drawn): void {
    this.end();
    mark.draw(this.pen);
    this.remember(mark);
    this.onChange();
  }

  private remember(mark: Drawn): void {
    const { history, settled } = add(this.history.value, mark);
    for (const one of settled) {
      this.base ??= penOf(this.size);
      one.draw(this.base);
    }
    this.history.value = history;
  }

  undo(): void {
    this.turn(undone(this.history.value));
  }

  redo(): void {
    this.turn(redone(this.history.value));
  }

  private turn(history: History<Drawn>): void {
    this.end();
    if (history.done === this.history.value.done) return;
    this.history.value = history;
    this.redraw();
    this.onChange();
  }

  private redraw(): void {
    const { marks, onBase } = replay(this.history.value);
    this.pen.clearRect(0, 0, this.size.width, this.size.height);
    if (onBase && this.base) loaded(this.base.canvas).draw(this.pen);
    for (const mark of marks) mark.draw(this.pen);
  }

  /** Take a mask from an image: its alpha channel if that says anything, else its brightness, as the server reads one. */
  load(image: CanvasImageSource): void {
    this.mark(loaded(asMask(image, this.size)));
  }

  /** Begin with a mask that was kept. */
  restore(image: CanvasImageSource): void {
    this.base = penOf(this.size);
    loaded(asMask(image, this.size)).draw(this.base);
    this.redraw();
  }

  /** The mask as a PNG, white on black, and whether there is nothing in it. */
  async file(): Promise<{ png: Blob; empty: boolean }> {
    const pen = penOf(this.size);
    pen.drawImage(this.canvas, 0, 0);
    for (const [how, color] of [["source-in", "#fff"], ["destination-over", "#000"]] as const) {
      pen.globalCompositeOperation = how;
      pen.fillStyle = color;
      pen.fillRect(0, 0, this.size.width, this.size.height);
    }
    return { png: await pngOf(pen.canvas), empty: !some(pen, (pixel) => (pixel & 0xff) > 0) };
  }
}

function penOf({ width, height }: Size): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("The browser has no room for a mask of this size.");
  return pen;
}

/** A canvas that is opaque where an image means mask. */
function asMask(image: CanvasImageSource, size: Size): HTMLCanvasElement {
  const pen = penOf(size);
  pen.drawImage(image, 0, 0, size.width, size.height);
  const byAlpha = some(pen, (pixel) => pixel >>> 24 < 255);
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(MASK_COLOR.slice(at, at + 2), 16));
  const color = (Number(blue) << 16) | (Number(green) << 8) | Number(red);
  for (const part of bands(pen)) {
    const pixels = new Uint32Array(part.data.data.buffer);
    for (let at = 0; at < pixels.length; at += 1) {
      const pixel = pixels[at] ?? 0;
      pixels[at] = ((byAlpha ? pixel >>> 24 : brightness(pixel)) << 24) | color;
    }
    pen.putImageData(part.data, 0, part.top);
  }
  return pen.canvas;
}

/** How bright a pixel is, 0 to 255, as Pillow's mode L has it. */
function brightness(pixel: number): number {
  return (19595 * (pixel & 0xff) + 38470 * ((pixel >>> 8) & 0xff) + 7471 * ((pixel >>> 16) & 0xff) + 0x8000) >>> 16;
}

/** Whether there is a pixel, as one number of four bytes with alpha on top, that is such. */
function some(pen: CanvasRenderingContext2D, such: (pixel: number) => boolean): boolean {
  for (const part of bands(pen)) {
    const pixels = new Uint32Array(part.data.data.buffer);
    for (let at = 0; at < pixels.length; at += 1) if (such(pixels[at] ?? 0)) return true;
  }
  return false;
}

function* bands(pen: CanvasRenderingContext2D): Generator<{ top: number; data: ImageData }> {
  const { width, height } = pen.canvas;
  for (let top = 0; top < height; top += BAND)
    yield { top, data: pen.getImageData(0, top, width, Math.min(BAND, height - top)) };
}
