// The page as a whole: the view that is shown, and the keys that all of it hears.
import { useEffect } from "preact/hooks";
import { active, interrupt, running, skip } from "../jobs";
import { covered } from "../notices";
import { enqueue } from "../submit";
import { Generate } from "./Generate";
import { Head } from "./Head";
import { Notices } from "./Notices";
import { shownView } from "./views";

export function App() {
  useEffect(() => {
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, []);
  const { Body } = shownView.value;
  return (
    <>
      <Head />
      <Body />
      {!covered.value && <Notices />}
      <p class="sr" role="status">{statusWords()}</p>
    </>
  );
}

function statusWords(): string {
  if (running.value) return "An image is made.";
  return active.value.length ? "Images wait." : "Nothing waits.";
}

/** Ctrl+Enter enqueues where prompts are seen, Escape interrupts and keeps the image, Alt+Enter skips. */
function hear(event: KeyboardEvent): void {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const enter = event.key === "Enter";
  if (enter && (event.ctrlKey || event.metaKey) && shownView.value.Body === Generate) {
    event.preventDefault();
    if (!event.repeat) void enqueue();
  } else if (enter && event.altKey) {
    event.preventDefault();
    void skip();
  } else if (event.key === "Escape" && running.value) {
    event.preventDefault();
    void interrupt();
  }
}
