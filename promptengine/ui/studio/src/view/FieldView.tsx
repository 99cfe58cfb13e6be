// One field of the form as its control: what it shows is what is sent.
import type { TargetedEvent, TargetedKeyboardEvent } from "preact";
import { PromptEditor } from "../editor/PromptEditor";
import { faultOf, halves, type Field } from "../schema";
import { faults, setFault, shown } from "../state";
import { setValue } from "../store";
import { Icon } from "./Icon";
import { Segments } from "./Segments";

interface About {
  "aria-describedby": string;
  "aria-invalid"?: true;
}

/** Take what was typed, and say at once where it cannot be sent so. */
function take(field: Field, value: string | boolean): void {
  setValue(field.path, value);
  setFault(field.path, faultOf(field, value));
}

export function FieldView({ field, lastSeed }: { field: Field; lastSeed: string | null }) {
  if (field.control === "prompt") {
    return (
      <div class="field wide">
        <PromptEditor field={field} hint={field.usual || field.help} />
      </div>
    );
  }
  const id = `field-${field.path}`;
  const fault = faults.value[field.path];
  const about: About = {
    "aria-describedby": `${id}-help${fault ? ` ${id}-fault` : ""}`,
    ...(fault ? { "aria-invalid": true } : {}),
  };
  const named = field.labels.length > 0;
  const wide = named || ["choice", "slider", "seed", "pair", "text"].includes(field.control);
  return (
    <div class={`field ${wide ? "wide" : ""} ${field.control}`} data-field={field.path}>
      {named ? (
        <Named field={field} id={id} about={about} />
      ) : field.control === "checkbox" ? (
        <label class="check">
          <input
            id={id}
            type="checkbox"
            checked={shown(field) === true}
            onInput={(event) => take(field, event.currentTarget.checked)}
            {...about}
          />
          {field.label}
        </label>
      ) : (
        <>
          <label for={id} title={field.help}>{field.label}</label>
          <Input field={field} id={id} about={about} lastSeed={lastSeed} />
        </>
      )}
      <p class="sr" id={`${id}-help`}>{helpOf(field)}</p>
      {fault && <p class="fault" id={`${id}-fault`} role="alert">{fault}</p>}
    </div>
  );
}

/** A field whose values have names of their own: no and yes, or one of several. */
function Named({ field, id, about }: { field: Field; id: string; about: About }) {
  const yesOrNo = field.control === "checkbox";
  const ids = yesOrNo ? ["false", "true"] : field.choices;
  const choices = ids.map((one, index) => ({ id: one, label: field.labels[index] ?? one }));
  const give = (chosen: string) => take(field, yesOrNo ? chosen === "true" : chosen);
  const value = String(shown(field));
  if (choices.length > 2) {
    return (
      <>
        <label for={id} title={field.help}>{field.label}</label>
        <select id={id} value={value} onInput={(event) => give(event.currentTarget.value)} {...about}>
          {choices.map((one) => (
            <option value={one.id} selected={one.id === value}>{one.label}</option>
          ))}
        </select>
      </>
    );
  }
  return (
    <>
      <span class="label" aria-hidden="true">{field.label}</span>
      <Segments label={field.label} id={id} choices={choices} value={value} give={give} about={about["aria-describedby"]} />
    </>
  );
}

/** What a field is for, and what it means as it is at first. */
export function helpOf(field: Field): string {
  if (!field.usual || field.control === "choice") return field.help;
  return `${field.help}; ${field.initial === "" ? "empty" : String(field.initial)}: ${field.usual}`;
}

interface InputProps {
  field: Field;
  id: string;
  about: About;
  lastSeed: string | null;
}

