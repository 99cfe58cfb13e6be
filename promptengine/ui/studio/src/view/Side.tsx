// Beside the image: the queue, and all that is told about what is shown.
import { dismiss, type Job, type MadeImage } from "../jobs";
import { onStage } from "../onStage";
import { suffixOf } from "../results";
import { save } from "../save";
import type { SentImage } from "../targets";
import { Icon } from "./Icon";
import { CopyButton, ReuseButtons, SendRow } from "./ImageActions";
import { Queue } from "./Queue";

const KEYS = [
  ["Ctrl+Enter", "generate; more than once, and they queue"],
  ["Esc", "interrupt, and keep the image as it is"],
  ["Alt+Enter", "skip to the next batch"],
  ["Alt+↑ ↓", "in the queue: earlier, later"],
  ["Ctrl+↑ ↓", "weigh the bracket, selection or word"],
  ["Alt+↑ ↓", "move the multiplier of the network at the caret; F2 tells of it"],
  ["<", "networks by name"],
] as const;

export function Side() {
  const here = onStage();
  return (
    <section class="side" aria-label="Queue and details" tabIndex={0}>
      <Queue />
      {here && (here.job.fault || here.job.result) ? (
        <Details job={here.job} image={here.job.result?.whole ? here.job.result.images[here.image] : undefined} />
      ) : (
        <Keys />
      )}
    </section>
  );
}

function Keys() {
  return (
    <section class="group" aria-label="Keys">
      <div class="group-head"><h2>Keys</h2></div>
      <dl class="keys">
        {KEYS.map(([key, meaning]) => (
          <div><dt><kbd>{key}</kbd></dt><dd>{meaning}</dd></div>
        ))}
      </dl>
    </section>
  );
}

function Details({ job, image }: { job: Job; image: MadeImage | undefined }) {
  const result = job.result;
  return (
    <section class="group details" aria-label="Details">
      <div class="group-head">
        <h2>{job.status.state === "interrupted" ? "Interrupted image" : "Details"}</h2>
        {job.ended && (
          <button type="button" class="icon" title="Take it off the page" aria-label="Take it off the page" onClick={() => dismiss(job.id)}>
            <Icon name="close" />
          </button>
        )}
      </div>
      {job.fault && <p class="fault" role="alert">{job.fault}</p>}
      {image && <ImageActions image={image} />}
      {result && result.diagnostics.length > 0 && (
        <ul class="notes all" aria-label="Warnings">
          {result.diagnostics.map((one) => (
            <li class={`note ${one.severity}`}>
              <span class="severity">{one.severity}</span> {one.message}
              {one.hint && <em> {one.hint}</em>}
            </li>
          ))}
        </ul>
      )}
      {result && result.networks.length > 0 && (
        <ul class="networks" aria-label="Networks">
          {result.networks.map((one) => (
            <li class={one.applied ? "applied" : "skipped"}>
              <b>{one.name}</b> <span>{one.kind}{one.multiplier === null ? "" : ` × ${Number(one.multiplier.toFixed(4))}`}{one.region ? `, in region ${one.region}` : ""}</span>
              <span class="fate">{one.applied ? "applied" : `not applied: ${one.reason}`}{one.pass === "hires" ? " (hires pass)" : ""}</span>
            </li>
          ))}
        </ul>
      )}
      {image && <pre class="infotext" tabIndex={0} aria-label="Infotext">{image.infotext}</pre>}
      {result && result.seconds > 0 && <p class="help">{result.seconds.toFixed(1)} s of computing</p>}
    </section>
  );
}

function ImageActions({ image }: { image: MadeImage }) {
  const source = { infotext: image.infotext };
  const sent: SentImage = {
    blob: image.blob,
    name: "image.png",
    infotext: image.infotext,
  };
  return (
    <>
      <SendRow image={sent} source={source} />
      <div class="image-actions">
        <ReuseButtons source={source} />
        <CopyButton infotext={image.infotext} />
        <button type="button" class="quiet" onClick={() => void download(image)}>Download</button>
      </div>
    </>
  );
}

async function download(image: MadeImage): Promise<void> {
  const seed = seedOf(image);
  const file = await image.blob();
  save(file, `promptengine${seed === null ? "" : `-${seed}`}.${suffixOf(file)}`);
}

/** The seed as the infotext has it: all of its digits. */
export function seedOf(image: MadeImage | undefined): string | null {
  const found = image && [...image.infotext.matchAll(/(?:^|[\n,]) ?Seed: (\d+)/g)].at(-1);
  return found?.[1] ?? null;
}
