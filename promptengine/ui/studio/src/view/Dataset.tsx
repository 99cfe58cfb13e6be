// The images to train with: dropped or chosen, each with its caption.
import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { words } from "../api";
import { addFiles, caption, dataset, removeAll, removeImage, type DataImage } from "../dataset";
import { GENERAL } from "../training";
import { faults, setFault } from "../state";
import { Icon } from "./Icon";

/** Whether files are held over the place where they can be let go. */
const held = signal(false);

async function take(files: FileList | null | undefined): Promise<void> {
  held.value = false;
  try {
    const left = files ? await addFiles(files) : 0;
    setFault(GENERAL, left > 0 ? `${left} of the files ${left === 1 ? "is" : "are"} no image and no caption.` : "");
  } catch (error) {
    setFault(GENERAL, words(error));
  }
}

export function Dataset() {
  const input = useRef<HTMLInputElement>(null);
  const images = dataset.value;
  const fault = faults.value["train.images"];
  return (
    <section
      class={held.value ? "dataset held" : "dataset"}
      aria-label="Images"
      onDragOver={(event) => {
        event.preventDefault();
        held.value = true;
      }}
      onDragLeave={() => (held.value = false)}
      onDrop={(event) => {
        event.preventDefault();
        void take(event.dataTransfer?.files);
      }}
    >
      <div class="group-head">
        <h2>Images</h2>
        <span class="count">{images.length || "none"}</span>
        {images.length > 0 && (
          <>
            <button type="button" class="quiet" onClick={() => input.current?.click()}>Add…</button>
            <button type="button" class="quiet" onClick={removeAll}>Remove all</button>
          </>
        )}
      </div>
      {fault && <p class="fault" role="alert">{fault}</p>}
      {images.length === 0 ? (
        <button type="button" class="drop-images" onClick={() => input.current?.click()}>
          <b>Drop images here, or choose them</b>
          <span>10 to 50 of one subject or style. A text file of the same name is an image's caption; you can change captions here.</span>
        </button>
      ) : (
        <ul class="data-images">
          {images.map((image, place) => <DataRow key={image.id} image={image} place={place + 1} />)}
        </ul>
      )}
      <input
        ref={input}
        class="sr files"
        type="file"
        multiple
        tabIndex={-1}
        aria-label="Images and captions"
        accept="image/png,image/jpeg,image/webp,image/bmp,.txt"
        onChange={(event) => {
          const chosen = event.currentTarget;
          void take(chosen.files).then(() => (chosen.value = ""));
        }}
      />
    </section>
  );
}

function DataRow({ image, place }: { image: DataImage; place: number }) {
  return (
    <li>
      <img src={image.url} alt="" loading="lazy" />
      <textarea
        rows={3}
        aria-label={`Caption of image ${place}, ${image.name}`}
        placeholder="what the image shows"
        value={image.caption}
        onInput={(event) => caption(image.id, event.currentTarget.value)}
      />
      <button type="button" class="icon" title="Remove" aria-label={`Remove image ${place}, ${image.name}`} onClick={() => removeImage(image.id)}>
        <Icon name="close" />
      </button>
    </li>
  );
}
