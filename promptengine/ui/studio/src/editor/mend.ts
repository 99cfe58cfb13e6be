// Remedies taken: one edit of a prompt, as one step to undo.
import { isolateHistory } from "@codemirror/commands";
import type { EditorView } from "@codemirror/view";
import type { Remedy } from "../api";
import { offsets } from "./offsets";

/** The boxes that are shown, by their fields' paths. */
export const boxes = new Map<string, EditorView>();

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
