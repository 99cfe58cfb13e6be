// A place that takes an image: dropped, chosen or pasted.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { faults } from "../state";
import type { ImageSlot } from "../source";
import { Icon } from "./Icon";
import "./imagebox.css";

interface Props {
  slot: ImageSlot;
  /** What it is, such as "Image". */
  label: string;
  /** Said where there is none. */
  hint: string;
  /** Whether an image that is pasted goes here. */
  pastes: boolean;
  /** Shown in place of the image, such as an editor. */
  children?: ComponentChildren;
}

export function ImageBox({ slot, label, hint, pastes, children }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const image = slot.image.value;
  const fault = faults.value[slot.path];
  usePaste(slot, pastes);
  const choose = () => input.current?.click();
  return (
    <section
      class="image-box"
      aria-label={label}
      data-slot={slot.name}
      data-filled={image !== null}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        takeFrom(event.dataTransfer, slot);
      }}
    >
      {image ? (
        <>
          <div class="image-box-head">
            <h2>{label}</h2>
            <span class="count">{image.width} × {image.height}</span>
            <button type="button" class="quiet" id={`field-${slot.path}`} onClick={choose}>Replace</button>
            <button type="button" class="icon" title="Remove" aria-label={`Remove: ${label}`} onClick={() => slot.clear()}>
              <Icon name="close" />
            </button>
          </div>
          {children || <img class="shown" src={image.url} alt={label} />}
        </>
      ) : (
        <button type="button" class="drop" id={`field-${slot.path}`} aria-describedby={fault ? `${slot.name}-fault` : undefined} onClick={choose}>
          <Icon name="upload" />
          <b>{label}</b>
          <span>{hint}</span>
        </button>
      )}
      {fault && <p class="fault" id={`${slot.name}-fault`} role="alert">{fault}</p>}
      <input
        ref={input}
        class="sr"
        type="file"
        accept="image/*"
        tabIndex={-1}
        aria-label={`${label}: file`}
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file) void slot.take(file);
        }}
      />
    </section>
  );
}

/** Take the image among what is dropped or pasted; returns whether there was one. */
function takeFrom(data: DataTransfer | null, slot: ImageSlot): boolean {
  const files = [...(data?.files ?? [])];
  const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) void slot.take(file);
  return file !== undefined;
}

/** Office programs put an image of it beside a text; who pastes into a text box wants the text. */
function usePaste(slot: ImageSlot, pastes: boolean): void {
  useEffect(() => {
    if (!pastes) return;
    const hear = (event: ClipboardEvent) => {
      if (event.clipboardData?.getData("text/plain")) return;
      if (takeFrom(event.clipboardData, slot)) event.preventDefault();
    };
    document.addEventListener("paste", hear);
    return () => document.removeEventListener("paste", hear);
  }, [slot, pastes]);
}
