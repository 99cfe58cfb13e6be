// The prompts, and what is done with them.
import { PromptEditor } from "../editor/PromptEditor";
import { active, interrupt, running, skip } from "../jobs";
import { faults, form } from "../state";
import { enqueue, sending } from "../submit";
import { Forever } from "./Forever";
import { ReadPrompt } from "./ReadPrompt";
import { Styles } from "./Styles";

export function Compose() {
  const prompts = form.value?.own.filter((one) => one.control === "prompt") ?? [];
  const fault = faults.value[""];
  return (
    <section class="compose" aria-label="Prompts">
      <div class="prompts">
        {prompts.map((field) => (
          <PromptEditor key={field.path} field={field} hint={field.help} />
        ))}
        <Styles />
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
      {runs && <progress class="thin" max={1} value={running.value?.status.progress ?? 0} aria-label="Progress" />}
      <div class="starts">
      <button type="button" class="generate" title="Ctrl+Enter" disabled={!form.value} data-sending={sending.value > 0} onClick={() => void enqueue()}>
        Generate{active.value.length > 0 && <span class="count"> +{active.value.length}</span>}
      </button>
      <Forever />
      </div>
      <div class="row">
        <ReadPrompt />
        <button type="button" class="quiet" title="Esc: end after this step and keep the image" disabled={!runs} onClick={() => void interrupt()}>
          Interrupt
        </button>
        <button type="button" class="quiet" title="Alt+Enter: on to the next batch" disabled={!runs} onClick={() => void skip()}>
          Skip
        </button>
      </div>
      <button type="button" class="quiet jump" onClick={() => document.getElementById("settings")?.scrollIntoView()}>
        Settings
      </button>
    </div>
  );
}
