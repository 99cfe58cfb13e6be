// Where the training is: how far, the curve of its losses, and what it draws on the way.
import type { TrainingStatus } from "../api";
import { go } from "../route";
import { goesOn, previewUrl, status, useNetwork } from "../training";
import { LossCurve } from "./LossCurve";

const WORDS: Record<TrainingStatus["state"], string> = {
  none: "",
  preparing: "is prepared: its images are encoded",
  training: "is being trained",
  stopping: "stops after this step",
  finished: "is finished",
  stopped: "is stopped, and can go on from here",
  failed: "failed",
};

export function TrainingProgress() {
  const told = status.value;
  if (!told || told.state === "none") return <Empty />;
  return (
    <section class="training" aria-label="Progress" data-state={told.state}>
      <div class="group-head">
        <h2 class="named">{told.name} <span>{WORDS[told.state]}</span></h2>
        {told.state === "finished" && (
          <button
            type="button"
            class="quiet insert"
            onClick={() => {
              useNetwork(told.name);
              go("txt2img");
            }}
          >
            Insert into prompt
          </button>
        )}
      </div>
      {told.error && <p class="fault" role="alert">{told.error}</p>}
      {told.notes.map((one) => <p class="help" key={one}>{one}</p>)}
      <div class="progress">
        <progress max={told.of || 1} value={told.step} aria-label="Steps" />
        <span>{stepWords(told)}</span>
      </div>
      {told.points.length > 0 ? <LossCurve points={told.points} steps={told.of} /> : goesOn.value && <p class="canvas waiting">The loss will be drawn here.</p>}
      <Previews told={told} />
    </section>
  );
}

function stepWords(told: TrainingStatus): string {
  const parts = [`step ${told.step} of ${told.of}`];
  if (told.smoothed_loss !== null) parts.push(`loss ${told.smoothed_loss.toFixed(4)}`);
  if (told.learning_rate !== null) parts.push(`rate ${Number(told.learning_rate.toPrecision(3))}`);
  if (goesOn.value && told.eta_s) parts.push(`${lasting(told.eta_s)} left`);
  return parts.join(" · ");
}

function lasting(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function Previews({ told }: { told: TrainingStatus }) {
  if (told.previews.length === 0) return null;
  return (
    <ol class="previews" aria-label="Previews">
      {[...told.previews].reverse().map((step) => (
        <li key={step}>
          <a href={previewUrl(step)} target="_blank" rel="noreferrer">
            <img src={previewUrl(step)} alt={`without and with ${told.name}, step ${step}`} loading="lazy" />
          </a>
          <span>step {step}</span>
        </li>
      ))}
    </ol>
  );
}

function Empty() {
  return (
    <section class="training empty" aria-label="Progress">
      <h2>Teach the model a style or a subject</h2>
      <p>
        A hypernetwork learns it from your images, and lands where prompts find it by name. Give it a name, add
        images with captions, and start; the curve of its losses and previews will be here. You may close the page:
        the training goes on.
      </p>
    </section>
  );
}
