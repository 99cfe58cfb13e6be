// What is on the stage.
import { signal } from "@preact/signals";
import { jobs, running, selected, type Job } from "./jobs";

/** The id of the tab that is open. */
export const stageTab = signal("image");

/** The job and the image that are shown: the chosen ones, else those that are made, else the newest. */
export function onStage(): { job: Job; image: number } | null {
  const chosen = selected.value;
  const job = chosen ? jobs.value.find((one) => one.id === chosen.job) : null;
  if (job && chosen) return { job, image: chosen.image };
  if (running.value) return { job: running.value, image: 0 };
  const newest = jobs.value.find((one) => one.result?.images.length || one.fault);
  return newest ? { job: newest, image: 0 } : null;
}
