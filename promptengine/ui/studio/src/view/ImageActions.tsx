// What can be done with an image that was made, wherever it is shown.
import { signal } from "@preact/signals";
import { applyInfotext, sendTo, type Share, type Source } from "../infotext";
import { TARGETS, type SentImage, type Target } from "../targets";
import "./actions.css";

interface Props {
  image: SentImage;
  /** Where its infotext is read; null where there is none. */
  source: Source | null;
  /** Whether there is an image, and not its infotext alone. */
  whole?: boolean;
  /** Called when it has been sent elsewhere. */
  onSent?: () => void;
}

export function SendRow({ image, source, whole = true, onSent }: Props) {
  const canTake = (target: Target) => (target.settings === "needed" ? source !== null : whole);
  const send = async (target: Target) => {
    await sendTo(target, image, source);
    onSent?.();
  };
  return (
    <div class="image-actions" role="group" aria-label="Send to">
      {TARGETS.map((target) => (
        <button
          type="button"
          class="quiet"
          key={target.id}
          data-target={target.id}
          disabled={!canTake(target)}
          onClick={() => void send(target)}
        >
          Send to {target.label}
        </button>
      ))}
    </div>
  );
}

/** Take over a part of what an image says. */
export function ReuseButtons({ source }: { source: Source }) {
  const reuse = (share: Share) => void applyInfotext(source, share);
  return (
    <>
      <button type="button" class="quiet" onClick={() => reuse("prompt")}>Reuse prompt</button>
      <button type="button" class="quiet" onClick={() => reuse("seed")}>Reuse seed</button>
    </>
  );
}

/** The infotext that was copied last. */
const copied = signal("");

export function CopyButton({ infotext }: { infotext: string }) {
  return (
    <button type="button" class="quiet" onClick={(event) => void copy(infotext, event.currentTarget)}>
      {copied.value === infotext ? "Copied" : "Copy infotext"}
    </button>
  );
}

/** Browsers lend the clipboard to secure pages alone; elsewhere the text is selected, ready to be copied. */
async function copy(infotext: string, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(infotext);
    copied.value = infotext;
  } catch {
    const near = button.closest("dialog, section, main") ?? document;
    const shown = near.querySelector(".infotext");
    if (shown) getSelection()?.selectAllChildren(shown);
  }
}
