// An image over the whole window, until it is clicked or Escape is pressed.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "./Icon";

const shown = signal<string | null>(null);

/** Show the image of an address large. */
export function openLarge(url: string): void {
  shown.value = url;
}

const close = () => (shown.value = null);

export function Large() {
  const dialog = useRef<HTMLDialogElement>(null);
  const url = shown.value;
  useEffect(() => {
    if (url === null) dialog.current?.close();
    else if (!dialog.current?.open) dialog.current?.showModal();
  }, [url]);
  return (
    <dialog class="large" ref={dialog} aria-label="Image, large" onClick={close} onClose={close}>
      <button type="button" class="icon" aria-label="Close" autoFocus><Icon name="close" /></button>
      {url !== null && <img src={url} alt="the image in its own size" />}
    </dialog>
  );
}
