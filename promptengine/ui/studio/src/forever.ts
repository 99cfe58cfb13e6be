// "Generate forever", as WebUI has it: there is always one more job, with what is shown when it is submitted.
import { effect, signal } from "@preact/signals";
import { connected, ownFailed, ownWaiting } from "./jobs";
import { enqueue, sending } from "./submit";

export const forever = signal(false);

/** What had failed before it was begun. */
let failedBefore: ReadonlySet<string> = new Set();

/** Begin, or end: what was submitted is made in any case. */
export function toggleForever(): void {
  failedBefore = new Set(ownFailed.value.map((job) => job.id));
  forever.value = !forever.value;
}

/** Keep the queue filled for as long as the page lives; call once. */
export function keepGenerating(): void {
  effect(() => {
    if (!forever.value) return;
    if (ownFailed.value.some((job) => !failedBefore.has(job.id))) {
      forever.value = false;
      return;
    }
    if (connected.value && sending.value === 0 && ownWaiting.value.length === 0) queueMicrotask(() => void once());
  });
}

async function once(): Promise<void> {
  if (!forever.value || sending.value > 0 || ownWaiting.value.length > 0) return;
  if (!(await enqueue())) forever.value = false;
}
