// The image: the one that is made, the one that was chosen, or what to begin with.
import { jobs, running, selected, type Job } from "../jobs";
import { setValues } from "../store";

const EXAMPLES = [
  ["A weight", "a lighthouse on a cliff at (golden hour:1.3), oil painting, [people]"],
  ["A schedule", "a [cat:fox:0.5] asleep in fresh snow, soft light"],
  ["An alternation", "portrait of an astronaut, [charcoal|watercolor] sketch"],
] as const;

/** The job and the image that are shown: the chosen ones, else those that are made, else the newest. */
export function onStage(): { job: Job; image: number } | null {
  const chosen = selected.value;
  const job = chosen ? jobs.value.find((one) => one.id === chosen.job) : null;
  if (job && chosen) return { job, image: chosen.image };
  if (running.value) return { job: running.value, image: 0 };
  const newest = jobs.value.find((one) => one.result?.images.length || one.fault);
  return newest ? { job: newest, image: 0 } : null;
}

export function Stage({ onOpen }: { onOpen: (url: string) => void }) {
  const here = onStage();
  return (
    <section class="stage" aria-label="Image" aria-busy={running.value !== null}>
      {here ? <Shown {...here} onOpen={onOpen} /> : <Welcome />}
      <Strip here={here} />
    </section>
  );
}

function Shown({ job, image, onOpen }: { job: Job; image: number; onOpen: (url: string) => void }) {
  const made = job.result?.images[image];
  const preview = job.ended ? null : job.status?.preview;
  return (
    <div class="canvas">
      {made ? (
        <button type="button" class="open" title="Open large" onClick={() => onOpen(made.url)}>
          <img src={made.url} alt={job.prompt || "an image without a prompt"} />
        </button>
      ) : preview ? (
        <img class="preview" src={`data:image/png;base64,${preview}`} alt="preview of the image that is made" />
      ) : (
        <p class="waiting">{job.fault || (job.ended ? "Loading…" : "Starting…")}</p>
      )}
      {!job.ended && <Progress job={job} />}
    </div>
  );
}

export function Progress({ job }: { job: Job }) {
  const status = job.status;
  const percent = Math.round((status?.progress ?? 0) * 100);
  return (
    <div class="progress">
      <progress max={100} value={percent} aria-label="Progress" />
      <span>{status ? progressWords(status) : "connecting"}</span>
    </div>
  );
}

function progressWords(status: NonNullable<Job["status"]>): string {
  if (status.state === "waiting") return status.position ? `${status.position} before it` : "next";
  const parts = [status.steps ? `step ${status.step} of ${status.steps}` : "preparing"];
  if (status.batches > 1) parts.push(`batch ${status.batch + 1} of ${status.batches}`);
  if (status.eta_s >= 1) parts.push(`${lasting(status.eta_s)} left`);
  return parts.join(" · ");
}

function lasting(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** All images of the jobs that are kept, the newest first. */
function Strip({ here }: { here: { job: Job; image: number } | null }) {
  const made = jobs.value.flatMap((job) => (job.result?.images ?? []).map((image, number) => ({ job, image, number })));
  if (made.length === 0) return null;
  return (
    <ul class="strip" aria-label="Images so far">
      {made.map(({ job, image, number }) => (
        <li key={image.url}>
          <button
            type="button"
            aria-label={`Image ${number + 1} of “${job.prompt.slice(0, 60)}”`}
            aria-current={here?.job.id === job.id && here.image === number}
            onClick={() => (selected.value = { job: job.id, image: number })}
          >
            <img src={image.url} alt="" loading="lazy" />
          </button>
        </li>
      ))}
    </ul>
  );
}

function Welcome() {
  return (
    <div class="canvas welcome">
      <svg viewBox="0 0 24 24" width="56" height="56" aria-hidden="true">
        <path d="M12 1c1 7 4 10 11 11-7 1-10 4-11 11-1-7-4-10-11-11 7-1 10-4 11-11z" />
      </svg>
      <h2>What shall it be?</h2>
      <p>Write a prompt, or begin with one of these.</p>
      <ul>
        {EXAMPLES.map(([name, prompt]) => (
          <li>
            <button type="button" onClick={() => setValues({ prompt })}>
              <b>{name}</b>
              <span>{prompt}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
