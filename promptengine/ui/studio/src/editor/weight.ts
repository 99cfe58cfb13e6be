// Ctrl+Up and Ctrl+Down: the weight around the caret, as the server's language service changes it.
import { isolateHistory } from "@codemirror/commands";
import type { EditorView } from "@codemirror/view";
import { api } from "../api";
import { characters, offsets } from "./offsets";
import type { Syntax } from "./reading";

/** Keys that are held wait for each other, since each begins where the one before ended. */
let last: Promise<void> = Promise.resolve();

/** Raise or lower a weight, as one step to undo. */
export function weigh(view: EditorView, syntax: Syntax, up: boolean): void {
  last = last.then(() => move(view, syntax, up));
}

async function move(view: EditorView, syntax: Syntax, up: boolean): Promise<void> {
  const text = view.state.doc.toString();
  const { from, to } = view.state.selection.main;
  const form = { ...syntax, text, start: characters(text, from), end: characters(text, to), up };
  try {
    const edit = await api.weigh(form);
    if (!edit || view.state.doc.toString() !== text) return;
    const at = offsets(text);
    const after = text.slice(0, at(edit.start)) + edit.text + text.slice(at(edit.end));
    const then = offsets(after);
    view.dispatch({
      changes: { from: at(edit.start), to: at(edit.end), insert: edit.text },
      selection: { anchor: then(edit.select[0]), head: then(edit.select[1]) },
      annotations: isolateHistory.of("full"),
      userEvent: "input.weight",
      scrollIntoView: true,
    });
  } catch {
    // Without an answer the text stays as it is; the next key asks again.
  }
}
