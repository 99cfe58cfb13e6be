// Ctrl+Up and Ctrl+Down: the weight around the caret, as an edit of the text.

export interface Edit {
  from: number;
  to: number;
  insert: string;
  /** The selection afterwards. */
  anchor: number;
  head: number;
}

interface Bracket {
  open: number;
  /** Of the closing bracket. */
  close: number;
  kind: "(" | "[" | "<";
}

const CLOSES: Record<string, "(" | "[" | "<"> = { ")": "(", "]": "[", ">": "<" };
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)\s*$/;
const WORD_ENDS = /[\s.,\\/!?%^*;:{}=`~()[\]<>|]/;

/** Steps of a weight, and of a tag's multiplier, as WebUI has them. */
const STEP = 0.1;
const TAG_STEP = 0.05;

/**
 * Return the edit that raises or lowers the weight at a selection, or null where there is nothing to weigh.
 *
 * A number of a schedule is changed where the caret is on it; else the bracket around the selection, else the
 * selection or the word there, which gets brackets.
 */
export function weigh(text: string, from: number, to: number, up: boolean): Edit | null {
  const sign = up ? 1 : -1;
  const bracket = around(text, from, to);
  if (bracket?.kind === "<") return tagEdit(text, bracket, sign);
  if (bracket?.kind === "[") {
    const number = scheduleNumber(text, bracket, from, to);
    if (number) return numberEdit(text, number, sign, (was) => Math.max(was, 0));
  }
  if (bracket && (bracket.kind === "(" || isPlain(text, bracket)) && isWhole(text, bracket, from, to))
    return bracketEdit(text, bracket, sign);
  return wordEdit(text, from, to, sign);
}

/** The innermost pair of brackets around a selection. */
function around(text: string, from: number, to: number): Bracket | null {
  const open: { at: number; kind: "(" | "[" | "<" }[] = [];
  let found: Bracket | null = null;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? "";
    if (character === "\\") at += 1;
    else if (character === "(" || character === "[" || character === "<") open.push({ at, kind: character });
    else if (character in CLOSES) {
      const kind = CLOSES[character];
      const match = open.findLastIndex((one) => one.kind === kind);
      if (match < 0) continue;
      const start = open[match];
      open.length = match;
      if (start && kind && start.at < from && to <= at && (!found || start.at > found.open))
        found = { open: start.at, close: at, kind };
    }
  }
  return found;
}

/** Whether a selection is no part of what a bracket holds, or all of it: a part gets brackets of its own. */
function isWhole(text: string, bracket: Bracket, from: number, to: number): boolean {
  if (from === to) return true;
  const colon = weightColon(text, bracket);
  return text.slice(from, to).trim() === text.slice(bracket.open + 1, colon ?? bracket.close).trim();
}

/** Whether square brackets weaken, rather than schedule or alternate. */
function isPlain(text: string, { open, close }: Bracket): boolean {
  return !/[:|]/.test(text.slice(open + 1, close).replace(/\([^()]*\)/g, ""));
}

function weightColon(text: string, { open, close }: Bracket): number | null {
  const colon = text.lastIndexOf(":", close);
  return colon > open && NUMBER.test(text.slice(colon + 1, close)) ? colon : null;
}

function scheduleNumber(text: string, bracket: Bracket, from: number, to: number): [number, number] | null {
  const colon = weightColon(text, bracket);
  return colon !== null && colon < from && to <= bracket.close ? [colon + 1, bracket.close] : null;
}

function numberEdit(text: string, [start, end]: [number, number], sign: number, bound: (n: number) => number): Edit {
  const was = text.slice(start, end);
  const whole = !was.includes(".");
  const next = bound(Number(was) + sign * (whole ? 1 : STEP));
  const insert = whole ? String(Math.round(next)) : shown(next);
  const caret = start + insert.length;
  return { from: start, to: end, insert, anchor: caret, head: caret };
}

function tagEdit(text: string, bracket: Bracket, sign: number): Edit | null {
  const colon = weightColon(text, bracket);
  if (colon === null) return null;
  const insert = shown(Number(text.slice(colon + 1, bracket.close)) + sign * TAG_STEP);
  const caret = colon + 1 + insert.length;
  return { from: colon + 1, to: bracket.close, insert, anchor: caret, head: caret };
}

function bracketEdit(text: string, bracket: Bracket, sign: number): Edit {
  let { open, close } = bracket;
  const colon = bracket.kind === "(" ? weightColon(text, bracket) : null;
  const inner = text.slice(open + 1, colon ?? close);
  let weight = colon === null ? 1 : Number(text.slice(colon + 1, close));
  if (colon === null) {
    const [left, right, factor] = bracket.kind === "(" ? ["(", ")", 1.1] : ["[", "]", 1 / 1.1];
    weight = Number(factor);
    while (text[open - 1] === left && text[close + 1] === right && text[open - 2] !== "\\") {
      open -= 1;
      close += 1;
      weight *= Number(factor);
    }
  }
  return weighted(inner, open, close + 1, weight + sign * STEP);
}

function wordEdit(text: string, from: number, to: number, sign: number): Edit | null {
  if (from === to) {
    while (from > 0 && !WORD_ENDS.test(text[from - 1] ?? "")) from -= 1;
    while (to < text.length && !WORD_ENDS.test(text[to] ?? "")) to += 1;
  }
  while (to > from && /\s/.test(text[to - 1] ?? "")) to -= 1;
  while (from < to && /\s/.test(text[from] ?? "")) from += 1;
  return from === to ? null : weighted(text.slice(from, to), from, to, 1 + sign * STEP);
}

/** A weight of 1 needs no brackets. */
function weighted(inner: string, from: number, to: number, weight: number): Edit {
  const number = shown(weight);
  const plain = Number(number) === 1;
  const anchor = from + (plain ? 0 : 1);
  return {
    ...{ from, to, insert: plain ? inner : `(${inner}:${number})` },
    ...{ anchor, head: anchor + inner.length },
  };
}

function shown(number: number): string {
  const text = String(Number(number.toFixed(2)));
  return text.includes(".") ? text : `${text}.0`;
}
