// One image of the history, large, with all that it says and what can be done with it.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, words, type SavedImage } from "../api";
import { fetchAt, placeOf, remove, restore, total } from "../history";
import { covered, notice } from "../notices";
import type { SentImage } from "../targets";
import { nameOf } from "./Grid";
import { Icon } from "./Icon";
import { CopyButton, ReuseButtons, SendRow } from "./ImageActions";
import { Notices } from "./Notices";

/** The image that is open, or null. */
export const opened = signal<SavedImage | null>(null);

const close = () => (opened.value = null);

export function Viewer({ onCompare }: { onCompare: (image: SavedImage) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const image = opened.value;
  useEffect(() => {
    if (!image) dialog.current?.close();
    else if (!dialog.current?.open) dialog.current?.showModal();
    covered.value = image !== null;
  }, [image]);
  // Whoever leaves the view leaves the image too.
  useEffect(() => () => void close(), []);
  return (
    <dialog class="viewer" ref={dialog} aria-label="Image" onClose={close} onKeyDown={hear}>
      {image && <Opened image={image} onCompare={onCompare} />}
    </dialog>
  );
}

function Opened({ image, onCompare }: { image: SavedImage; onCompare: (image: SavedImage) => void }) {
  const index = placeOf(image.id);
  return (
    <>
      <div class="large-image">
        <img key={image.id} src={api.imageUrl(image.id)} alt={nameOf(image)} />
        <button type="button" class="icon before" aria-label="Newer image" disabled={index <= 0} onClick={() => void step(-1)}>
          <Icon name="left" />
        </button>
        <button type="button" class="icon after" aria-label="Older image" disabled={index + 1 >= (total.value ?? 0)} onClick={() => void step(1)}>
          <Icon name="right" />
        </button>
        <button type="button" class="icon shut" aria-label="Close" autoFocus onClick={close}><Icon name="close" /></button>
      </div>
      <section class="about-image" aria-label="About this image" tabIndex={0}>
        <h2>{image.name}</h2>
        <p class="help">
          {image.width} × {image.height} · {new Date(image.time * 1000).toLocaleString()}
        </p>
        <SendRow image={sentOf(image)} source={image.infotext ? { saved: image.id } : null} onSent={close} />
        <div class="image-actions">
          {image.infotext && <ReuseButtons source={{ saved: image.id }} />}
          <button type="button" class="quiet" data-action="compare" onClick={() => onCompare(image)}>Compare</button>
          {image.infotext && <CopyButton infotext={image.infotext} />}
          <a class="quiet" href={api.imageUrl(image.id)} download={image.name}>Download</a>
          <button type="button" class="quiet" data-action="delete" onClick={() => void toBin(image)}>Delete</button>
        </div>
        {image.infotext ? (
          <pre class="infotext" tabIndex={0} aria-label="Infotext">{image.infotext}</pre>
        ) : (
          <p class="help">This image does not say how it was made.</p>
        )}
      </section>
      <Notices />
    </>
  );
}

/** An image as other views take it. */
function sentOf(image: SavedImage): SentImage {
  return { blob: () => api.imageFile(image.id), name: image.name, infotext: image.infotext };
}

async function step(by: number): Promise<void> {
  const from = opened.value;
  if (!from) return;
  const next = await fetchAt(placeOf(from.id) + by);
  if (next && opened.value === from) opened.value = next;
}

/** Move an image to the bin, and go on with the one that takes its place. */
async function toBin(image: SavedImage): Promise<void> {
  const index = placeOf(image.id);
  try {
    await remove(image);
  } catch (error) {
    notice.value = { text: words(error), bad: true };
    return;
  }
  notice.value = { text: `${image.name} is in the bin.`, undo: () => restore(image) };
  const left = total.value ?? 0;
  const next = left > 0 && index >= 0 ? await fetchAt(Math.min(index, left - 1)) : undefined;
  if (opened.value === image) opened.value = next ?? null;
}

function hear(event: KeyboardEvent): void {
  const image = opened.value;
  if (event.altKey || event.ctrlKey || event.metaKey || !image) return;
  const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
  if (by !== 0) void step(by);
  else if (event.key === "Delete" && !event.repeat) void toBin(image);
  else return;
  event.preventDefault();
}
