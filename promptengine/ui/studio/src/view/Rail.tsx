// The settings: every declared field, in groups.
import { signal } from "@preact/signals";
import { OVERRIDES } from "../overrides";
import { sections, type Field, type Form } from "../schema";
import { fields as scriptFields, resetScript } from "../scripts";
import { RATIOS } from "../regions";
import { replaced, scaleField, SIZING } from "../start";
import { groups, models, startsFromImage } from "../state";
import { resetValues, setValues, values } from "../store";
import { FieldView, helpOf } from "./FieldView";
import { Icon } from "./Icon";
import { Overrides } from "./Overrides";
import { RegionNotes } from "./RegionNotes";
import { ScriptSection } from "./ScriptSection";
import { SizeChoice, StartSettings } from "./StartSettings";
import { Switched } from "./Switched";

/** The field that is pointed at, whose help is shown in a place of its own: nothing moves under a pointer. */
const pointed = signal("");

function point(event: Event): void {
  const field = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-field]") : null;
  pointed.value = field?.dataset["field"] ?? pointed.value;
}

export function Rail({ form, lastSeed }: { form: Form; lastSeed: string | null }) {
  const nested = [...form.groups, ...form.imageGroups];
  const all = [...form.own.filter((one) => one.control !== "prompt"), ...nested.flatMap((one) => one.fields), scaleField];
  const paths = [...all.map((one) => one.path), ...nested.map((one) => one.path), "checkpoint", "vae", SIZING, OVERRIDES];
  const about = [...models.value, ...all, ...scriptFields.value].find((one) => one.path === pointed.value);
  return (
    <section class="rail" aria-label="Settings" id="settings" onFocusIn={point} onPointerOver={point}>
      <div class="settings">
      <Section label="Model" fields={models.value} lastSeed={lastSeed} />
      {startsFromImage.value && <StartSettings />}
      {sections(form.own).map((one) => (
        <Section key={one.label} {...one} lastSeed={lastSeed} />
      ))}
      <Overrides />
      {groups.value.map((group) => (
        <Switched key={group.path} {...group} lastSeed={lastSeed} />
      ))}
      <ScriptSection />
      <button type="button" class="quiet reset" onClick={() => { resetValues(paths); resetScript(); }}>
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
        {sized && replaced.value.length === 0 && (
          <button type="button" class="icon" title="Switch width and height" aria-label="Switch width and height" onClick={swap}>
            <Icon name="swap" />
          </button>
        )}
      </div>
      {sized && startsFromImage.value && <SizeChoice />}
      <div class="fields">
        {fields
          .filter((field) => !replaced.value.includes(field.path))
          .map((field) => (
            <FieldView key={field.path} field={field} lastSeed={lastSeed} />
          ))}
      </div>
      {fields.some((one) => one.path === RATIOS) && <RegionNotes />}
    </section>
  );
}

function swap(): void {
  const { width = "", height = "" } = values.value;
  setValues({ width: height, height: width });
}
