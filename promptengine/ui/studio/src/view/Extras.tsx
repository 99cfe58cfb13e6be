// WebUI's Extras: an image, how it is enlarged, and the result beside what it was.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { busy, counts, enlarge, enlarged, fields, GENERAL, loadFields, result, stop, type Result } from "../extras";
import { save } from "../save";
import { faults } from "../state";
import type { SentImage } from "../targets";
import { FieldView } from "./FieldView";
import { SendRow } from "./ImageActions";
import { ImageBox } from "./ImageBox";
import "./extras.css";

/** How much of the image before is seen, in percent from the left. */
const share = signal(50);

export function Extras() {
  useEffect(() => void loadFields(), []);
  const made = result.value;
  return (
    <main class="extras">
      <section class="rail" aria-label="Extras">
        <div class="settings">
          <div class="group extras-image">
            <ImageBox slot={enlarged} label="Source" hint="Drop it here, choose it, or paste it with Ctrl+V." pastes />
          </div>
          <Settings />
        </div>
        <Actions />
      </section>
      <section class="stage" aria-label="Result" aria-busy={busy.value}>
        {made ? <Made result={made} /> : <div class="canvas"><p class="waiting">{busy.value ? "Enlarging…" : "The enlarged image will be here."}</p></div>}
      </section>
    </main>
  );
}

function Settings() {
  return (
    <section class="group" aria-label="Upscaling">
      <div class="group-head"><h2>Upscaling</h2></div>
      <div class="fields">
        {fields.value.filter(counts).map((field) => (
          <FieldView key={field.path} field={field} lastSeed={null} />
        ))}
      </div>
    </section>
  );
}

function Actions() {
  const fault = faults.value[GENERAL];
  return (
    <div class="extras-actions">
      {fault && <p class="fault" role="alert">{fault}</p>}
      <div class="row">
        <button type="button" class="generate" disabled={busy.value || fields.value.length === 0} onClick={() => void enlarge()}>
          {busy.value ? "Enlarging…" : "Generate"}
        </button>
        <button type="button" class="quiet" disabled={!busy.value} onClick={stop}>Cancel</button>
      </div>
    </div>
  );
}

function Made({ result }: { result: Result }) {
  return (
    <>
      <Compared result={result} />
      <div class="extras-told">
        <p class="help">
          {result.width} × {result.height} px{result.saved && <> · kept as <b>{result.saved}</b></>}
        </p>
        {result.warnings.map((one) => <p class="fault" role="alert">{one}</p>)}
        <div class="extras-send" role="group" aria-label="What to do with it">
          <button type="button" class="quiet" onClick={() => save(result.blob, nameOf(result))}>Download</button>
        </div>
        <SendRow image={sentOf(result)} source={result.infotext ? { infotext: result.infotext } : null} />
        <pre class="infotext" tabIndex={0} aria-label="Infotext">{[result.infotext, result.postprocessing].filter(Boolean).join("\n")}</pre>
      </div>
    </>
  );
}

function Compared({ result }: { result: Result }) {
  return (
    <div class="compared">
      <div class="canvas">
        <img src={result.after} alt="after" />
        <img src={result.before} alt="before" style={{ clipPath: `inset(0 ${100 - share.value}% 0 0)` }} />
      </div>
      <label class="amount">
        <span>Before</span>
        <input
          type="range"
          min={0}
          max={100}
          value={share.value}
          aria-label="How much of the image before is seen"
          aria-valuetext={`${share.value} %`}
          onInput={(event) => (share.value = Number(event.currentTarget.value))}
        />
        <span>After</span>
      </label>
    </div>
  );
}

const nameOf = (result: Result) => result.saved?.split("/").at(-1) ?? "enlarged.png";

/** The result as other views take it. */
function sentOf(result: Result): SentImage {
  return { blob: () => Promise.resolve(result.blob), name: nameOf(result), infotext: result.infotext };
}
