// Completion: what the server's language service offers at the caret.
import { startCompletion, type Completion, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { api, previewUrl, type CompletionItem, type NetworkEntry } from "../api";
import { characters, offsets } from "./offsets";
import type { Syntax } from "./reading";

/** A completion with what the list shows beside its words. */
export interface Offered extends Completion {
  /** Where its image is; empty where it has none, and missing where none has one. */
  preview?: string;
  /** Of a listed word. */
  category?: number;
}

/** Behind a blank or a comma nothing has begun, but in a tag. */
const BEGUN = /[^\s,]$|<[^<>\n]*$/;
const LOOKED_AT = 400;

/**
 * Return a source of completions.
 *
 * @param syntax Gives how the text is read now.
 * @param listed Gives the files as they are known now.
 */
export function serviceCompletion(syntax: () => Syntax, listed: () => NetworkEntry[]) {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const { pos, explicit, state } = context;
    if (!explicit && !BEGUN.test(state.sliceDoc(Math.max(0, pos - LOOKED_AT), pos))) return null;
    const text = state.doc.toString();
    const items = await ask({ ...syntax(), text, offset: characters(text, pos), explicit });
    if (context.aborted || items.length === 0) return null;
    const at = offsets(text);
    const options = items.map((item) => ({
      ...shown(item, listed()),
      apply: (view: EditorView, _: Completion, _from: number, to: number) =>
        putIn(view, item, at(item.start), to + at(item.end) - pos),
    }));
    return { from: Math.min(...items.map((item) => at(item.start))), options, filter: false };
  };
}

async function ask(form: Parameters<typeof api.complete>[0]): Promise<CompletionItem[]> {
  try {
    return (await api.complete(form)).items;
  } catch {
    // Without an answer there is nothing to offer; the next key asks again.
    return [];
  }
}

function shown({ kind, label, alias, detail, help, category, group }: CompletionItem, listed: NetworkEntry[]): Offered {
  const entry = kind === "network" && listed.find((one) => one.kind === group && one.name === label);
  return {
    label,
    detail,
    ...(alias ? { displayLabel: `${alias} → ${label}` } : {}),
    ...(help ? { info: help } : {}),
    ...(kind === "network" ? { preview: (entry && previewUrl(entry)) || "" } : {}),
    ...(kind === "word" ? { category } : {}),
  };
}

function putIn(view: EditorView, { text, select, more }: CompletionItem, from: number, to: number): void {
  const at = offsets(text);
  view.dispatch({
    changes: { from, to, insert: text },
    selection: { anchor: from + at(select[0]), head: from + at(select[1]) },
    userEvent: "input.complete",
  });
  if (more) startCompletion(view);
}

/** A small image before a network's name; its place is kept where there is none, so that names stand in line. */
export function previewOf(completion: Completion): Node | null {
  const { preview } = completion as Offered;
  if (preview === undefined) return null;
  if (!preview) return Object.assign(document.createElement("span"), { className: "pe-preview" });
  return Object.assign(document.createElement("img"), { className: "pe-preview", src: preview, alt: "" });
}
