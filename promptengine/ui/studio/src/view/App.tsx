// The page as a whole: its parts, and the keys that it hears.
import { useEffect, useRef } from "preact/hooks";
import { PromptEditor } from "../editor/PromptEditor";
import { active, connected, interrupt, running, skip } from "../jobs";
import { enqueue, faults, form, sending } from "../state";
import { setTheme, theme, type Theme } from "../store";
import { Icon } from "./Icon";
import { Rail } from "./Rail";
import { Side, seedOf } from "./Side";
import { Stage, onStage } from "./Stage";

export function App() {
  const large = useRef<HTMLDialogElement>(null);
  const largeImage = useRef<HTMLImageElement>(null);
  useEffect(() => {
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, []);
  const here = onStage();
  const told = form.value;
  const open = (url: string) => {
    if (largeImage.current) largeImage.current.src = url;
    large.current?.showModal();
  };
  return (
    <>
      <Head />
      <main>
        <Compose />
        {told && <Rail form={told} lastSeed={seedOf(here?.job.result?.images[here.image])} />}
        <Stage onOpen={open} />
        <Side />
      </main>
      <dialog class="large" ref={large} aria-label="Image, large" onClick={() => large.current?.close()}>
        <button type="button" class="icon" aria-label="Close" autoFocus><Icon name="close" /></button>
        <img ref={largeImage} alt="the image in its own size" />
      </dialog>
      <p class="sr" role="status">{statusWords()}</p>
    </>
  );
}

function statusWords(): string {
  if (running.value) return "An image is made.";
  return active.value.length ? "Images wait." : "Nothing waits.";
}

/** Ctrl+Enter enqueues, Escape interrupts and keeps the image, Alt+Enter skips. */
function hear(event: KeyboardEvent): void {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const enter = event.key === "Enter";
  if (enter && (event.ctrlKey || event.metaKey)) {
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

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };

function Head() {
  const next = NEXT[theme.value];
  return (
    <header>
      <h1>
        <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
          <path d="M12 1c1 7 4 10 11 11-7 1-10 4-11 11-1-7-4-10-11-11 7-1 10-4 11-11z" />
        </svg>
        promptengine
      </h1>
      <span class="spring" />
      {!connected.value && <span class="lost" role="alert">Connection lost; trying again…</span>}
      <button
        type="button"
        class="icon"
        title={`Colors: ${theme.value}`}
        aria-label={`Colors: ${theme.value}; switch to ${next}`}
        onClick={() => setTheme(next)}
      >
        <Icon name={theme.value} />
      </button>
    </header>
  );
}

function Compose() {
  const prompts = form.value?.own.filter((one) => one.control === "prompt") ?? [];
  const fault = faults.value[""];
  return (
    <section class="compose" aria-label="Prompts">
      <div class="prompts">
        {prompts.map((field) => (
          <PromptEditor key={field.path} field={field} hint={field.help} />
        ))}
      </div>
      <Actions />
      {fault && <p class="fault general" role="alert">{fault}</p>}
    </section>
  );
}

function Actions() {
  const runs = running.value !== null;
  return (
    <div class="actions">
      {runs && <progress class="thin" max={1} value={running.value?.status?.progress ?? 0} aria-label="Progress" />}
      <button type="button" class="generate" title="Ctrl+Enter" disabled={!form.value} data-sending={sending.value > 0} onClick={() => void enqueue()}>
        Generate{active.value.length > 0 && <span class="count"> +{active.value.length}</span>}
      </button>
      <div class="row">
        <button type="button" class="quiet" title="Esc: end after this step and keep the image" disabled={!runs} onClick={() => void interrupt()}>
          Interrupt
        </button>
        <button type="button" class="quiet" title="Alt+Enter: on to the next batch" disabled={!runs} onClick={() => void skip()}>
          Skip
        </button>
      </div>
      <a class="quiet jump" href="#settings">Settings</a>
    </div>
  );
}
