// What a click on a card does to the prompts: its text goes in at the end, and with a second click out again.
import type { NetworkEntry } from "../api";

/** What a card puts into the prompts. */
export type Inserted = Pick<
  NetworkEntry,
  "tag" | "name" | "activation_text" | "preferred_weight" | "negative_text"
>;

export interface Prompts {
  prompt: string;
  negative: string;
}

const TAG = /<([^<>:]+):([^<>:]*)(?::[^<>]*)?>/g;
/** What a word of its own is set apart by. */
const APART = String.raw`[\s,()\[\]{}|:<>]`;

/** The tag of a card, with the multiplier that its user prefers. */
export function tagOf(entry: Inserted): string {
  return `<${entry.tag}:${entry.name}:${entry.preferred_weight || 1}>`;
}

/** Whether a prompt has a card's network. */
export function isIn(prompt: string, entry: Inserted): boolean {
  return entry.tag === null ? wordOf(entry.name).test(prompt) : tagsIn(prompt, entry).length > 0;
}

/** The prompts after a click on the card of a network that has a tag. */
export function withTag({ prompt, negative }: Prompts, entry: Inserted): Prompts {
  const found = tagsIn(prompt, entry);
  const text = entry.activation_text;
  if (found.length === 0) {
    return {
      prompt: joined(prompt, text ? `${tagOf(entry)} ${text}` : tagOf(entry)),
      negative: entry.negative_text ? joined(negative, entry.negative_text) : negative,
    };
  }
  let left = prompt;
  for (const [from, to] of found.reverse()) {
    const behind = text && left.startsWith(` ${text}`, to) ? to + 1 + text.length : to;
    left = without(left, from, behind);
  }
  const place = entry.negative_text ? negative.indexOf(entry.negative_text) : -1;
  return {
    prompt: left,
    negative: place < 0 ? negative : without(negative, place, place + entry.negative_text.length),
  };
}

/** The same of a network that is a word of the text; it may go into either prompt. */
export function withWord(prompt: string, entry: Inserted): string {
  const found = wordOf(entry.name).exec(prompt);
  if (!found) return joined(prompt, entry.name);
  const from = found.index + (found[1]?.length ?? 0);
  return without(prompt, from, from + entry.name.length);
}

/** Where the tags of a network are, whatever their multipliers. */
function tagsIn(prompt: string, entry: Inserted): [number, number][] {
  return [...prompt.matchAll(TAG)]
    .filter((one) => one[1] === entry.tag && one[2] === entry.name)
    .map((one) => [one.index, one.index + one[0].length]);
}

function wordOf(name: string): RegExp {
  const plain = name.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  return new RegExp(`(^|${APART})${plain}(?=$|${APART})`, "i");
}

function joined(prompt: string, text: string): string {
  return prompt === "" || /\s$/.test(prompt) ? prompt + text : `${prompt} ${text}`;
}

/** A prompt without a part of it, and without the space that set it apart. */
function without(prompt: string, from: number, to: number): string {
  const start = prompt[from - 1] === " " ? from - 1 : from;
  const end = start === 0 && prompt[to] === " " ? to + 1 : to;
  return prompt.slice(0, start) + prompt.slice(end);
}
