// What a prompt says when: its schedules and alternations as stretches of steps, and multipliers that move.
import type { Reading } from "../api";

/** A text that holds for some steps. */
export interface Stretch {
  /** The first step, counted from 1. */
  from: number;
  /** The last one. */
  to: number;
  text: string;
  /** What it has and the others of its row have not. */
  label: string;
  /** The same for the same text. */
  shade: number;
}

export interface TextRow {
  kind: "text";
  stretches: Stretch[];
}

export interface CurveRow {
  kind: "curve";
  label: string;
  values: number[];
}

export type Row = TextRow | CurveRow;

/** The rows of a prompt that change over the steps; none where nothing does. */
export function rowsOf(reading: Reading, steps: number): Row[] {
  const texts = reading.subprompts
    .map((part) => stretchesOf((part["schedule"] ?? []) as { until: number; text: string }[], steps))
    .filter((found) => found.length > 1)
    .map((found): Row => ({ kind: "text", stretches: labelled(found) }));
  const curves = Object.entries(reading.multipliers ?? {}).map(([index, values]): Row => {
    const [word = "", [name = ""] = []] = reading.tags[Number(index)] ?? [];
    return { kind: "curve", label: `${word} ${name}`, values: values.slice(0, steps + 1) };
  });
  return [...texts, ...curves];
}

function stretchesOf(schedule: { until: number; text: string }[], steps: number): Stretch[] {
  const found: Stretch[] = [];
  let from = 1;
  for (const { until, text } of schedule) {
    const to = Math.min(until, steps);
    if (to < from) continue;
    const last = found.at(-1);
    if (last?.text === text) last.to = to;
    else found.push({ from, to, text, label: "", shade: 0 });
    from = to + 1;
  }
  return found;
}

function labelled(found: Stretch[]): Stretch[] {
  const texts = [...new Set(found.map((one) => one.text))];
  const start = shared(texts);
  const end = shared(texts.map((text) => reversed(text.slice(start))));
  return found.map((one) => ({
    ...one,
    label: one.text.slice(start, one.text.length - end).trim() || "nothing",
    shade: texts.indexOf(one.text),
  }));
}

/** How many characters all texts begin with, to the end of a word. */
function shared(texts: string[]): number {
  const [first = "", ...others] = texts;
  let count = 0;
  while (count < first.length && others.every((text) => text[count] === first[count])) count += 1;
  const isWhole = (at: number) => texts.every((text) => at === text.length || !/\w/.test(text[at] ?? "") || !/\w/.test(text[at - 1] ?? ""));
  while (count > 0 && !isWhole(count)) count -= 1;
  return count;
}

function reversed(text: string): string {
  return text.split("").reverse().join("");
}

/** "3", or "3–7". */
export function span({ from, to }: Stretch): string {
  return from === to ? String(from) : `${from}–${to}`;
}
