// The server's HTTP API as functions; types come from its OpenAPI document.
import type { components } from "./api.gen";

type Schemas = components["schemas"];
export type Reading = Schemas["ReadPrompt"];
export type Mark = Schemas["Mark"];
export type Diagnostic = Schemas["DiagnosticForm"];
export type Remedy = Schemas["RemedyForm"];
export type Tokens = Schemas["Tokens"];
export type CompletionItem = Schemas["CompletionItem"];
export type NetworkEntry = Schemas["NetworkEntry"];
export type NetworkDetail = Schemas["NetworkDetail"];
export type NetworkPage = Schemas["NetworkPage"];
export type CivitaiModel = Schemas["CivitaiModel"];
export type CivitaiPage = Schemas["CivitaiPage"];
export type CivitaiDownload = Schemas["CivitaiDownload"];
export type HashedFile = Schemas["HashedFile"];
export type UserMetadata = Schemas["UserMetadataForm"];
export type PlacedRegion = Schemas["PlacedRegion"];
export type PromptRegions = Schemas["PromptRegions"];
export type Style = Schemas["StyleEntry"];
export type JobStatus = Schemas["JobStatus"];
export type JobResult = Schemas["JobResult"];
export type ScriptList = Schemas["ScriptList"];
export type Script = Schemas["ScriptEntry"];
export type Argument = Schemas["ArgumentEntry"];
export type Axis = Schemas["AxisEntry"];
export type TrainingStatus = Schemas["TrainingStatus"];
export type TrainingData = Schemas["TrainingData"];
export type SavedImage = Schemas["SavedImage"];
export type UpscaledImage = Schemas["UpscaledImage"];
export type PromptForm = Schemas["PromptForm"];
export type SavedImagePage = Schemas["SavedImagePage"];
export type ReadInfotext = Schemas["ReadInfotext"];
/** One of what infotexts are read from: a text, an image in base64, or the id of a kept one. */
export type InfotextSource = { infotext: string } | { image: string } | { saved: string };

// Not relative to the document's own address: that may hold a name and a password, which fetch refuses.
const root = location.origin + location.pathname.replace(/\/studio\/.*$/, "");
const V1 = `${root}/promptengine/v1`;

/** A whole number that may be larger than JavaScript's own numbers are exact. */
export class Exact {
  constructor(readonly digits: string) {}
}

export type Sent = string | number | boolean | null | Exact | Sent[] | { [name: string]: Sent };

