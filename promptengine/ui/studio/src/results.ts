// What became of a job: its images from the server's memory, or where that has let go of them those that are saved.
import { ApiError, api, type Diagnostic, type JobResult, type JobStatus } from "./api";

export interface MadeImage {
  url: string;
  /** Where a small one is had, as long as that is enough. */
  small: string;
  infotext: string;
  /** Its file; the page's policy lets nothing be fetched but from the server, not even `blob:` addresses. */
  blob(): Promise<Blob>;
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
  /** Whether that is all there is to know. */
  whole: boolean;
}

/** What is known of a job that ended before, until somebody looks at it; null where nothing is saved. */
export function glimpse(status: JobStatus): Result | null {
  const ids = status.saved.filter((id) => id !== null);
  if (ids.length === 0) return null;
  return { images: ids.map((id) => savedImage(id, "")), networks: [], diagnostics: [], seconds: 0, whole: false };
}

/** All that the server knows of a job that has ended; null where it keeps nothing of it. */
export async function loadResult(id: string): Promise<Result | null> {
  try {
    return readResult(await api.result(id));
  } catch (error) {
    if (!(error instanceof ApiError) || (error.status !== 410 && error.status !== 404)) throw error;
  }
  const images = (await api.jobImages(id)).map((one) => savedImage(one.id, one.infotext));
  return images.length ? { images, networks: [], diagnostics: [], seconds: 0, whole: true } : null;
}

/** Give back the memory that images take. */
export function release(result: Result | null): void {
  for (const image of result?.images ?? []) if (image.url.startsWith("blob:")) URL.revokeObjectURL(image.url);
}

function savedImage(id: string, infotext: string): MadeImage {
  const files = { url: api.imageUrl(id), small: api.thumbnailUrl(id), blob: () => api.imageFile(id) };
  return { ...files, infotext, saved: id };
}

function readResult(result: JobResult): Result {
  return {
    images: result.images.map((data, index) => {
      const file = fileOf(data);
      const url = URL.createObjectURL(file);
      const files = { url, small: url, blob: async () => file };
      return { ...files, infotext: result.infotexts[index] ?? "", saved: result.saved[index] ?? null };
    }),
    networks: result.networks as unknown as NetworkUse[],
    diagnostics: [...result.diagnostics, ...result.warnings.map(warned)],
    seconds: Object.values(result.timings).reduce((sum, one) => sum + one, 0),
    whole: true,
  };
}

/** What stands beside the images, as a diagnostic. */
function warned(message: string): Diagnostic {
  return { severity: "warning", message, hint: "", column: null, start: null, end: null, code: "remark", related: [] };
}

function fileOf(base64: string): Blob {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return new Blob([bytes], { type: imageType(bytes) });
}

function imageType(bytes: Uint8Array): string {
  if (bytes[0] === 0xff) return "image/jpeg";
  return bytes[0] === 0x52 ? "image/webp" : "image/png";
}

/** The file name's end that fits an image. */
export function suffixOf(file: Blob): string {
  return file.type.replace("image/", "").replace("jpeg", "jpg");
}
