// Jobs belong to the server: they are submitted, followed, and found again after a reload or a lost connection.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words, type Diagnostic, type JobResult, type JobStatus, type Sent } from "./api";
import { keep, kept } from "./store";

const KEPT = "promptengine.studio.jobs";
const MOST = 40;
/** Browsers open few connections to one server; what is not streamed is asked for now and then. */
const STREAMS = 2;
const PAUSE_MS = 1500;

export interface MadeImage {
  url: string;
  infotext: string;
  /** What the server knows its file by; null where it is not saved. */
  saved: string | null;
}

/** What became of a network, as the server reports it. */
export interface NetworkUse {
  kind: string;
  name: string;
  multiplier: number | null;
  applied: boolean;
  reason: string;
  pass: string;
}

export interface Result {
  images: MadeImage[];
  networks: NetworkUse[];
  diagnostics: Diagnostic[];
  seconds: number;
}

export interface Job {
  id: string;
  prompt: string;
  /** When it was submitted, in milliseconds since the epoch. */
  at: number;
  ended: boolean;
  status: JobStatus | null;
  result: Result | null;
  /** Why there is nothing to see of it, or empty. */
  fault: string;
}

type KeptJob = Pick<Job, "id" | "prompt" | "at" | "ended">;

/** The newest first. */
export const jobs = signal<Job[]>([]);
export const connected = signal(true);
/** Which image is shown; null follows the newest. */
export const selected = signal<{ job: string; image: number } | null>(null);

export const active = computed(() => jobs.value.filter((job) => !job.ended).reverse());
export const running = computed(() => active.value.find((job) => job.status?.state === "running") ?? null);

const streams = new Map<string, EventSource>();
const dismissed = new Set<string>();
const loading = new Set<string>();
let pause: ReturnType<typeof setTimeout> | undefined;

/** Take up the jobs that the browser knows of; call once. */
export function resume(): void {
  take(kept<KeptJob[]>(KEPT, []));
  window.addEventListener("storage", (event) => {
    if (event.key === KEPT) take(kept<KeptJob[]>(KEPT, []));
  });
}

function take(found: unknown): void {
  const known = new Set(jobs.value.map((job) => job.id));
  const fresh = (Array.isArray(found) ? (found as KeptJob[]) : [])
    .filter((one) => typeof one?.id === "string" && !known.has(one.id) && !dismissed.has(one.id))
    .map((one) => ({
      id: one.id,
      prompt: String(one.prompt),
      at: Number(one.at),
      ended: one.ended === true,
      status: null,
      result: null,
      fault: "",
    }));
  if (fresh.length === 0) return;
  show([...jobs.value, ...fresh]);
  for (const job of fresh) if (job.ended) void loadResult(job.id);
  follow();
}

export async function submit(body: Sent, prompt: string): Promise<void> {
  const status = await api.submit(body);
  const job: Job = { id: status.id, prompt, at: Date.now(), ended: false, status, result: null, fault: "" };
  selected.value = null;
  show([job, ...jobs.value]);
  save();
  follow();
}

export function dismiss(id: string): void {
  dismissed.add(id);
  const job = jobs.value.find((one) => one.id === id);
  for (const image of job?.result?.images ?? []) URL.revokeObjectURL(image.url);
  if (selected.value?.job === id) selected.value = null;
  closeStream(id);
  show(jobs.value.filter((one) => one.id !== id));
  save();
}

export async function cancel(id: string): Promise<void> {
  await quietly(() => api.cancel(id));
  dismiss(id);
  follow();
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
    connected.value = error.status !== 0;
  }
}

function show(list: Job[]): void {
  const ordered = [...list].sort((a, b) => b.at - a.at);
  jobs.value = ordered.filter((job, index) => index < MOST || !job.ended);
  const left = new Set(jobs.value);
  for (const job of ordered)
    if (!left.has(job)) for (const image of job.result?.images ?? []) URL.revokeObjectURL(image.url);
}

function change(id: string, some: Partial<Job>): void {
  jobs.value = jobs.value.map((job) => (job.id === id ? { ...job, ...some } : job));
}

