// What mouse, pen and fingers mean over a mask: to draw, to move the image, or to enlarge it.
import type { Point } from "./place";

/** What gestures bring about; points are those of the surface, from its upper left corner. */
export interface Acts {
  begin(at: Point, erases: boolean): void;
  extend(points: Point[]): void;
  end(): void;
  abandon(): void;
  move(by: Point): void;
  pinch(before: [Point, Point], after: [Point, Point]): void;
  zoom(at: Point, factor: number): void;
  /** Make the brush larger or smaller by some steps. */
  resize(steps: number): void;
  /** Where the brush would draw; null for nowhere. */
  hover(at: Point | null): void;
  /** Whether a drag moves the image instead of drawing. */
  pans(): boolean;
}

/** A second finger that comes sooner shows that the first one was not meant to draw. */
const MEANT_MS = 250;
const WHEEL_ZOOM = 1.0015;
/** The end of a pen that erases, among the buttons of a pointer. */
const ERASER = 32;
const MIDDLE = 1;

type Doing = "nothing" | "drawing" | "panning" | "pinching";

export class Gestures {
  private readonly pointers = new Map<number, Point>();
  private doing: Doing = "nothing";
  private since = 0;

  constructor(
    private readonly surface: HTMLElement,
    private readonly acts: Acts,
  ) {}

  /** Listen, until the returned function is called. */
  listen(): () => void {
    const stop = new AbortController();
    const on = <K extends keyof HTMLElementEventMap>(kind: K, hear: (event: HTMLElementEventMap[K]) => void) =>
      this.surface.addEventListener(kind, hear, { signal: stop.signal, passive: false });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.up(event));
    on("pointerleave", () => this.acts.hover(null));
    on("wheel", (event) => this.wheel(event));
    return () => stop.abort();
  }

  private at(event: MouseEvent): Point {
    const box = this.surface.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private down(event: PointerEvent): void {
    if (event.button > MIDDLE && event.pointerType === "mouse") return;
    event.preventDefault();
    this.surface.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.pointers.size === 2) this.join();
    else if (this.pointers.size === 1) this.start(event);
  }

  private start(event: PointerEvent): void {
    this.since = event.timeStamp;
    if (event.button === MIDDLE || this.acts.pans()) {
      this.doing = "panning";
      return;
    }
    this.doing = "drawing";
    this.acts.begin(this.at(event), (event.buttons & ERASER) !== 0);
  }

  /** Two fingers: what the first one has drawn stays where it was meant. */
  private join(): void {
    if (this.doing === "drawing") {
      if (performance.now() - this.since < MEANT_MS) this.acts.abandon();
      else this.acts.end();
    }
    this.doing = "pinching";
    this.acts.hover(null);
  }

  private move(event: PointerEvent): void {
    const now = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (event.pointerType !== "touch") this.acts.hover(now);
    if (!before) return;
    const pair = [...this.pointers.values()];
    this.pointers.set(event.pointerId, now);
    if (this.doing === "panning") this.acts.move({ x: now.x - before.x, y: now.y - before.y });
    else if (this.doing === "pinching") this.pinch(pair);
    else if (this.doing === "drawing") {
      // Without the moves between two frames, quick lines have corners.
      const moves = event.getCoalescedEvents?.() ?? [];
      this.acts.extend((moves.length > 0 ? moves : [event]).map((one) => this.at(one)));
    }
  }

  private pinch(before: Point[]): void {
    const after = [...this.pointers.values()];
    const [one, other] = before;
    const [first, second] = after;
    if (one && other && first && second) this.acts.pinch([one, other], [first, second]);
  }

  private up(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.doing === "drawing") this.acts.end();
    if (this.doing !== "pinching" || this.pointers.size === 0) this.doing = "nothing";
    if (event.pointerType === "touch") this.acts.hover(null);
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    if (event.ctrlKey) this.acts.resize(event.deltaY < 0 ? 1 : -1);
    else this.acts.zoom(this.at(event), WHEEL_ZOOM ** -event.deltaY);
  }
}
