// Settings that are on or off together.
import type { Field } from "../schema";
import { faults } from "../state";
import { setValue, values } from "../store";
import { FieldView } from "./FieldView";

interface Props {
  /** Of the value that says whether they are on. */
  path: string;
  label: string;
  help: string;
  fields: Field[];
  lastSeed: string | null;
}

export function Switched({ path, label, help, fields, lastSeed }: Props) {
  const on = values.value[path] === true;
  return (
    <details class="group" data-group={path} open={on}>
      <summary>
        <h2>{label}</h2>
        <span class={on ? "on" : "off"}>{on ? "on" : "off"}</span>
      </summary>
      <label class="check">
        <input
          type="checkbox"
          id={`field-${path}`}
          checked={on}
          onInput={(event) => setValue(path, event.currentTarget.checked)}
        />
        Use it: {help}
      </label>
      {faults.value[path] && <p class="fault" role="alert">{faults.value[path]}</p>}
      <fieldset disabled={!on}>
        <legend class="sr">{label}</legend>
        {/* Prompt boxes are no inputs that a fieldset could disable. */}
        <div class="fields" inert={!on}>
          {fields.map((field) => (
            <FieldView key={field.path} field={field} lastSeed={lastSeed} />
          ))}
        </div>
      </fieldset>
    </details>
  );
}
