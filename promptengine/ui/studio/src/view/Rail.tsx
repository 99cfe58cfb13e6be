// The settings: every declared field, in groups.
import { signal } from "@preact/signals";
import { OVERRIDES } from "../overrides";
import { sections, type Field, type Form } from "../schema";
import { faults, models } from "../state";
import { resetValues, setValue, setValues, values } from "../store";
import { FieldView, helpOf } from "./FieldView";
import { Icon } from "./Icon";
import { Overrides } from "./Overrides";

/** The field that is pointed at, whose help is shown in a place of its own: nothing moves under a pointer. */
const pointed = signal("");

function point(event: Event): void {
  const field = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-field]") : null;
  pointed.value = field?.dataset["field"] ?? pointed.value;
}

export function Rail({ form, lastSeed }: { form: Form; lastSeed: string | null }) {
  const all = [...form.own.filter((one) => one.control !== "prompt"), ...form.groups.flatMap((one) => one.fields)];
  const paths = [...all.map((one) => one.path), ...form.groups.map((one) => one.path), "checkpoint", "vae", OVERRIDES];
  const about = [...models.value, ...all].find((one) => one.path === pointed.value);
  return (
    <section class="rail" aria-label="Settings" id="settings" onFocusIn={point} onPointerOver={point}>
      <div class="settings">
      <Section label="Model" fields={models.value} lastSeed={lastSeed} />
      {sections(form.own).map((one) => (
        <Section key={one.label} {...one} lastSeed={lastSeed} />
      ))}
      <Overrides />
      {form.groups.map((group) => (
        <details class="group" key={group.path} data-group={group.path} open={values.value[group.path] === true}>
          <summary>
            <h2>{group.label}</h2>
            <span class={values.value[group.path] === true ? "on" : "off"}>
              {values.value[group.path] === true ? "on" : "off"}
            </span>
          </summary>
          <label class="check">
            <input
              type="checkbox"
              id={`field-${group.path}`}
              checked={values.value[group.path] === true}
              onInput={(event) => setValue(group.path, event.currentTarget.checked)}
            />
            Use it: {group.help}
          </label>
          {faults.value[group.path] && <p class="fault" role="alert">{faults.value[group.path]}</p>}
          <fieldset disabled={values.value[group.path] !== true}>
            <legend class="sr">{group.label}</legend>
            {/* Prompt boxes are no inputs that a fieldset could disable. */}
            <div class="fields" inert={values.value[group.path] !== true}>
              {group.fields.map((field) => (
                <FieldView key={field.path} field={field} lastSeed={lastSeed} />
              ))}
            </div>
          </fieldset>
        </details>
      ))}
      <button type="button" class="quiet reset" onClick={() => resetValues(paths)}>
        Reset settings
      </button>
      </div>
      <p class={about ? "about" : "about idle"} aria-hidden="true">
        {about ? <><b>{about.label}</b> {helpOf(about)}</> : "Point at a setting to see what it does."}
      </p>
    </section>
  );
}

function Section({ label, fields, lastSeed }: { label: string; fields: Field[]; lastSeed: string | null }) {
  const sized = fields.some((one) => one.path === "width") && fields.some((one) => one.path === "height");
  return (
    <section class="group" aria-label={label}>
      <div class="group-head">
        <h2>{label}</h2>
        {sized && (
          <button type="button" class="icon" title="Switch width and height" aria-label="Switch width and height" onClick={swap}>
            <Icon name="swap" />
          </button>
        )}
      </div>
      <div class="fields">
        {fields.map((field) => (
          <FieldView key={field.path} field={field} lastSeed={lastSeed} />
        ))}
      </div>
    </section>
  );
}

function swap(): void {
  const { width = "", height = "" } = values.value;
  setValues({ width: height, height: width });
}
