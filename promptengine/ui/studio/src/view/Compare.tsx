// Two images over each other, with an edge between them that is moved.
import { signal } from "@preact/signals";
import type { TargetedPointerEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, type SavedImage } from "../api";
import { nameOf } from "./Grid";
import { Icon } from "./Icon";

export const compared = signal<[SavedImage, SavedImage] | null>(null);

const close = () => (compared.value = null);

export function Compare() {
  const dialog = useRef<HTMLDialogElement>(null);
  const both = compared.value;
  useEffect(() => {
    if (!both) dialog.current?.close();
    else if (!dialog.current?.open) dialog.current?.showModal();
  }, [both]);
  useEffect(() => () => void close(), []);
  return (
    <dialog class="compare" ref={dialog} aria-label="Two images compared" onClose={close}>
      {both && <Both left={both[0]} right={both[1]} />}
    </dialog>
  );
}

function Both({ left, right }: { left: SavedImage; right: SavedImage }) {
  const [share, setShare] = useState(50);
  const drag = (event: TargetedPointerEvent<HTMLDivElement>) => {
    if (event.type === "pointerdown") event.currentTarget.setPointerCapture(event.pointerId);
    else if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
    const { left: begin, width } = event.currentTarget.getBoundingClientRect();
    setShare(Math.min(Math.max(((event.clientX - begin) / width) * 100, 0), 100));
  };
  return (
    <>
      <div class="over" onPointerDown={drag} onPointerMove={drag}>
        <img src={api.imageUrl(right.id)} alt={`right: ${nameOf(right)}`} draggable={false} />
        <img
          class="upper"
          src={api.imageUrl(left.id)}
          alt={`left: ${nameOf(left)}`}
          draggable={false}
          style={{ clipPath: `inset(0 ${100 - share}% 0 0)` }}
        />
        <span class="edge" style={{ left: `${share}%` }} />
      </div>
      <div class="compare-bar">
        <span title={nameOf(left)}>{left.name}</span>
        <input
          type="range"
          min={0}
          max={100}
          step={1}
          value={share}
          autoFocus
          aria-label="How much of the left image is seen"
          aria-valuetext={`${Math.round(share)} %`}
          onInput={(event) => setShare(Number(event.currentTarget.value))}
        />
        <span title={nameOf(right)}>{right.name}</span>
        <button type="button" class="icon" aria-label="Close" onClick={close}><Icon name="close" /></button>
      </div>
    </>
  );
}
