// Thumbnails in rows, of which only those that are seen, and a few around them, are in the document.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { api, type SavedImage } from "../api";
import { imageAt, total, want } from "../history";

const GAP = 8;
const TILE = 168;
const SMALL_TILE = 104;
const NARROW = 640;
/** Rows around those that are seen. */
const MARGIN = 3;
/** What is gone sooner was only scrolled past. */
const CALM_MS = 60;

/** The place of the first image that is seen. */
export const firstShown = signal(0);
/** The place of the image that keys move from. */
const current = signal(0);
/** How far the grid is scrolled, also while another view is shown. */
const scrolled = signal(0);

interface Layout {
  columns: number;
  tile: number;
  height: number;
}

function layoutOf(width: number, height: number): Layout {
  const least = width < NARROW ? SMALL_TILE : TILE;
  const columns = Math.max(Math.floor((width + GAP) / (least + GAP)), 1);
  return { columns, tile: Math.max((width - GAP * (columns - 1)) / columns, 1), height };
}

export function Grid({ onPick }: { onPick: (image: SavedImage) => void }) {
  const place = useRef<HTMLDivElement>(null);
  const [layout, setLayout] = useState<Layout | null>(null);
  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return;
    const measure = () => setLayout(layoutOf(element.clientWidth, element.clientHeight));
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (place.current && layout) place.current.scrollTop = scrolled.value;
  }, [layout !== null]);
  return (
    <div class="grid" ref={place} onScroll={(event) => (scrolled.value = event.currentTarget.scrollTop)}>
      {layout && <Rows layout={layout} onPick={onPick} place={place.current} />}
    </div>
  );
}

function Rows({ layout, onPick, place }: { layout: Layout; onPick: (image: SavedImage) => void; place: HTMLElement | null }) {
  const count = total.value ?? 0;
  const row = layout.tile + GAP;
  const top = Math.floor(scrolled.value / row);
  const seen = Math.ceil(layout.height / row) + 1;
  const begin = Math.max(top - MARGIN, 0);
  const first = Math.min(begin * layout.columns, count);
  const end = Math.min((top + seen + MARGIN) * layout.columns, count);
  useEffect(() => {
    firstShown.value = Math.min(top * layout.columns, Math.max(count - 1, 0));
    want(first, Math.max(end - 1, first));
  }, [first, end, count, top]);
  // The one that Tab comes to is among those that are there.
  const stop = current.value >= first && current.value < end ? current.value : Math.min(top * layout.columns, count - 1);
  const hear = (event: KeyboardEvent) => {
    const to = placeAfter(event.key, stop, layout.columns, Math.max(seen - 2, 1), count);
    if (to === null || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    current.value = to;
    if (place) reveal(place, Math.floor(to / layout.columns) * row, row, layout.height);
    requestAnimationFrame(() => place?.querySelector<HTMLElement>(`[data-index="${to}"]`)?.focus({ preventScroll: true }));
  };
  const places = Array.from({ length: Math.max(end - first, 0) }, (_, index) => first + index);
  return (
    <div class="rows" style={{ height: `${Math.ceil(count / layout.columns) * row}px` }}>
      <ul
        aria-label="Images, newest first"
        style={{ top: `${begin * row}px`, gridTemplateColumns: `repeat(${layout.columns}, minmax(0, 1fr))`, gridAutoRows: `${layout.tile}px` }}
        onKeyDown={hear}
      >
        {places.map((index) => {
          const image = imageAt(index);
          return <Tile key={image?.id ?? index} image={image} index={index} count={count} stop={index === stop} onPick={onPick} />;
        })}
      </ul>
    </div>
  );
}

interface TileProps {
  image: SavedImage | undefined;
  index: number;
  count: number;
  stop: boolean;
  onPick: (image: SavedImage) => void;
}

function Tile({ image, index, count, stop, onPick }: TileProps) {
  const [calm, setCalm] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setCalm(true), CALM_MS);
    return () => clearTimeout(timer);
  }, []);
  const pick = () => {
    current.value = index;
    if (image) onPick(image);
  };
  return (
    <li aria-setsize={count} aria-posinset={index + 1}>
      <button
        type="button"
        class="tile"
        data-index={index}
        data-id={image?.id}
        tabIndex={stop ? 0 : -1}
        aria-label={image ? nameOf(image) : "Loading"}
        title={image && nameOf(image)}
        onClick={pick}
      >
        {image && calm && <img src={api.thumbnailUrl(image.id)} alt="" decoding="async" />}
      </button>
    </li>
  );
}

/** What an image is called: its prompt's beginning, or its file's name. */
export function nameOf(image: SavedImage): string {
  const [line = ""] = image.infotext.split("\n");
  return /^(Steps|Negative prompt): /.test(line) || !line.trim() ? image.name : line.trim().slice(0, 120);
}

function placeAfter(key: string, from: number, columns: number, rows: number, count: number): number | null {
  const steps: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * rows,
    PageDown: columns * rows,
    Home: -from,
    End: count - 1 - from,
  };
  const step = steps[key];
  return step === undefined || count === 0 ? null : Math.min(Math.max(from + step, 0), count - 1);
}

/** Scroll as little as shows a row whole. */
function reveal(place: HTMLElement, top: number, row: number, height: number): void {
  if (top < place.scrollTop) place.scrollTop = top;
  else if (top + row > place.scrollTop + height) place.scrollTop = top + row - height;
}
