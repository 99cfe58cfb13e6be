// WebUI's Train: what is trained, with which images, and how far it is.
import { useEffect } from "preact/hooks";
import { loadNetworks, faults } from "../state";
import { resetValues } from "../store";
import { checkpointField, folderField, folders, GENERAL, goesOn, groups, imageCount, loadTraining, nameField, ownImages, start, starting, status, stop, taken } from "../training";
import { Dataset } from "./Dataset";
import { FieldView } from "./FieldView";
import { TrainingProgress } from "./TrainingProgress";
import "./train.css";

export function Train() {
  useEffect(() => {
    void loadTraining();
    void loadNetworks();
  }, []);
  return (
    <main class="train">
      <section class="rail" aria-label="Training options" tabIndex={0}>
        <div class="settings">
          <Options />
        </div>
        <Actions />
      </section>
      <section class="stage" aria-label="Training" aria-busy={goesOn.value}>
        <TrainingProgress />
        {ownImages.value && <Dataset />}
      </section>
    </main>
  );
}

function Options() {
  const paths = groups.value.flatMap((one) => one.fields.map((field) => field.path));
  return (
    <>
      <section class="group" aria-label="Hypernetwork">
        <div class="group-head"><h2>Train hypernetwork</h2></div>
        <div class="fields">
          <FieldView field={nameField} lastSeed={null} />
          <FieldView field={checkpointField.value} lastSeed={null} />
          {folders.value.length > 0 && <FieldView field={folderField.value} lastSeed={null} />}
        </div>
      </section>
      {groups.value.map(({ label, fields }, place) => (
        <details class="group" key={label} open={place === 0}>
          <summary><h2>{label}</h2></summary>
          <div class="fields">
            {fields.map((field) => (
              <div class={`told ${field.control === "checkbox" ? "" : "wide"}`} key={field.path}>
                <FieldView field={field} lastSeed={null} />
                <p class="help" aria-hidden="true">{field.usual ? `${field.help}; empty: ${field.usual}` : field.help}</p>
              </div>
            ))}
          </div>
        </details>
      ))}
      {paths.length > 0 && (
        <button type="button" class="quiet reset" onClick={() => resetValues(paths)}>Reset options</button>
      )}
    </>
  );
}

function Actions() {
  const fault = faults.value[GENERAL];
  const told = status.value;
  const resumable = told?.state === "stopped" && told.step > 0;
  const idle = goesOn.value || starting.value || groups.value.length === 0;
  return (
    <div class="train-actions">
      {fault && <p class="fault" role="alert">{fault}</p>}
      <div class="row">
        <button type="button" class="generate" disabled={idle || imageCount.value === 0} onClick={() => void start()}>
          {starting.value ? "Sending…" : "Train Hypernetwork"}
        </button>
        <button type="button" class="quiet stop" disabled={!goesOn.value || told?.state === "stopping"} onClick={() => void stop()}>
          Stop
        </button>
      </div>
      {!goesOn.value && (resumable || taken.value) && (
        <div class="row">
          <button type="button" class="quiet resume" disabled={idle} onClick={() => void start({ resume: true })}>Resume</button>
          {taken.value && (
            <button type="button" class="quiet overwrite" disabled={idle} onClick={() => void start({ overwrite: true })}>
              Overwrite
            </button>
          )}
        </div>
      )}
      {imageCount.value === 0 && !goesOn.value && <p class="help">It needs images to train with.</p>}
    </div>
  );
}
