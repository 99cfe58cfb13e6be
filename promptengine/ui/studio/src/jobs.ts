// Jobs belong to the server, which tells of all of them: every page shows the same, whatever was reloaded or restarted.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words, type JobStatus, type Sent } from "./api";
import { glimpse, loadResult, release, type Result } from "./results";
import { keep, kept } from "./store";

export { type MadeImage, type NetworkUse, type Result } from "./results";

const DISMISSED = "promptengine.studio.dismissed";
const MOST_DISMISSED = 600;
/** Ended jobs that are shown. */
const MOST = 40;
const PAUSE_MS = 1500;

export interface Job {
  id: string;
  prompt: string;
  /** When it was submitted, in milliseconds since the epoch. */
  at: number;
  ended: boolean;
  status: JobStatus;
  result: Result | null;
  /** Why there is nothing to see of it, or empty. */
  fault: string;
}

/** Those that run, those that wait in their order, and those that have ended, the last one first. */
export const jobs = signal<Job[]>([]);
export const connected = signal(true);
/** Which image is shown; null follows the newest. */
export const selected = signal<{ job: string; image: number } | null>(null);

export const active = computed(() => jobs.value.filter((job) => !job.ended));
export const running = computed(() => active.value.find((job) => job.status.state === "running") ?? null);
export const waiting = computed(() => active.value.filter((job) => job.status.state === "waiting"));

/** Jobs that this page has submitted. */
const own = signal<ReadonlySet<string>>(new Set());
export const ownWaiting = computed(() => waiting.value.filter((job) => own.value.has(job.id)));
export const ownFailed = computed(() => jobs.value.filter((job) => own.value.has(job.id) && job.status.state === "failed"));

/** Submitted, and not yet told of by the list. */
const fresh = new Set<string>();
const loading = new Set<string>();
/** Whether the list was told of before: what is new then is no old job. */
let listed = false;
const dismissed = signal<ReadonlySet<string>>(readDismissed());

function readDismissed(): Set<string> {
  const found = kept<unknown>(DISMISSED, []);
  return new Set(Array.isArray(found) ? found.filter((one) => typeof one === "string") : []);
}

/** Listen to what the server tells of its jobs, for as long as the page lives; call once. */
export function resume(): void {
  window.addEventListener("storage", (event) => {
    if (event.key !== DISMISSED) return;
    dismissed.value = readDismissed();
    show(jobs.value);
  });
  listen();
}

function listen(): void {
  const source = api.jobEvents(MOST);
  source.onopen = () => {
    connected.value = true;
    fresh.clear();
  };
  source.addEventListener("jobs", (event: MessageEvent<string>) => take(JSON.parse(event.data) as JobStatus[]));
  source.addEventListener("progress", (event: MessageEvent<string>) => {
    const status = JSON.parse(event.data) as JobStatus;
    jobs.value = jobs.value.map((job) => (job.id === status.id && !job.ended ? { ...job, status } : job));
  });
  source.onerror = () => {
    connected.value = false;
    // The browser tries again by itself unless the server has answered with a refusal.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, PAUSE_MS);
  };
}

/** Show the list as the server has it now. */
function take(list: JobStatus[]): void {
  connected.value = true;
  const known = new Map(jobs.value.map((job) => [job.id, job]));
  for (const status of list) fresh.delete(status.id);
  const unlisted = jobs.value.filter((job) => fresh.has(job.id));
  show([...list.map((status) => next(known.get(status.id), status)), ...unlisted]);
  listed = true;
}

/** A job as it is now, where it may have been known before. */
function next(job: Job | undefined, status: JobStatus): Job {
  const ended = status.state !== "waiting" && status.state !== "running";
  if (job && !ended) {
    const preview = status.preview ?? job.status.preview ?? null;
    return { ...job, status: { ...status, preview } };
  }
  const fault = status.state === "failed" ? (status.error ?? "The job has failed.") : "";
  const { id, prompt } = status;
  const now = { id, prompt, at: status.created * 1000, ended, status, result: job?.result ?? null, fault: job?.fault || fault };
  const shows = status.state === "done" || status.state === "interrupted";
  // Who was there sees it whole; of what ended before, small images are enough until somebody looks.
  if (ended && shows && now.result === null && now.fault === "") {
    if (job ? !job.ended : listed) void load(id);
    else if (!loading.has(id)) now.result = glimpse(status);
  }
  return now;
}

/** Have all that is known of a job that has ended, once it is looked at. */
export function want(job: Job): void {
  const shows = job.status.state === "done" || job.status.state === "interrupted";
  if (job.ended && shows && !job.result?.whole && job.fault === "") void load(job.id);
}

async function load(id: string): Promise<void> {
  if (loading.has(id)) return;
  loading.add(id);
  try {
    const result = await loadResult(id);
    if (result === null) change(id, { result: null, fault: "Its images are not in the server's memory any more, nor saved." });
    else if (!change(id, { result })) release(result);
  } catch (error) {
    change(id, { fault: words(error) });
  } finally {
    loading.delete(id);
  }
}

/** Change a job; returns whether it is still there. */
function change(id: string, some: Partial<Job>): boolean {
  if (!jobs.value.some((job) => job.id === id)) return false;
  jobs.value = jobs.value.map((job) => (job.id === id ? { ...job, ...some } : job));
  return true;
}

/** Show a list without what was taken off the page, and let go of the images of what is left out. */
function show(list: Job[]): void {
  const before = jobs.value;
  jobs.value = list.filter((job) => !job.ended || (job.status.state !== "cancelled" && !dismissed.value.has(job.id)));
  const left = new Set(jobs.value.map((job) => job.id));
  for (const job of before) if (!left.has(job.id)) release(job.result);
  if (selected.value && !left.has(selected.value.job)) selected.value = null;
}

export async function submit(body: Sent, prompt: string): Promise<void> {
  const status = await api.submit(body);
  own.value = new Set([...own.value, status.id].slice(-MOST));
  selected.value = null;
  if (jobs.value.some((job) => job.id === status.id)) return;
  fresh.add(status.id);
  const at = status.created * 1000;
  const job: Job = { id: status.id, prompt, at, ended: false, status, result: null, fault: "" };
  const ended = jobs.value.filter((one) => one.ended);
  jobs.value = [...active.value, job, ...ended];
}

/** Take an ended job off the pages of this browser. */
export function dismiss(id: string): void {
  dismissed.value = new Set([...dismissed.value, id].slice(-MOST_DISMISSED));
  keep(DISMISSED, [...dismissed.value]);
  show(jobs.value);
}

export async function cancel(id: string): Promise<void> {
  await quietly(() => api.cancel(id));
}

/** Let a waiting job be taken one place earlier or later. */
export async function move(job: Job, by: -1 | 1): Promise<void> {
  const position = Math.max((job.status.position ?? 0) + by, 0);
  await quietly(() => api.move(job.id, position));
}

export async function interrupt(): Promise<void> {
  const job = running.value;
  if (job) await quietly(() => api.interrupt(job.id));
}

export async function skip(): Promise<void> {
  const job = running.value;
  if (job) await quietly(() => api.skip(job.id));
}

/** A job may end while it is told to: that is no fault. */
async function quietly(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0) connected.value = false;
  }
}
