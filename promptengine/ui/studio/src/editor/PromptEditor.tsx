// A prompt box: CodeMirror in a shadow tree, where its styles are sheets that a strict policy allows.
import { acceptCompletion, autocompletion, completionKeymap, completionStatus, type Completion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, isolateHistory } from "@codemirror/commands";
import { setDiagnostics } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Reading } from "../api";
import type { Field } from "../schema";
import { faults, loadNetworks, networks, setFault, shownAt } from "../state";
import { setValue, values } from "../store";
import { chips } from "./chips";
import { previewOf, serviceCompletion, type Offered } from "./complete";
import { look } from "./look";
import { findings, marks, setMarks } from "./marks";
import { boxes, mend } from "./mend";
import { NoteList } from "./Notes";
import "./prompt.css";
import { Reader, notes, type Question, type Syntax } from "./reading";
import { regionSettings } from "../regions";
import { Timeline } from "./Timeline";
import { TokenCounter } from "./TokenCounter";
import { weigh } from "./weight";

/** What the route that reads prompts takes. */
const MOST_STEPS = 1000;

interface Props {
  field: Field;
  /** What the empty box says. */
  hint: string;
}

export function PromptEditor({ field, hint }: Props) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => (host.current ? mount(host.current, field, hint) : undefined), [field, hint]);
  const told = notes.value[field.path];
  const fault = faults.value[field.path];
  return (
    <div class="prompt" data-read={told?.current ? "current" : "pending"} data-counted={told?.counted}>
      <div class="prompt-label">
        <span>
          {field.label}
          {field.usual && <span class="usual"> · empty: {field.usual}</span>}
        </span>
        {told && <TokenCounter tokens={told.reading.tokens} />}
      </div>
      <div class="prompt-box" id={`field-${field.path}`} data-prompt={field.path} ref={host} />
      {fault && <p class="fault" role="alert">{fault}</p>}
      <Timeline field={field} told={told} />
      <NoteList field={field} />
    </div>
  );
}

function mount(host: HTMLDivElement, field: Field, hint: string): () => void {
  const path = field.path;
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open", delegatesFocus: true });
  const text = () => String(values.value[path] ?? field.initial);
  const view = new EditorView({
    root,
    parent: root as unknown as Element,
    state: EditorState.create({ doc: text(), extensions: extensions(field, hint) }),
  });
  boxes.set(path, view);
  const show = (reading: Reading, question: Question) => {
    if (view.state.doc.toString() !== question.prompt) return;
    view.dispatch({ effects: setMarks.of(reading.marks) });
    const found = findings(reading, question.prompt, (remedy) => mend(view, remedy, question.prompt));
    view.dispatch(setDiagnostics(view.state, found));
  };
  // What an input method is still composing must not be drawn anew under it.
  let held: [Reading, Question] | null = null;
  const reader = new Reader(path, (reading, question) => {
    held = view.composing ? [reading, question] : null;
    if (!held) show(reading, question);
  });
  const release = () => setTimeout(() => held && show(...held));
  view.contentDOM.addEventListener("compositionend", release);
  const stopFollowing = effect(() => {
    const prompt = text();
    if (view.state.doc.toString() !== prompt) {
      view.dispatch({ changes: change(view.state.doc.toString(), prompt), annotations: isolateHistory.of("full") });
    }
  });
  const stopReading = effect(() => {
    const { dynamic: _, ...syntax } = syntaxOf(field);
    reader.read({ prompt: text(), ...syntax, ...regionSettings() });
  });
  return () => {
    stopFollowing();
    stopReading();
    reader.close();
    boxes.delete(path);
    view.destroy();
  };
}

/** How a box's text is read now. */
function syntaxOf({ path }: Field): Syntax {
  const steps = Number(shownAt("steps"));
  return {
    negative: path.endsWith("negative_prompt"),
    // While a number is typed that cannot be, schedules are read for one step.
    steps: Number.isInteger(steps) ? Math.min(Math.max(steps, 1), MOST_STEPS) : 1,
    dialect: shownAt("dialect") as Question["dialect"],
    dynamic: shownAt("dynamic") === true,
  };
}

/** The part of a text that changes, so that the caret stays where it is in the rest. */
function change(before: string, after: string): { from: number; to: number; insert: string } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before[from] === after[from]) from += 1;
  let end = 0;
  while (end < shorter - from && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return { from, to: before.length - end, insert: after.slice(from, after.length - end) };
}

function extensions(field: Field, hint: string) {
  return [
    Prec.highest(
      keymap.of([
        { key: "Mod-ArrowUp", run: (view) => weighAt(view, field, true) },
        { key: "Mod-ArrowDown", run: (view) => weighAt(view, field, false) },
        // They belong to the whole page, which hears them once the editor lets them pass.
        { key: "Mod-Enter", run: () => false, preventDefault: false, stopPropagation: false },
      ]),
    ),
    history(),
    chips,
    autocompletion({
      override: [serviceCompletion(() => syntaxOf(field), () => networks.value)],
      icons: false,
      addToOptions: [{ render: previewOf, position: 10 }],
      optionClass: categoryOf,
    }),
    keymap.of([...completionKeymap, { key: "Tab", run: complete }, ...historyKeymap, ...defaultKeymap.filter(isOurs)]),
    marks,
    look,
    placeholder(hint),
    EditorView.lineWrapping,
    EditorView.perLineTextDirection.of(true),
    EditorView.contentAttributes.of({ "aria-label": field.label, spellcheck: "true", autocapitalize: "off" }),
    EditorView.updateListener.of((update) => {
      if (!update.docChanged) return;
      setValue(field.path, update.state.doc.toString());
      setFault(field.path, "");
      if (update.transactions.some((one) => one.isUserEvent("input.type"))) void loadNetworks();
    }),
  ];
}

/** Take what is offered; what has only just come up takes no key yet, and Tab must not leave the box then either. */
function complete(view: EditorView): boolean {
  return acceptCompletion(view) || completionStatus(view.state) === "active";
}

/** The class by which a word of a list has its category's color. */
function categoryOf(completion: Completion): string {
  const { category } = completion as Offered;
  return category === undefined ? "" : `pe-category${category}`;
}

/** Enter with a modifier and Escape are the page's own. */
function isOurs(binding: { key?: string }): boolean {
  return binding.key !== "Mod-Enter" && binding.key !== "Escape";
}

function weighAt(view: EditorView, field: Field, up: boolean): boolean {
  weigh(view, syntaxOf(field), up);
  return true;
}