function Input({ field, id, about, lastSeed }: InputProps) {
  const value = String(shown(field));
  const on = (event: TargetedEvent<HTMLInputElement | HTMLSelectElement>) => take(field, event.currentTarget.value);
  const mode = field.whole ? "numeric" : "decimal";
  switch (field.control) {
    case "choice":
      return <Choice field={field} id={id} about={about} value={value} />;
    case "slider":
      return (
        <div class="row">
          <input
            type="range"
            aria-label={`${field.label}, slider`}
            min={field.min ?? 0}
            max={field.max ?? 1}
            step={field.whole ? 1 : 0.01}
            value={value}
            onInput={on}
          />
          <input id={id} class="short" type="text" inputMode={mode} autoComplete="off" value={value} onInput={on} {...about} />
        </div>
      );
    case "seed":
      return (
        <div class="row">
          <input id={id} type="text" inputMode="numeric" autoComplete="off" value={value} onInput={on} {...about} />
          <button type="button" class="icon" title="Random seed (−1)" aria-label={`${field.label}: random`} onClick={() => take(field, "-1")}>
            <Icon name="random" />
          </button>
          <button
            type="button"
            class="icon"
            title="Reuse the seed of the image shown"
            aria-label={`${field.label}: reuse the image's`}
            disabled={lastSeed === null}
            onClick={() => lastSeed !== null && take(field, lastSeed)}
          >
            <Icon name="reuse" />
          </button>
        </div>
      );
    case "pair":
      if (!field.optional && halves(value)[0] === halves(value)[1]) return <Even field={field} id={id} about={about} value={value} />;
      return <Pair field={field} id={id} about={about} value={value} />;
    case "number":
      return (
        <input
          id={id}
          type="text"
          inputMode={mode}
          autoComplete="off"
          placeholder={field.usual && "auto"}
          value={value}
          onInput={on}
          onKeyDown={(event) => nudge(event, field, value)}
          {...about}
        />
      );
    default:
      return <input id={id} type="text" autoComplete="off" value={value} onInput={on} {...about} />;
  }
}

/** Arrows change a number by a step that suits it. */
function nudge(event: TargetedKeyboardEvent<HTMLInputElement>, field: Field, value: string): void {
  const sign = event.key === "ArrowUp" ? 1 : event.key === "ArrowDown" ? -1 : 0;
  if (sign === 0 || event.ctrlKey || event.altKey || event.metaKey || !Number.isFinite(Number(value))) return;
  event.preventDefault();
  const step = field.step ?? (field.whole ? 1 : 0.5);
  const next = Number(value || field.min || 0) + sign * step * (event.shiftKey ? 8 : 1);
  const bounded = Math.min(Math.max(next, field.min ?? next), field.max ?? next);
  take(field, String(Number(bounded.toFixed(4))));
}

function Choice({ field, id, about, value }: { field: Field; id: string; about: About; value: string }) {
  const known = field.choices.includes(value);
  return (
    <select id={id} value={value} onInput={(event) => take(field, event.currentTarget.value)} {...about}>
      {(field.optional || value === "") && <option value="">{field.usual || "none"}</option>}
      {!known && value !== "" && <option value={value}>{value}</option>}
      {field.choices.map((one) => (
        <option value={one} selected={one === value}>{one}</option>
      ))}
    </select>
  );
}

/** WebUI's blurs go no further by its slider; more can be typed. */
const MOST_SLID = 64;

/** Two numbers that are the same. */
function Even({ field, id, about, value }: { field: Field; id: string; about: About; value: string }) {
  const [both] = halves(value);
  const on = (event: TargetedEvent<HTMLInputElement>) =>
    take(field, `${event.currentTarget.value}×${event.currentTarget.value}`);
  return (
    <div class="row">
      <input
        type="range"
        aria-label={`${field.label}, slider`}
        min={field.min ?? 0}
        max={Math.min(field.max ?? MOST_SLID, MOST_SLID)}
        step={1}
        value={both}
        onInput={on}
      />
      <input id={id} class="short" type="text" inputMode="decimal" autoComplete="off" value={both} onInput={on} {...about} />
    </div>
  );
}

function Pair({ field, id, about, value }: { field: Field; id: string; about: About; value: string }) {
  const [left, right] = halves(value);
  const give = (one: string, other: string) => take(field, one || other ? `${one}×${other}` : "");
  return (
    <div class="row">
      <input
        id={id}
        type="text"
        inputMode="numeric"
        autoComplete="off"
        aria-label={`${field.label}: width`}
        placeholder={field.usual}
        value={left}
        onInput={(event) => give(event.currentTarget.value, right)}
        {...about}
      />
      <span aria-hidden="true">×</span>
      <input
        type="text"
        inputMode="numeric"
        autoComplete="off"
        aria-label={`${field.label}: height`}
        placeholder={field.usual}
        value={right}
        onInput={(event) => give(left, event.currentTarget.value)}
      />
    </div>
  );
}
