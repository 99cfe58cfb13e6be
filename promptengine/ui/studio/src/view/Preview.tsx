// What a file's preview shows.
import { useSignal } from "@preact/signals";
import { previewUrl, type NetworkEntry } from "../api";

/** The preview of a file; its first letter where there is none, or none that can be shown. */
export function Preview({ entry }: { entry: NetworkEntry }) {
  const broken = useSignal(false);
  const url = broken.value ? null : previewUrl(entry);
  return (
    <span class="card-image" aria-hidden="true">
      {url ? <img src={url} alt="" decoding="async" draggable={false} onError={() => (broken.value = true)} /> : [...entry.name][0]}
    </span>
  );
}
