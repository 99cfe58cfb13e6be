// Remedies taken: one edit of a prompt, as one step to undo.
import { isolateHistory } from "@codemirror/commands";
import type { EditorView } from "@codemirror/view";
import type { Remedy } from "../api";
import { offsets } from "./offsets";

/** The boxes that are shown, by their fields' paths. */
export const boxes = new Map<string, EditorView>();

/** Put a word where the caret is, with blanks around it. */
export function insertWord(view: EditorView | undefined, word: string): void {
  if (!view) return;
  const { to } = view.state.selection.main;
  const text = view.state.doc.toString();
  const before = to > 0 && !/\s/.test(text[to - 1] ?? "") ? " " : "";
  const after = /\s/.test(text[to] ?? "") ? "" : " ";
  view.dispatch({
    changes: { from: to, insert: `${before}${word}${after}` },
    selection: { anchor: to + before.length + word.length + 1 },
    annotations: isolateHistory.of("full"),
    userEvent: "input.keyword",
    scrollIntoView: true,
  });
  view.focus();
}

/**
 * Mend a prompt.
 *
 * @param prompt The text that the remedy is for; another one stays as it is.
 */
export function mend(view: EditorView | undefined, remedy: Remedy, prompt: string): void {
  if (!view || view.state.doc.toString() !== prompt) return;
  const at = offsets(prompt);
  const from = at(remedy.start);
  view.dispatch({
    changes: { from, to: at(remedy.end), insert: remedy.text },
    selection: { anchor: from + remedy.text.length },
    annotations: isolateHistory.of("full"),
    userEvent: "input.remedy",
    scrollIntoView: true,
  });
  view.focus();
}