/** JSON in which whole numbers keep all of their digits. */
export function exactJson(value: Sent): string {
  if (value instanceof Exact) return value.digits;
  if (Array.isArray(value)) return `[${value.map(exactJson).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    return `{${entries.map(([name, one]) => `${JSON.stringify(name)}:${exactJson(one)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

/** What the server, or the way to it, has against a request. */
export class ApiError extends Error {
  /**
   * @param status HTTP's, or 0 where no answer came.
   * @param field The field that is to blame, such as `hires.scale`; empty where there is none.
   */
  constructor(
    message: string,
    readonly status: number,
    readonly field: string = "",
  ) {
    super(message);
  }
}

async function answerTo(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(V1 + path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached; see that it still runs.", 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await answerTo(path, init);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

async function refusal(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  const told = (body ?? {}) as { detail?: unknown; field?: unknown };
  if (Array.isArray(told.detail)) {
    const [first] = told.detail as { loc: (string | number)[]; msg: string }[];
    const place = (first?.loc ?? []).filter((part) => part !== "body" && typeof part === "string");
    return new ApiError(first?.msg ?? "The request does not fit.", response.status, place.join("."));
  }
  const words = typeof told.detail === "string" ? told.detail : `HTTP ${response.status}`;
  return new ApiError(words, response.status, typeof told.field === "string" ? told.field : "");
}

function send<T>(method: string, path: string, body?: Sent, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = exactJson(body);
  }
  if (signal) init.signal = signal;
  return ask<T>(path, init);
}

/** The address of a kept image, whose id has slashes between names. */
const image = (id: string) => `/images/${id.split("/").map(encodeURIComponent).join("/")}`;
/** A name may have slashes, which the server takes as backslashes too: so it stays one part of the address. */
const network = (kind: string, name: string) =>
  `/networks/${encodeURIComponent(kind)}/${encodeURIComponent(name.replaceAll("/", "\\"))}`;
const style = (name: string) => `/styles/${encodeURIComponent(name)}`;
const job = (id: string) => `/jobs/${encodeURIComponent(id)}`;

/** A form of which what is left out is the usual. */
type Asked<Form> = Partial<Form> & { [name: string]: Sent };

export const api = {
  fields: () => ask<unknown>("/fields"),
  networks: () => ask<NetworkEntry[]>("/networks"),
  networkPages: () => ask<NetworkPage[]>("/network-pages"),
  network: (kind: string, name: string) => ask<NetworkDetail>(network(kind, name)),
  refreshNetworks: () => send<void>("POST", "/networks/refresh"),
  describeNetwork: (kind: string, name: string, form: UserMetadata & { [name: string]: Sent }) =>
    send<NetworkEntry>("PUT", `${network(kind, name)}/user-metadata`, form),
  setPreview: (kind: string, name: string, image: string) =>
    send<NetworkEntry>("PUT", `${network(kind, name)}/preview`, { image }),
  searchCivitai: (form: Asked<Schemas["CivitaiSearch"]>) => send<CivitaiPage>("POST", "/civitai/search", form),
  civitaiPreviewUrl: (name: string) => `${V1}/civitai/previews/${encodeURIComponent(name)}`,
  downloads: () => ask<CivitaiDownload[]>("/civitai/downloads"),
  download: (form: Asked<Schemas["DownloadForm"]>) => send<CivitaiDownload>("POST", "/civitai/downloads", form),
  cancelDownload: (id: string) => send<CivitaiDownload>("DELETE", `/civitai/downloads/${encodeURIComponent(id)}`),
  askHashes: (infotext: string) => send<HashedFile[]>("POST", "/civitai/hashes", { infotext }),
  styles: () => ask<Style[]>("/styles"),
  saveStyle: ({ name, prompt, negative_prompt }: Style) =>
    send<Style>("PUT", style(name), { prompt, negative_prompt }),
  deleteStyle: (name: string) => send<void>("DELETE", style(name)),
  parse: (form: PromptForm & { [name: string]: Sent }, signal: AbortSignal) =>
    send<Reading>("POST", "/language/read", form, signal),
  complete: (form: Asked<Schemas["CompletionForm"]>) => send<Schemas["Completions"]>("POST", "/language/complete", form),
  weigh: (form: Asked<Schemas["WeightForm"]>) => send<Schemas["EditForm"] | null>("POST", "/language/weight", form),
  scripts: () => ask<ScriptList>("/scripts"),
  countScript: (form: Sent, signal: AbortSignal) => send<{ images: number | null }>("POST", "/scripts/count", form, signal),
  trainingFields: () => ask<unknown>("/training/fields"),
  trainingData: () => ask<TrainingData[]>("/training/data"),
  training: () => ask<TrainingStatus>("/training"),
  startTraining: (form: Sent) => send<TrainingStatus>("POST", "/training", form),
  stopTraining: () => send<TrainingStatus>("POST", "/training/stop"),
  trainingEvents: () => new EventSource(`${V1}/training/events`),
  // The name is for the browser, which may keep another run's preview of that step.
  previewUrl: (step: number, name: string) => `${V1}/training/previews/${step}?of=${encodeURIComponent(name)}`,
  submit: (form: Sent) => send<JobStatus>("POST", "/jobs", form),
  result: (id: string) => ask<JobResult>(`${job(id)}/result`),
  cancel: (id: string) => send<JobStatus>("DELETE", job(id)),
  interrupt: (id: string) => send<JobStatus>("POST", `${job(id)}/interrupt`),
  skip: (id: string) => send<JobStatus>("POST", `${job(id)}/skip`),
  move: (id: string, position: number) => send<JobStatus>("POST", `${job(id)}/move`, { position }),
  jobImages: (id: string) => ask<SavedImage[]>(`${job(id)}/images`),
  jobEvents: (limit: number) => new EventSource(`${V1}/events?limit=${limit}`),
  infotext: (source: InfotextSource) => send<ReadInfotext>("POST", "/infotext", source),
  images: (asked: { limit: number; offset: number; search: string }) =>
    ask<SavedImagePage>(`/images?limit=${asked.limit}&offset=${asked.offset}&search=${encodeURIComponent(asked.search)}`),
  deleteImage: (id: string) => send<void>("DELETE", image(id)),
  restoreImage: (id: string) => send<void>("POST", `${image(id)}/restore`),
  imageUrl: (id: string) => V1 + image(id),
  imageFile: async (id: string) => (await answerTo(image(id))).blob(),
  thumbnailUrl: (id: string) => `${V1}${image(id)}/thumbnail`,
  upscaleFields: () => ask<unknown>("/upscale/fields"),
  upscale: (form: Sent, signal: AbortSignal) => send<UpscaledImage>("POST", "/upscale", form, signal),
};

/** Where the preview of a file is; a new one has another address. */
export function previewUrl({ kind, name, preview }: NetworkEntry): string | null {
  return preview === null ? null : `${V1}${network(kind, name)}/preview?v=${preview}`;
}

/** The words of an error for a person. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
