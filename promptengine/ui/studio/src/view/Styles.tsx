// The styles that are sent with the prompts, and the dialog where they are written.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { words, type Style } from "../api";
import { faults } from "../state";
import { values } from "../store";
import { applyStyles, choose, chosen, deleteStyle, loadStyles, PATH, saveStyle, styles } from "../styles";
import { Icon } from "./Icon";
import "./Styles.css";

const editing = signal(false);

export function Styles() {
  const known = new Set(styles.value.map((one) => one.name));
  const left = styles.value.filter((one) => !chosen.value.includes(one.name));
  const fault = faults.value[PATH];
  return (
    <section class="styles" aria-label="Styles">
      <ul class="style-chips" aria-label="Chosen styles">
        {chosen.value.map((name, place) => (
          <li class={known.has(name) ? "chip" : "chip lost-style"} key={name} title={known.has(name) ? "" : "The server has no such style."}>
            <span>{name}</span>
            <button type="button" class="icon" title="Remove" aria-label={`Remove style “${name}”`} onClick={() => choose(chosen.value.filter((_, at) => at !== place))}>
              <Icon name="close" />
            </button>
          </li>
        ))}
      </ul>
      <Chooser left={left} fault={fault} />
      <button
        type="button"
        class="icon"
        title="Apply all selected styles to prompt"
        aria-label="Apply all selected styles to prompt"
        disabled={!chosen.value.some((name) => known.has(name))}
        onClick={applyStyles}
      >
        <Icon name="apply" />
      </button>
      <button type="button" class="icon" title="Edit styles" aria-label="Edit styles" onClick={() => (editing.value = true)}>
        <Icon name="edit" />
      </button>
      {fault && <p class="fault" id={`field-${PATH}-fault`} role="alert">{fault}</p>}
      {editing.value && <StyleEditor />}
    </section>
  );
}

/** A box that completes names; a whole one is taken with Enter, a click in the list, or when the box is left. */
function Chooser({ left, fault }: { left: Style[]; fault: string | undefined }) {
  const take = (box: HTMLInputElement) => {
    if (!left.some((one) => one.name === box.value)) return;
    choose([...chosen.value, box.value]);
    box.value = "";
  };
  return (
    <>
      <input
        id={`field-${PATH}`}
        class="style-box"
        type="text"
        list="styles-left"
        autoComplete="off"
        placeholder="Styles"
        aria-label="Add a style"
        onFocus={() => void loadStyles()}
        onInput={(event) => {
          // What is typed may go on; what a list or a script puts here is whole.
          if (!/^(insertText|insertComp|delete)/.test((event as InputEvent).inputType ?? "")) take(event.currentTarget);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.altKey) take(event.currentTarget);
        }}
        onChange={(event) => take(event.currentTarget)}
        {...(fault ? { "aria-invalid": true, "aria-describedby": `field-${PATH}-fault` } : {})}
      />
      <datalist id="styles-left">
        {left.map((one) => <option key={one.name} value={one.name} />)}
      </datalist>
    </>
  );
}

const promptNow = (): Style => ({
  name: "",
  prompt: String(values.value["prompt"] ?? ""),
  negative_prompt: String(values.value["negative_prompt"] ?? ""),
});

/** The first chosen style, or one of the prompts as they stand. */
function atFirst(): Style {
  return styles.value.find((one) => one.name === chosen.value[0]) ?? promptNow();
}

function StyleEditor() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [style, setStyle] = useState(atFirst);
  const [told, setTold] = useState("");
  const [fault, setFault] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const isKnown = styles.value.some((one) => one.name === style.name);
  const change = (some: Partial<Style>) => {
    setStyle({ ...style, ...some });
    setTold("");
  };
  const name = (text: string) => change(styles.value.find((one) => one.name === text) ?? { name: text });
  const act = async (action: Promise<void>, done: string) => {
    setFault("");
    try {
      await action;
      setTold(done);
    } catch (error) {
      setFault(words(error));
    }
  };
  return (
    <dialog class="panel style-editor" ref={dialog} aria-labelledby="style-editor-title" onClose={() => (editing.value = false)}>
      <div class="panel-head">
        <h2 id="style-editor-title">Edit styles</h2>
        <button type="button" class="icon" aria-label="Close" onClick={() => dialog.current?.close()}><Icon name="close" /></button>
      </div>
      <div class="field">
        <label for="style-name">Style name</label>
        <input id="style-name" type="text" autoComplete="off" list="style-names" value={style.name} onInput={(event) => name(event.currentTarget.value)} />
        <datalist id="style-names">
          {styles.value.map((one) => <option key={one.name} value={one.name} />)}
        </datalist>
      </div>
      <div class="field">
        <label for="style-prompt">Prompt</label>
        <textarea id="style-prompt" rows={4} value={style.prompt} aria-describedby="style-help" onInput={(event) => change({ prompt: event.currentTarget.value })} />
      </div>
      <div class="field">
        <label for="style-negative">Negative prompt</label>
        <textarea id="style-negative" rows={3} value={style.negative_prompt} onInput={(event) => change({ negative_prompt: event.currentTarget.value })} />
      </div>
      <p class="help" id="style-help">{"{prompt} in a text is where the prompt goes; without it the text goes behind the prompt."}</p>
      {fault && <p class="fault" role="alert">{fault}</p>}
      <p class="sr" role="status">{told}</p>
      <div class="panel-actions">
        <button type="button" class="quiet" onClick={() => change({ ...promptNow(), name: style.name })}>Copy main prompt to style</button>
        <span class="told">{told}</span>
        <button type="button" class="quiet" disabled={!isKnown} onClick={() => void act(deleteStyle(style.name), "Deleted.")}>Delete</button>
        <button type="button" class="quiet primary" disabled={!style.name} onClick={() => void act(saveStyle(style), "Saved.")}>Save</button>
      </div>
    </dialog>
  );
}
