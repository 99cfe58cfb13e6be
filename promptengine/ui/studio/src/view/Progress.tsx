// How far a job is.
import type { Job } from "../jobs";

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
