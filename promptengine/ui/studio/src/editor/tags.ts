// A network's tag as text: what it says, and the edits that a click makes of it.

export interface Tag {
  /** The word that it begins with, such as `hypernet`. */
  word: string;
  name: string;
  /** Null where it is none that one number says, such as one that changes over the steps. */
  multiplier: number | null;
}

/** How far one notch of the wheel, or one key, moves a multiplier. */
export const STEP = 0.05;

const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)\s*$/;

/** Read a tag; null for text that is none. */
export function readTag(text: string): Tag | null {
  const match = /^<(\w+):([^<>]+)>$/.exec(text);
  if (!match) return null;
  const [name = "", multiplier] = (match[2] ?? "").split(":");
  const said = multiplier === undefined ? 1 : NUMBER.test(multiplier) ? Number(multiplier) : null;
  return { word: match[1] ?? "", name, multiplier: said };
}

/** Write a tag with another multiplier; the rest of it stays. */
export function withMultiplier(text: string, multiplier: number): string {
  const [word = "", name = "", , ...rest] = text.slice(1, -1).split(":");
  return `<${[word, name, shown(multiplier), ...rest].join(":")}>`;
}

/** A multiplier as it is written, without the noise of binary fractions. */
export function shown(multiplier: number): string {
  return String(Number(multiplier.toFixed(2)));
}

/** What to delete so that a tag goes with the blanks, or the comma, that only it needed. */
export function removal(text: string, from: number, to: number): { from: number; to: number } {
  const after = /^[ \t]*/.exec(text.slice(to))?.[0].length ?? 0;
  const before = /[ \t]*$/.exec(text.slice(0, from))?.[0].length ?? 0;
  const left = text[from - before - 1] ?? "\n";
  const right = text[to + after] ?? "\n";
  if (right === "," && (left === "," || left === "\n")) {
    const comma = to + after + 1;
    return { from, to: comma + (/^[ \t]*/.exec(text.slice(comma))?.[0].length ?? 0) };
  }
  if (left === "," && right === "\n") return { from: from - before - 1, to: to + after };
  if (left === "\n" || right === "\n") return { from: from - before, to: to + after };
  return before > 0 ? { from, to: to + after } : { from, to };
}
