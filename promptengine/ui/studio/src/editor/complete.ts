// Completion: after `<` the networks that have tags, and embeddings as words.
import {
  startCompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import type { NetworkEntry } from "../api";

/** Characters with which a tag ends or goes on; a name that has them cannot be written in one. */
const UNSPEAKABLE = /[<>:]/;

/**
 * Return a source of completions.
 *
 * @param listed Gives the files as they are known now.
 */
export function networkCompletion(listed: () => NetworkEntry[]) {
  return (context: CompletionContext): CompletionResult | null => {
    const tag = context.matchBefore(/<[^<>]*/);
    if (tag) {
      const typed = /^<(?:(\w+):)?([^:]*)$/.exec(tag.text);
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
    }
    const word = context.matchBefore(/[\w.-]+/);
    if (!word || (word.text.length < 2 && !context.explicit)) return null;
    const embeddings = listed().filter((one) => one.kind === "embedding");
    return { from: word.from, options: embeddings.map(wordOption), validFor: /^[\w.-]*$/ };
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

function tagOption(entry: NetworkEntry, start: number): Completion {
  return {
    label: entry.name,
    detail: entry.tag ?? "",
    ...(entry.description ? { info: entry.description } : {}),
    apply(view: EditorView, _completion: Completion, _from: number, to: number) {
      const head = `<${entry.tag}:${entry.name}:`;
      const closes = view.state.sliceDoc(to, to + 1) === ">" ? 1 : 0;
      const multiplier = start + head.length;
      view.dispatch({
        changes: { from: start, to: to + closes, insert: `${head}1>` },
        selection: { anchor: multiplier, head: multiplier + 1 },
        userEvent: "input.complete",
      });
    },
  };
}

function wordOption(entry: NetworkEntry): Completion {
  return { label: entry.name, detail: entry.kind };
}
