// The server's reading of a prompt, drawn over the text: weights as colors, tags as chips, syntax marked.
import { RangeSet, StateEffect, StateField, type Range } from "@codemirror/state";
import { Decoration, Direction, EditorView, WidgetType, type DecorationSet } from "@codemirror/view";
import type { Diagnostic as Finding } from "@codemirror/lint";
import type { Diagnostic, Mark, Reading, Remedy } from "../api";
import { offsets } from "./offsets";

const STRONGEST = 0.6;
const SHADES = 4;

/** Take over the reading of the text as it is now. */
export const setMarks = StateEffect.define<Mark[]>();

export const marks = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(drawn, transaction) {
    const moved = drawn.map(transaction.changes);
    const read = transaction.effects.find((effect) => effect.is(setMarks));
    return read ? drawing(read.value as Mark[], transaction.state.doc.toString()) : moved;
  },
  provide: (field) => [
    EditorView.decorations.from(field),
    // A tag reads from left to right also where the text around it does not.
    EditorView.bidiIsolatedRanges.of((view) => view.state.field(field)),
  ],
});

/** The × at a chip's end; what it does, keys do by deleting the text. */
class Out extends WidgetType {
  toDOM(): HTMLElement {
    const dom = document.createElement("span");
    dom.className = "pe-out";
    dom.title = "take it out";
    dom.setAttribute("aria-hidden", "true");
    return dom;
  }
  override eq(): boolean {
    return true;
  }
  override ignoreEvent(): boolean {
    return false;
  }
}

const OUT = Decoration.widget({ widget: new Out(), side: -1 });

function drawing(found: Mark[], text: string): DecorationSet {
  const at = offsets(text);
  const drawn: Range<Decoration>[] = [];
  for (const mark of found) {
    const from = at(mark.start);
    const to = at(mark.end);
    if (from >= to) continue;
    drawn.push(decoration(mark).range(from, to));
    if (mark.kind === "tag") drawn.push(OUT.range(to));
  }
  return RangeSet.of(drawn, true);
}

const TITLES: Record<Mark["kind"], string> = {
  tag: "a network, taken out of the text; Alt and arrows, or the wheel, move its multiplier",
  schedule: "one text up to a step, another from then on",
  alternation: "another text at each step",
  and: "another prompt, mixed with the one before",
  break: "what follows starts a new chunk of 75 tokens",
  weight: "",
};

function decoration(mark: Mark): Decoration {
  if (mark.kind !== "weight") {
    const isolated = mark.kind === "tag" ? { bidiIsolate: Direction.LTR } : {};
    return Decoration.mark({
      class: `pe-${mark.kind}`,
      attributes: { title: TITLES[mark.kind] },
      kind: mark.kind,
      ...isolated,
    });
  }
  const strength = Math.min(Math.abs(mark.weight - 1) / STRONGEST, 1);
  const shade = Math.max(1, Math.round(strength * SHADES));
  const side = mark.weight > 1 ? "up" : "down";
  return Decoration.mark({
    class: `pe-weight pe-${side}${shade}`,
    attributes: { title: `weight ${Number(mark.weight.toFixed(3))}` },
  });
}

/**
 * The diagnostics that have a place, as the editor underlines them.
 *
 * @param mend Takes a remedy.
 */
export function findings(reading: Reading, text: string, mend: (remedy: Remedy) => void): Finding[] {
  const at = offsets(text);
  return reading.diagnostics
    .filter((one): one is Diagnostic & { start: number; end: number } => one.start !== null && one.end !== null)
    .map((one) => {
      const { remedy } = one;
      return {
        from: at(one.start),
        to: at(one.end),
        severity: one.severity,
        message: one.hint ? `${one.message} — ${one.hint}` : one.message,
        ...(remedy ? { actions: [{ name: remedy.label, apply: () => mend(remedy) }] } : {}),
      };
    });
}
