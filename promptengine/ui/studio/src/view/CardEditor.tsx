// What is known of a file, and what its user writes about it: WebUI's side-car.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, words, type NetworkDetail, type NetworkEntry, type NetworkPage } from "../api";
import { edited } from "../cards/edited";
import { replaceEntry } from "../cards/pages";
import { onStage } from "../onStage";
import { FileFacts } from "./FileFacts";
import { Icon } from "./Icon";
import { Preview } from "./Preview";

interface Draft {
  description: string;
  sd_version: string;
  activation_text: string;
  preferred_weight: string;
  negative_text: string;
  notes: string;
}

/** What was written and not saved, so that a closed dialog loses nothing. */
const drafts = new Map<string, Draft>();

const keyOf = (entry: NetworkEntry) => `${entry.kind}/${entry.name}`;

function savedDraft(entry: NetworkEntry): Draft {
  const { description, sd_version, activation_text, negative_text, user_notes: notes } = entry;
  return { description, sd_version, activation_text, negative_text, notes, preferred_weight: String(entry.preferred_weight) };
}

/** WebUI's words for what a file was made for. */
const VERSIONS = ["", "SD1", "SD2", "SDXL", "Unknown"];
const HEAVIEST = 2;

export function CardEditor({ page }: { page: NetworkPage }) {
  const entry = edited.value;
  return entry && entry.kind === page.kind ? <Dialog key={keyOf(entry)} page={page} first={entry} /> : null;
}

function Dialog({ page, first }: { page: NetworkPage; first: NetworkEntry }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const entry = useSignal(first);
  const detail = useSignal<NetworkDetail | null>(null);
  const fault = useSignal("");
  const draft = useSignal(drafts.get(keyOf(first)) ?? savedDraft(first));
  useEffect(() => {
    dialog.current?.showModal();
    // Lists have only the beginning of long texts.
    api.network(first.kind, first.name).then(
      (told) => {
        detail.value = told;
        entry.value = told;
        if (!drafts.has(keyOf(first))) draft.value = savedDraft(told);
      },
      (error: unknown) => (fault.value = words(error)),
    );
  }, []);
  const change = (some: Partial<Draft>) => {
    draft.value = { ...draft.value, ...some };
    drafts.set(keyOf(first), draft.value);
  };
  return (
    <dialog class="panel card-editor" ref={dialog} aria-labelledby="card-title" onClose={() => (edited.value = null)}>
      <div class="panel-head">
        <h2 id="card-title">{first.name}</h2>
        <button type="button" class="icon" aria-label="Close" onClick={() => dialog.current?.close()}><Icon name="close" /></button>
      </div>
      <div class="card-about">
        <PreviewPart entry={entry.value} onChange={(told) => (entry.value = told)} />
        <FileFacts entry={entry.value} detail={detail.value} fault={fault.value} />
      </div>
      <Fields page={page} draft={draft.value} change={change} />
      <Actions entry={entry.value} draft={draft.value} onSaved={() => dialog.current?.close()} />
    </dialog>
  );
}

function PreviewPart({ entry, onChange }: { entry: NetworkEntry; onChange: (told: NetworkEntry) => void }) {
  const fault = useSignal("");
  const here = onStage();
  const image = here?.job.result?.images[here.image]?.saved ?? null;
  const replace = async () => {
    if (image === null) return;
    try {
      const told = await api.setPreview(entry.kind, entry.name, image);
      replaceEntry(told);
      onChange(told);
      fault.value = "";
    } catch (error) {
      fault.value = words(error);
    }
  };
  return (
    <div class="card-preview">
      <Preview key={entry.preview} entry={entry} />
      <button
        type="button"
        class="quiet"
        disabled={image === null}
        title={image === null ? "There is no saved image on the stage." : "With the image on the stage"}
        onClick={() => void replace()}
      >
        Replace preview
      </button>
      {fault.value && <p class="fault" role="alert">{fault.value}</p>}
    </div>
  );
}

interface FieldsProps {
  page: NetworkPage;
  draft: Draft;
  change: (some: Partial<Draft>) => void;
}

function Fields({ page, draft, change }: FieldsProps) {
  const area = (name: "description" | "activation_text" | "negative_text" | "notes", label: string, help: string, rows = 2) => (
    <div class="field">
      <label for={`card-${name}`}>{label}</label>
      <textarea id={`card-${name}`} rows={rows} value={draft[name]} aria-describedby={help ? `card-${name}-help` : undefined} onInput={(event) => change({ [name]: event.currentTarget.value })} />
      {help && <p class="help" id={`card-${name}-help`}>{help}</p>}
    </div>
  );
  const versions = VERSIONS.includes(draft.sd_version) ? VERSIONS : [...VERSIONS, draft.sd_version];
  return (
    <>
      {area("description", "Description", "")}
      <div class="field">
        <label for="card-sd_version">Stable Diffusion version</label>
        <select id="card-sd_version" value={draft.sd_version} onInput={(event) => change({ sd_version: event.currentTarget.value })}>
          {versions.map((one) => <option key={one} value={one} selected={one === draft.sd_version}>{one || "not told"}</option>)}
        </select>
      </div>
      {/* Only tags have a place for these. */}
      {page.tag !== null && (
        <>
          {area("activation_text", "Activation text", "goes into the prompt with a click on the card")}
          <Weight value={draft.preferred_weight} change={(preferred_weight) => change({ preferred_weight })} />
          {area("negative_text", "Negative prompt", "goes into the negative prompt with a click on the card")}
        </>
      )}
      {area("notes", "Notes", "", 3)}
    </>
  );
}

function Weight({ value, change }: { value: string; change: (value: string) => void }) {
  return (
    <div class="field">
      <label for="card-weight">Preferred weight</label>
      <div class="row">
        <input type="range" aria-label="Preferred weight, slider" min={0} max={HEAVIEST} step={0.01} value={value} onInput={(event) => change(event.currentTarget.value)} />
        <input id="card-weight" class="short" type="text" inputMode="decimal" autoComplete="off" value={value} aria-describedby="card-weight-help" onInput={(event) => change(event.currentTarget.value)} />
      </div>
      <p class="help" id="card-weight-help">0: the usual multiplier, 1</p>
    </div>
  );
}

function Actions({ entry, draft, onSaved }: { entry: NetworkEntry; draft: Draft; onSaved: () => void }) {
  const fault = useSignal("");
  const save = async () => {
    const weight = Number(draft.preferred_weight.trim() || 0);
    if (!Number.isFinite(weight)) {
      fault.value = "Preferred weight must be a number.";
      return;
    }
    try {
      replaceEntry(await api.describeNetwork(entry.kind, entry.name, { ...draft, preferred_weight: weight }));
      drafts.delete(keyOf(entry));
      onSaved();
    } catch (error) {
      fault.value = words(error);
    }
  };
  return (
    <>
      {fault.value && <p class="fault" role="alert">{fault.value}</p>}
      <div class="panel-actions">
        <span class="told" />
        <button type="button" class="quiet primary" onClick={() => void save()}>Save</button>
      </div>
    </>
  );
}
