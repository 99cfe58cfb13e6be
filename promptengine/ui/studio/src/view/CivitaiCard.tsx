// One model of Civitai's: what it is, what its author asks, and the way from there into a folder and the prompt.
import { api, type CivitaiDownload, type CivitaiModel, type NetworkEntry, type NetworkPage } from "../api";
import { cancel, download, downloadOf, goesOn, refusals } from "../cards/downloads";
import { choose, isChosen, isUsable, pageOf } from "../cards/pages";
import { sizeWords } from "../cards/size";
import { networks } from "../state";
import { PreviewImage } from "./Preview";

interface Props {
  model: CivitaiModel;
  /** Whether previews need not be for all ages. */
  nsfw: boolean;
}

export function CivitaiCard({ model, nsfw }: Props) {
  const told = downloadOf(model.version);
  const name = model.network ?? (told?.state === "done" ? told.network : null);
  const entry = networks.value.find((one) => one.kind === model.kind && one.name === name);
  return (
    <li class="found-card" data-version={model.version}>
      <PreviewImage url={model.preview && api.civitaiPreviewUrl(model.preview)} name={model.name || "?"} lazy />
      <div class="found-about">
        <h3>{model.name}</h3>
        <p class="found-facts">{factWords(model)}</p>
        {model.terms.length > 0 && <p class="found-terms">{model.terms.join(" · ")}</p>}
        <a class="found-page" href={model.page} target="_blank" rel="noreferrer" aria-label={`Page on Civitai: ${model.name}`}>Page on Civitai</a>
      </div>
      <div class="found-state" data-state={entry ? "here" : (told?.state ?? "")}>
        {entry ? <HereAlready entry={entry} told={told} /> : <Getting model={model} told={told} nsfw={nsfw} />}
      </div>
    </li>
  );
}

function factWords(model: CivitaiModel): string {
  const facts = [
    model.type,
    model.base_model,
    model.version_name,
    model.bytes === null ? "" : sizeWords(model.bytes),
    model.creator && `by ${model.creator}`,
    model.downloads === null ? "" : `${model.downloads.toLocaleString()} downloads`,
  ];
  return facts.filter(Boolean).join(" · ");
}

/** What can be done with a file that is here. */
function HereAlready({ entry, told }: { entry: NetworkEntry; told: CivitaiDownload | undefined }) {
  const page = pageOf(entry);
  return (
    <>
      <p class="found-here">in <code>{folderOf(entry)}</code></p>
      {(told?.notes ?? []).map((note) => <p class="help" key={note}>{note}</p>)}
      {page && <Take page={page} entry={entry} />}
    </>
  );
}

const folderOf = (entry: NetworkEntry) => entry.path.replace(/[\\/][^\\/]*$/, "");

/** The same as a click on its own card. */
function Take({ page, entry }: { page: NetworkPage; entry: NetworkEntry }) {
  const usable = isUsable(page, entry);
  const inserts = page.in_text || page.tag !== null;
  return (
    <button
      type="button"
      class="quiet take"
      disabled={!usable}
      title={usable ? entry.name : `No tag can hold the name “${entry.name}”; rename the file.`}
      onClick={() => choose(page, entry)}
    >
      {isChosen(page, entry) ? (inserts ? "Take out of the prompt" : "Leave out") : inserts ? "Insert into prompt" : "Use"}
    </button>
  );
}

interface GettingProps extends Props {
  told: CivitaiDownload | undefined;
}

/** The way to a file that is not here. */
function Getting({ model, told, nsfw }: GettingProps) {
  const refusal = refusals.value[model.version];
  if (told && goesOn(told)) return <Running told={told} />;
  if (told?.state === "done") return <p class="found-here">in <code>{told.folder}</code></p>;
  if (model.problem) return <p class="found-problem">Not usable: {model.problem}.</p>;
  const fault = refusal ?? told?.error;
  return (
    <>
      {fault && <p class="fault" role="alert">{fault}</p>}
      {told?.taken ? (
        <Begin model={model} label="Replace the other file" how={{ nsfw, overwrite: true }} />
      ) : (
        <Begin model={model} label={told && told.done > 0 ? "Go on" : "Download"} how={{ nsfw }} />
      )}
    </>
  );
}

interface BeginProps {
  model: CivitaiModel;
  label: string;
  how: { nsfw: boolean; overwrite?: boolean };
}

function Begin({ model, label, how }: BeginProps) {
  return (
    <button type="button" class="quiet get" aria-label={`${label}: ${model.name}`} onClick={() => void download(model.version, how)}>
      {label}
    </button>
  );
}

function Running({ told }: { told: CivitaiDownload }) {
  const { done, total, state } = told;
  // Without a value the bar says that it is not known how far it is.
  const known = total === null || state === "waiting" ? {} : { value: Math.min(done, total), max: total || 1 };
  return (
    <>
      <div class="progress">
        <progress aria-label="Downloaded" {...known} />
        <span>{runningWords(told)}</span>
      </div>
      <button type="button" class="quiet" disabled={state === "stopping"} onClick={() => void cancel(told.id)}>
        {state === "stopping" ? "Stopping…" : "Cancel"}
        <span class="sr"> {told.model}</span>
      </button>
    </>
  );
}

function runningWords({ done, total, state }: CivitaiDownload): string {
  if (state === "waiting") return "waits for other downloads";
  if (total === null) return done > 0 ? sizeWords(done) : "asking";
  return done >= total && total > 0 ? "checking" : `${sizeWords(done)} of ${sizeWords(total)}`;
}