/** Keep our jobs beside those that other windows have added meanwhile. */
function save(): void {
  const stored = kept<KeptJob[]>(KEPT, []);
  const known = new Set(jobs.value.map((job) => job.id));
  const others = (Array.isArray(stored) ? stored : []).filter(
    (one) => typeof one?.id === "string" && !known.has(one.id) && !dismissed.has(one.id),
  );
  const all = [...jobs.value.map(({ id, prompt, at, ended }) => ({ id, prompt, at, ended })), ...others];
  keep(KEPT, all.sort((a, b) => b.at - a.at).slice(0, MOST));
}

function follow(): void {
  const waiting = active.value.map((job) => job.id);
  for (const id of waiting) if (streams.size < STREAMS && !streams.has(id)) openStream(id);
  clearTimeout(pause);
  const rest = waiting.filter((id) => !streams.has(id));
  if (rest.length > 0) pause = setTimeout(() => void ask(rest), PAUSE_MS);
}

function openStream(id: string): void {
  const source = api.events(id);
  streams.set(id, source);
  const on = (event: MessageEvent<string>) => {
    connected.value = true;
    update(id, JSON.parse(event.data) as JobStatus);
  };
  source.addEventListener("progress", on);
  source.addEventListener("ended", on);
  source.onerror = () => {
    // The browser tries again by itself unless the server has answered with a refusal.
    if (source.readyState !== EventSource.CLOSED) {
      connected.value = false;
      return;
    }
    closeStream(id);
    void ask([id]);
  };
}

function closeStream(id: string): void {
  streams.get(id)?.close();
  streams.delete(id);
}

async function ask(ids: string[]): Promise<void> {
  for (const id of ids) {
    try {
      update(id, await api.status(id));
      connected.value = true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) lose(id);
      else {
        connected.value = false;
        break;
      }
    }
  }
  clearTimeout(pause);
  pause = setTimeout(follow, PAUSE_MS);
}

function lose(id: string): void {
  connected.value = true;
  change(id, {
    ended: true,
    fault: "The server no longer knows this job; it was restarted. Generate it again.",
  });
  save();
}

function update(id: string, status: JobStatus): void {
  const ended = !["waiting", "running"].includes(status.state);
  const broke = status.state === "failed" || status.state === "cancelled";
  change(id, { status, ended, ...(broke ? { fault: status.error ?? `The job is ${status.state}.` } : {}) });
  if (!ended) return;
  closeStream(id);
  save();
  if (status.state === "done" || status.state === "interrupted") void loadResult(id);
  follow();
}

async function loadResult(id: string): Promise<void> {
  if (loading.has(id)) return;
  loading.add(id);
  try {
    change(id, { result: readResult(await api.result(id)) });
  } catch (error) {
    const job = jobs.value.find((one) => one.id === id);
    // Of what ended before this page was loaded, the server keeps only the newest.
    if (error instanceof ApiError && error.status === 404 && job?.status === null) dismiss(id);
    else change(id, { fault: words(error) });
  } finally {
    loading.delete(id);
  }
}

function readResult(result: JobResult): Result {
  return {
    images: result.images.map((data, index) => ({
      url: blobUrl(data),
      infotext: result.infotexts[index] ?? "",
      saved: result.saved[index] ?? null,
    })),
    networks: result.networks as unknown as NetworkUse[],
    diagnostics: [...result.diagnostics, ...result.warnings.map(warned)],
    seconds: Object.values(result.timings).reduce((sum, one) => sum + one, 0),
  };
}

/** What stands beside the images, as a diagnostic. */
function warned(message: string): Diagnostic {
  return { severity: "warning", message, hint: "", column: null, start: null, end: null };
}

function blobUrl(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: imageType(bytes) }));
}

function imageType(bytes: Uint8Array): string {
  if (bytes[0] === 0xff) return "image/jpeg";
  return bytes[0] === 0x52 ? "image/webp" : "image/png";
}

/** The file name's end that fits an infotext's image. */
export async function suffixOf(url: string): Promise<string> {
  const blob = await (await fetch(url)).blob();
  return blob.type.replace("image/", "").replace("jpeg", "jpg");
}
