// The marks of a mask, each of which can draw itself on a canvas that is opaque where the mask is.
import type { Mark } from "./history";
import { distance, type Point } from "./place";

export interface Drawn extends Mark {
  draw(pen: CanvasRenderingContext2D): void;
}

/** One color in light and dark: it lies over images, not over the page. What is sent is white on black. */
export const MASK_COLOR = "#8b3cf7";

/** Steps between points that are shorter than this share of the brush change nothing that shows. */
const LEAST_STEP = 1 / 16;

/** A line drawn by brush or eraser; drawn again, it looks the same to the last pixel. */
export class Stroke implements Drawn {
  readonly resets = false;
  private readonly points: Point[] = [];

  /**
   * @param size Of the brush, in pixels of the image.
   * @param erases Whether it takes away.
   */
  constructor(
    readonly size: number,
    readonly erases: boolean,
  ) {}

  /** Go on to a point, and draw what that adds. */
  extend(point: Point, pen: CanvasRenderingContext2D): void {
    const last = this.points.at(-1);
    if (last && distance(last, point) < this.size * LEAST_STEP) return;
    this.points.push(point);
    this.prepare(pen);
    segment(pen, last ?? point, point);
  }

  draw(pen: CanvasRenderingContext2D): void {
    this.prepare(pen);
    this.points.forEach((point, index) => segment(pen, this.points[index - 1] ?? point, point));
  }

  private prepare(pen: CanvasRenderingContext2D): void {
    pen.globalCompositeOperation = this.erases ? "destination-out" : "source-over";
    pen.strokeStyle = MASK_COLOR;
    pen.lineWidth = this.size;
    pen.lineCap = "round";
  }
}

function segment(pen: CanvasRenderingContext2D, from: Point, to: Point): void {
  pen.beginPath();
  if (distance(from, to) === 0) {
    // A line of no length draws nothing, and a click is meant to draw the brush.
    pen.fillStyle = MASK_COLOR;
    pen.arc(to.x, to.y, pen.lineWidth / 2, 0, 2 * Math.PI);
    pen.fill();
    return;
  }
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
}

export const CLEAR: Drawn = {
  resets: true,
  draw: (pen) => pen.clearRect(0, 0, pen.canvas.width, pen.canvas.height),
};

export const FILL: Drawn = { resets: true, draw: (pen) => cover(pen, "copy") };

/** What was opaque becomes clear, and the other way round, by degrees too. */
export const INVERT: Drawn = { resets: false, draw: (pen) => cover(pen, "source-out") };

function cover(pen: CanvasRenderingContext2D, how: GlobalCompositeOperation): void {
  pen.globalCompositeOperation = how;
  pen.fillStyle = MASK_COLOR;
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
}

/** A mask from elsewhere, which covers all. */
export function loaded(image: CanvasImageSource): Drawn {
  return {
    resets: true,
    draw(pen) {
      pen.globalCompositeOperation = "copy";
      pen.drawImage(image, 0, 0, pen.canvas.width, pen.canvas.height);
    },
  };
}
