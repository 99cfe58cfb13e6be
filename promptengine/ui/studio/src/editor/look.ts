// How a prompt box looks; its colors are the page's own, which reach into the shadow tree.
import { EditorView } from "@codemirror/view";

const shades = Object.fromEntries(
  [1, 2, 3, 4].flatMap((shade) => [
    [`.pe-up${shade}`, { backgroundColor: `color-mix(in srgb, var(--warm) ${8 + shade * 8}%, transparent)` }],
    [`.pe-down${shade}`, { backgroundColor: `color-mix(in srgb, var(--cool) ${8 + shade * 8}%, transparent)` }],
  ]),
);

export const look = EditorView.theme({
  "&": { height: "100%", fontSize: "14px", color: "var(--text)", backgroundColor: "transparent" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--sans)", lineHeight: "1.5", overflow: "auto" },
  ".cm-content": { padding: "8px 12px", caretColor: "var(--text)" },
  ".cm-line": { padding: "0" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".pe-weight": { borderRadius: "3px", padding: "1px 0" },
  ...shades,
  ".pe-tag": {
    backgroundColor: "var(--accent-soft)",
    boxShadow: "inset 0 0 0 1px var(--accent-line)",
    borderRadius: "6px",
    padding: "1px 4px",
  },
  ".pe-schedule": { borderBottom: "2px solid var(--schedule)" },
  ".pe-alternation": { borderBottom: "2px dashed var(--schedule)" },
  ".pe-and, .pe-break": { fontWeight: "700", color: "var(--accent-text)" },
  ".cm-lintRange": { backgroundImage: "none", textDecoration: "underline wavy 1px", textUnderlineOffset: "4px" },
  ".cm-lintRange-error": { textDecorationColor: "var(--bad)" },
  ".cm-lintRange-warning": { textDecorationColor: "var(--warn)" },
  ".cm-lintRange-info": { textDecorationColor: "var(--muted)" },
  ".cm-tooltip": {
    color: "var(--text)",
    backgroundColor: "var(--raised)",
    border: "1px solid var(--line)",
    borderRadius: "8px",
    boxShadow: "var(--shadow)",
    overflow: "hidden",
    zIndex: "30",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--sans)", fontSize: "13px", maxHeight: "240px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "4px 12px", lineHeight: "20px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { fontStyle: "normal", opacity: "0.8", marginLeft: "8px" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700" },
  ".cm-diagnostic": { padding: "8px 12px", maxWidth: "420px", whiteSpace: "pre-wrap" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--bad)" },
  ".cm-diagnostic-warning": { borderLeft: "3px solid var(--warn)" },
  ".cm-diagnostic-info": { borderLeft: "3px solid var(--muted)" },
});
