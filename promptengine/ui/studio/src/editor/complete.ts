// Completion after `<`: the kinds of tags, and the networks that have them.
import {
  startCompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { previewUrl, type NetworkEntry } from "../api";
import { shown } from "./tags";

/** Characters with which a tag ends or goes on; a name that has them cannot be written in one. */
const UNSPEAKABLE = /[<>:]/;

interface NetworkOption extends Completion {
  /** Where its image is; empty where it has none. */
  preview?: string;
}

/**
 * Return a source of completions.
 *
 * @param listed Gives the files as they are known now.
 */
export function networkCompletion(listed: () => NetworkEntry[]) {
  return (context: CompletionContext): CompletionResult | null => {
    const tag = context.matchBefore(/<[^<>]*/);
    const typed = tag && /^<(?:(\w+):)?([^:]*)$/.exec(tag.text);
    if (!typed) return null;
    const word = typed[1];
    const found = listed().filter((one) => one.tag !== null && (word === undefined || one.tag === word));
    return {
      from: tag.from + 1 + (word === undefined ? 0 : word.length + 1),
      options: [
        ...found.filter((one) => !UNSPEAKABLE.test(one.name)).map((one) => tagOption(one, tag.from)),
        ...(word === undefined ? kindOptions(found) : []),
      ],
      validFor: /^[^<>:]*$/,
    };
  };
}

/** The words that tags begin with. */
function kindOptions(found: NetworkEntry[]): Completion[] {
  const kinds = new Set(found.flatMap((one) => (one.tag === null ? [] : [one.tag])));
  return [...kinds].map((kind) => ({
    label: `${kind}:`,
    boost: -1,
    apply(view: EditorView, _completion: Completion, from: number, to: number) {
      view.dispatch({
        changes: { from, to, insert: `${kind}:` },
        selection: { anchor: from + kind.length + 1 },
        userEvent: "input.complete",
      });
      startCompletion(view);
    },
  }));
}

function tagOption(entry: NetworkEntry, start: number): NetworkOption {
  const multiplier = shown(entry.preferred_weight || 1);
  return {
    label: entry.name,
    detail: multiplier === "1" ? (entry.tag ?? "") : `${entry.tag} ${multiplier}`,
    preview: previewUrl(entry) ?? "",
    ...(entry.description ? { info: entry.description } : {}),
    apply(view: EditorView, _completion: Completion, _from: number, to: number) {
      const head = `<${entry.tag}:${entry.name}:`;
      const closes = view.state.sliceDoc(to, to + 1) === ">" ? 1 : 0;
      const place = start + head.length;
      view.dispatch({
        changes: { from: start, to: to + closes, insert: `${head}${multiplier}>` },
        selection: { anchor: place, head: place + multiplier.length },
        userEvent: "input.complete",
      });
    },
  };
}

/** A small image before a network's name; its place is kept where there is none, so that names stand in line. */
export function previewOf(completion: Completion): Node | null {
  const { preview } = completion as NetworkOption;
  if (preview === undefined) return null;
  if (!preview) return Object.assign(document.createElement("span"), { className: "pe-preview" });
  return Object.assign(document.createElement("img"), { className: "pe-preview", src: preview, alt: "" });
}
