// What a file's preview shows.
import { useSignal } from "@preact/signals";
import { previewUrl, type NetworkEntry } from "../api";

/** The preview of a file. */
export function Preview({ entry }: { entry: NetworkEntry }) {
  return <PreviewImage url={previewUrl(entry)} name={entry.name} />;
}

interface Props {
  url: string | null;
  name: string;
  /** Whether it is fetched only where it is about to be seen. */
  lazy?: boolean;
}

/** An image; the first letter of a name where there is none, or none that can be shown. */
export function PreviewImage({ url, name, lazy = false }: Props) {
  const broken = useSignal(false);
  return (
    <span class="card-image" aria-hidden="true">
      {url && !broken.value ? (
        <img src={url} alt="" decoding="async" loading={lazy ? "lazy" : "eager"} draggable={false} onError={() => (broken.value = true)} />
      ) : (
        [...name][0]
      )}
    </span>
  );
}
