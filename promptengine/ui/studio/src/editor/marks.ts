// The server's reading of a prompt, drawn over the text: weights as colors, tags as chips, syntax marked.
import { RangeSetBuilder, StateEffect, StateField, type Extension } from "@codemirror/state";
import { Decoration, EditorView, type DecorationSet } from "@codemirror/view";
import type { Diagnostic as Finding } from "@codemirror/lint";
import type { Diagnostic, Mark, Reading } from "../api";

const STRONGEST = 0.6;
const SHADES = 4;

/** Take over the reading of the text as it is now. */
export const setMarks = StateEffect.define<Mark[]>();

export const marks: Extension = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(drawn, transaction) {
    const moved = drawn.map(transaction.changes);
    const read = transaction.effects.find((effect) => effect.is(setMarks));
    return read ? drawing(read.value as Mark[], transaction.state.doc.toString()) : moved;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function drawing(found: Mark[], text: string): DecorationSet {
  const at = offsets(text);
  const builder = new RangeSetBuilder<Decoration>();
  const ranges = found
    .map((mark) => ({ mark, from: at(mark.start), to: Math.min(at(mark.end), text.length) }))
    .filter((one) => one.from < one.to)
    .sort((a, b) => a.from - b.from || b.to - a.to);
  for (const { mark, from, to } of ranges) builder.add(from, to, decoration(mark));
  return builder.finish();
}

const TITLES: Record<Mark["kind"], string> = {
  tag: "a network, taken out of the text",
  schedule: "one text up to a step, another from then on",
  alternation: "another text at each step",
  and: "another prompt, mixed with the one before",
  break: "what follows starts a new chunk of 75 tokens",
  weight: "",
};

function decoration(mark: Mark): Decoration {
  if (mark.kind !== "weight") {
    return Decoration.mark({ class: `pe-${mark.kind}`, attributes: { title: TITLES[mark.kind] } });
  }
  const strength = Math.min(Math.abs(mark.weight - 1) / STRONGEST, 1);
  const shade = Math.max(1, Math.round(strength * SHADES));
  const side = mark.weight > 1 ? "up" : "down";
  return Decoration.mark({
    class: `pe-weight pe-${side}${shade}`,
    attributes: { title: `weight ${Number(mark.weight.toFixed(3))}` },
  });
}

/** From the server's characters to JavaScript's units, two of which make some characters. */
function offsets(text: string): (character: number) => number {
  if (!/[\ud800-\udfff]/.test(text)) return (character) => character;
  const units: number[] = [];
  let unit = 0;
  for (const character of text) {
    units.push(unit);
    unit += character.length;
  }
  return (character) => units[character] ?? unit;
}

/** The diagnostics that have a place, as the editor underlines them. */
export function findings(reading: Reading, text: string): Finding[] {
  const at = offsets(text);
  return reading.diagnostics
    .filter((one): one is Diagnostic & { start: number; end: number } => one.start !== null && one.end !== null)
    .map((one) => ({
      from: Math.min(at(one.start), text.length),
      to: Math.min(at(one.end), text.length),
      severity: one.severity,
      message: one.hint ? `${one.message} — ${one.hint}` : one.message,
    }));
}
