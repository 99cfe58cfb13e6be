// The image: the one that is made, the one that was chosen, or what to begin with.
import { jobs, selected, type Job } from "../jobs";
import { onStage } from "../onStage";
import { setValues } from "../store";
import { openLarge } from "./Large";
import { Progress } from "./Progress";

const EXAMPLES = [
  ["A weight", "a lighthouse on a cliff at (golden hour:1.3), oil painting, [people]"],
  ["A schedule", "a [cat:fox:0.5] asleep in fresh snow, soft light"],
  ["An alternation", "portrait of an astronaut, [charcoal|watercolor] sketch"],
] as const;

export function ShownImage() {
  const here = onStage();
  return (
    <>
      {here ? <Shown {...here} /> : <Welcome />}
      <Strip here={here} />
    </>
  );
}

function Shown({ job, image }: { job: Job; image: number }) {
  const made = job.result?.images[image];
  const preview = job.ended ? null : job.status?.preview;
  return (
    <div class="canvas">
      {made ? (
        <button type="button" class="open" title="Open large" onClick={() => openLarge(made.url)}>
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
