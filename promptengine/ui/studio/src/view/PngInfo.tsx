// What an image, or a text, says of how it was made; and the views that can make it again.
import { signal } from "@preact/signals";
import { useLayoutEffect, useState } from "preact/hooks";
import { api, words, type InfotextSource, type ReadInfotext } from "../api";
import { base64Of, keepBlob, keptBlob } from "../blobs";
import { isOn } from "../cards/civitai";
import type { SentImage } from "../targets";
import { AskCivitai } from "./AskCivitai";
import { CopyButton, ReuseButtons, SendRow } from "./ImageActions";
import { Icon } from "./Icon";
import { Notes } from "./Notices";
import "./pnginfo.css";

/** What was handed in. */
interface Given {
  /** The image's file; null for a text. */
  file: File | null;
  /** For showing the image; empty for a text. */
  url: string;
  name: string;
}

const given = signal<Given | null>(null);
const reading = signal<ReadInfotext | null>(null);
const fault = signal("");
const busy = signal(false);

/** What the browser keeps it under. */
const KEPT = "png-info";
/** Which of what was handed in came last. */
let turn = 0;

export function PngInfo() {
  const [over, setOver] = useState(false);
  useLayoutEffect(() => {
    void restore();
    document.addEventListener("paste", onPaste);
    return () => document.removeEventListener("paste", onPaste);
  }, []);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer?.files[0];
    if (file) void takeFile(file);
  };
  return (
    <main
      class={`png-info ${over ? "over" : ""}`}
      aria-label="PNG Info"
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => event.currentTarget === event.target && setOver(false)}
      onDrop={drop}
    >
      <Chooser />
      <section class="read" aria-label="What it says" aria-busy={busy.value}>
        {fault.value && <p class="fault general" role="alert">{fault.value}</p>}
        {reading.value ? <Reading told={reading.value} /> : !fault.value && <Hint />}
      </section>
    </main>
  );
}

function Chooser() {
  const shown = given.value;
  const [broken, setBroken] = useState("");
  return (
    <section class="given" aria-label="Image">
      {shown?.url && (
        <div class="canvas">
          {broken === shown.url ? (
            <p class="waiting">This browser cannot show the image.</p>
          ) : (
            <img src={shown.url} alt={shown.name} onError={() => setBroken(shown.url)} />
          )}
        </div>
      )}
      <label class={`drop ${shown?.url ? "small" : ""}`}>
        <input
          type="file"
          class="sr"
          accept="image/png,image/jpeg,image/webp,image/gif,text/plain"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (file) void takeFile(file);
          }}
        />
        <Icon name="image" />
        <b>{shown ? "Another image" : "Drop an image here"}</b>
        <span>or click to choose one, or paste an image or an infotext</span>
      </label>
    </section>
  );
}

function Hint() {
  return (
    <div class="nothing">
      <Icon name="read" />
      <h2>{busy.value ? "Reading…" : "What made this image?"}</h2>
      <p>Prompt and settings are read from PNG, JPEG, WEBP and GIF files, and can be sent to where images are made.</p>
    </div>
  );
}

function Reading({ told }: { told: ReadInfotext }) {
  const { file, name } = given.value ?? { file: null, name: "" };
  const infotext = told.infotext;
  const image: SentImage = { blob: async () => file ?? new Blob(), name, infotext };
  const source = infotext ? { reading: told } : null;
  return (
    <>
      <SendRow image={image} source={source} whole={file !== null} />
      {source && (
        <div class="image-actions">
          <ReuseButtons source={source} />
          <CopyButton infotext={infotext} />
        </div>
      )}
      {told.notes.length > 0 && <Notes notes={told.notes} />}
      {infotext && <pre class="infotext" tabIndex={0} aria-label="Infotext">{infotext}</pre>}
      {isOn.value && infotext && <AskCivitai key={infotext} infotext={infotext} />}
      <Parameters told={told.parameters} />
      {Object.entries(told.texts).map(([keyword, text]) => (
        <details class="more-text" key={keyword}>
          <summary>{keyword}</summary>
          <pre class="infotext" tabIndex={0}>{text}</pre>
        </details>
      ))}
    </>
  );
}

function Parameters({ told }: { told: ReadInfotext["parameters"] }) {
  const entries = Object.entries(told);
  if (entries.length === 0) return null;
  return (
    <table class="parameters">
      <caption>Parameters, as WebUI reads them</caption>
      <tbody>
        {entries.map(([label, value]) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td>{String(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function onPaste(event: ClipboardEvent): void {
  const file = event.clipboardData?.files[0];
  const text = event.clipboardData?.getData("text/plain").trim();
  if (file) void takeFile(file);
  else if (text) void takeFile(new File([text], "", { type: "text/plain" }));
}

/** What was handed in before the page was loaded anew. */
async function restore(): Promise<void> {
  if (turn > 0) return;
  const file = await keptBlob(KEPT);
  if (file instanceof File && turn === 0) await read(file);
}

async function takeFile(file: File): Promise<void> {
  await Promise.all([read(file), keepBlob(KEPT, file)]);
}

async function read(file: File): Promise<void> {
  if (file.type.startsWith("text/")) {
    await take({ file: null, url: "", name: file.name }, async () => ({ infotext: await file.text() }));
  } else {
    await take({ file, url: URL.createObjectURL(file), name: file.name }, async () => ({ image: await base64Of(file) }));
  }
}

/** Show what was handed in, and read it; what comes last counts. */
async function take(fresh: Given, source: () => Promise<InfotextSource>): Promise<void> {
  const begun = (turn += 1);
  if (given.value?.url) URL.revokeObjectURL(given.value.url);
  given.value = fresh;
  reading.value = null;
  fault.value = "";
  busy.value = true;
  try {
    const told = await api.infotext(await source());
    if (begun === turn) reading.value = told;
  } catch (error) {
    if (begun === turn) fault.value = words(error);
  } finally {
    if (begun === turn) busy.value = false;
  }
}
