// The image and the mask over it: drawn by mouse, pen or finger, and by the buttons above.
import { signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Gestures } from "../mask/gestures";
import type { MaskPainting } from "../mask/painting";
import { fitted, moved, pinched, toImage, zoomed, type Place, type Point } from "../mask/place";
import { resizeBrush, setTools, tools } from "../mask/tools";
import { faults } from "../state";
import { MaskTools } from "./MaskTools";
import "./mask.css";

const STEP = 1.25;
/** Pixels that an arrow key moves the image by. */
const ARROW = 48;

/** Whether the space bar is down, so that a drag moves the image. */
const space = signal(false);

interface Props {
  /** The address of the image under it; null where there is none. */
  url: string | null;
  painting: MaskPainting;
  /** Whether the browser has the mask as it is drawn. */
  kept: boolean;
  /** Of the field that it is for, where what is wrong with it is told. */
  path: string;
  /** Other masks of the image, which are seen and not drawn on. */
  others?: readonly HTMLCanvasElement[];
}

const NO_OTHERS: readonly HTMLCanvasElement[] = [];

export function MaskEditor({ url, painting, kept, path, others = NO_OTHERS }: Props) {
  const surface = useRef<HTMLDivElement>(null);
  const layer = useRef<HTMLDivElement>(null);
  const behind = useRef<HTMLDivElement>(null);
  const place = useSignal<Place>({ scale: 1, x: 0, y: 0 });
  const at = useSignal<Point | null>(null);
  const { size } = painting;
  const fault = faults.value[path];
  const box = () => ({ width: surface.current?.clientWidth ?? 1, height: surface.current?.clientHeight ?? 1 });
  const fit = () => (place.value = fitted(size, box()));
  const zoom = (factor: number, point?: Point) => {
    const { width, height } = box();
    place.value = zoomed(place.value, point ?? { x: width / 2, y: height / 2 }, factor, size, box());
  };
  const move = (by: Point) => (place.value = moved(place.value, by, size, box()));
  useLayoutEffect(() => {
    layer.current?.replaceChildren(painting.canvas);
    fit();
  }, [painting]);
  useLayoutEffect(() => behind.current?.replaceChildren(...others), [others]);
  useEffect(() => {
    const on = surface.current;
    if (!on) return;
    const sized = new ResizeObserver(fit);
    sized.observe(on);
    const inside = (point: Point) => toImage(place.value, point);
    const stop = new Gestures(on, {
      begin: (point, erases) => painting.begin(inside(point), tools.value.brush, erases || tools.value.erases),
      extend: (points) => painting.extend(points.map(inside)),
      end: () => painting.end(),
      abandon: () => painting.abandon(),
      move,
      pinch: (before, after) => (place.value = pinched(place.value, before, after, size, box())),
      zoom: (point, factor) => zoom(factor, point),
      resize: resizeBrush,
      hover: (point) => (at.value = point),
      pans: () => space.value,
    }).listen();
    return () => {
      sized.disconnect();
      stop();
      painting.end();
    };
  }, [painting]);
  const keys = { fit, zoom: (steps: number) => zoom(STEP ** steps), move };
  const { scale, x, y } = place.value;
  return (
    <section
      class="mask-editor"
      aria-label="Mask"
      data-kept={kept}
      onKeyDown={(event) => hear(event, painting, keys)}
      onKeyUp={(event) => event.key === " " && (space.value = false)}
      onFocusOut={() => (space.value = false)}
    >
      <MaskTools painting={painting} path={path} fit={fit} zoom={keys.zoom} />
      <div
        ref={surface}
        class={`mask-surface ${space.value ? "moves" : ""}`}
        tabIndex={0}
        role="application"
        aria-label="Image: draw the mask over it. B brush, E eraser, [ and ] its size, Ctrl+Z undo, arrows move, plus and minus zoom, 0 shows all."
      >
        <div class="mask-content" style={{ width: `${size.width}px`, height: `${size.height}px`, transform: `translate(${x}px, ${y}px) scale(${scale})` }}>
          {url && <img src={url} alt="" draggable={false} />}
          <div ref={behind} class="mask-layer mask-others" />
          <div ref={layer} class="mask-layer" style={{ opacity: tools.value.opacity / 100 }} />
        </div>
        <Brush at={space.value ? null : at.value} across={tools.value.brush * scale} />
      </div>
      {fault && <p class="fault" id={`field-${path}`} role="alert" tabIndex={-1}>{fault}</p>}
    </section>
  );
}

/** How large the brush is, where it would draw. */
function Brush({ at, across }: { at: Point | null; across: number }) {
  if (!at) return null;
  const place = `translate(${at.x - across / 2}px, ${at.y - across / 2}px)`;
  return <div class="mask-brush" style={{ width: `${across}px`, height: `${across}px`, transform: place }} />;
}

interface Keys {
  fit(): void;
  zoom(steps: number): void;
  move(by: Point): void;
}

/** Keys of the editor; those that its sliders and buttons have stay theirs. */
function hear(event: KeyboardEvent, painting: MaskPainting, keys: Keys): void {
  const act = event.ctrlKey || event.metaKey ? withControl(event, painting) : alone(event, keys);
  if (!act) return;
  event.preventDefault();
  act();
}

function withControl(event: KeyboardEvent, painting: MaskPainting): (() => void) | null {
  const key = event.key.toLowerCase();
  if (key === "y" || (key === "z" && event.shiftKey)) return () => painting.redo();
  return key === "z" ? () => painting.undo() : null;
}

function alone(event: KeyboardEvent, { fit, zoom, move }: Keys): (() => void) | null {
  if (event.altKey) return null;
  const everywhere: Record<string, () => void> = { "[": () => resizeBrush(-1), "]": () => resizeBrush(1) };
  const common = everywhere[event.key];
  if (common || !(event.target instanceof Element) || event.target.role !== "application") return common ?? null;
  const here: Record<string, () => void> = {
    b: () => setTools({ erases: false }),
    e: () => setTools({ erases: true }),
    "+": () => zoom(1),
    "=": () => zoom(1),
    "-": () => zoom(-1),
    "0": fit,
    " ": () => (space.value = true),
    ArrowLeft: () => move({ x: ARROW, y: 0 }),
    ArrowRight: () => move({ x: -ARROW, y: 0 }),
    ArrowUp: () => move({ x: 0, y: ARROW }),
    ArrowDown: () => move({ x: 0, y: -ARROW }),
  };
  return here[event.key] ?? null;
}
