// How masks are drawn: what a person has chosen, kept by the browser.
import { signal } from "@preact/signals";
import { keep, kept } from "../store";

export interface Tools {
  erases: boolean;
  /** Across, in pixels of the image. */
  brush: number;
  /** How much of the image the mask hides while it is drawn, in percent. */
  opacity: number;
}

export const MOST_BRUSH = 512;

const KEPT = "promptengine.studio.mask-tools";
const USUAL: Tools = { erases: false, brush: 48, opacity: 60 };

export const tools = signal<Tools>(readTools());

function readTools(): Tools {
  const found = kept<Partial<Tools> | null>(KEPT, null) ?? {};
  const number = (value: unknown, low: number, high: number, usual: number) =>
    typeof value === "number" && value >= low && value <= high ? value : usual;
  return {
    erases: found.erases === true,
    brush: number(found.brush, 1, MOST_BRUSH, USUAL.brush),
    opacity: number(found.opacity, 5, 100, USUAL.opacity),
  };
}

export function setTools(some: Partial<Tools>): void {
  tools.value = { ...tools.value, ...some };
  keep(KEPT, tools.value);
}

/** Make the brush larger or smaller by some steps, each a tenth of it. */
export function resizeBrush(steps: number): void {
  const { brush } = tools.value;
  const next = brush + steps * Math.max(1, Math.round(brush / 10));
  setTools({ brush: Math.min(Math.max(next, 1), MOST_BRUSH) });
}
