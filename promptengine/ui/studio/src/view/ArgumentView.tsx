// One argument of a script as its control: what it shows is what is sent.
import type { TargetedEvent } from "preact";
import type { Argument } from "../api";
import { textOf } from "../listed";
import { axes, axisOf, give, pathOf, severalOf, shownBy, typedValues } from "../scripts";
import { faults } from "../state";

interface About {
  id: string;
  "aria-describedby"?: string;
  "aria-invalid"?: true;
}

type Written = TargetedEvent<HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>;

export function ArgumentView({ argument }: { argument: Argument }) {
  const path = pathOf(argument);
  const id = `field-${path}`;
  const fault = faults.value[path];
  const described = [argument.help && `${id}-help`, fault && `${id}-fault`].filter(Boolean).join(" ");
  const about: About = {
    id,
    ...(described ? { "aria-describedby": described } : {}),
    ...(fault ? { "aria-invalid": true } : {}),
  };
  return (
    <div class={`field wide ${argument.control}`} data-field={path}>
      {argument.control === "checkbox" ? (
        <label class="check">
          <input type="checkbox" checked={shownBy(argument) === true} onInput={(event) => give(argument, event.currentTarget.checked)} {...about} />
          {argument.label}
        </label>
      ) : argument.control === "checkboxes" ? (
        <Several argument={argument} about={about} />
      ) : (
        <>
          <label for={id} title={argument.help}>{argument.label}</label>
          <Input argument={argument} about={about} />
        </>
      )}
      {argument.help && <p class="sr" id={`${id}-help`}>{argument.help}</p>}
      {fault && <p class="fault" id={`${id}-fault`} role="alert">{fault}</p>}
    </div>
  );
}

function Input({ argument, about }: { argument: Argument; about: About }) {
  const value = String(shownBy(argument));
  const on = (event: Written) => give(argument, event.currentTarget.value);
  switch (argument.control) {
    case "axis":
      return <Choice value={value} choices={axes.value.map((one) => one.title)} about={about} on={on} />;
    case "choice":
      return <Choice value={value} choices={argument.choices} about={about} on={on} />;
    case "values":
      return <AxisValues argument={argument} value={value} about={about} on={on} />;
    case "lines":
      return <textarea rows={6} spellcheck={false} placeholder={argument.help} value={value} onInput={on} {...about} />;
    case "number":
      return <Amount argument={argument} value={value} about={about} on={on} />;
    default:
      return <input type="text" autoComplete="off" value={value} onInput={on} {...about} />;
  }
}

function Amount({ argument, value, about, on }: { argument: Argument; value: string; about: About; on: (event: Written) => void }) {
  const { minimum, maximum } = argument;
  const whole = argument.type === "integer";
  const bounded = minimum !== null && maximum !== null;
  return (
    <div class="row">
      {bounded && (
        <input type="range" aria-label={`${argument.label}, slider`} min={minimum} max={maximum} step={whole ? 1 : 0.05} value={value} onInput={on} />
      )}
      <input class={bounded ? "short" : ""} type="text" inputMode={whole ? "numeric" : "decimal"} autoComplete="off" value={value} onInput={on} {...about} />
    </div>
  );
}

function Choice({ value, choices, about, on }: { value: string; choices: string[]; about: About; on: (event: Written) => void }) {
  return (
    <select value={value} onChange={on} {...about}>
      {!choices.includes(value) && <option value={value} selected>{value}</option>}
      {choices.map((one) => (
        <option key={one} value={one} selected={one === value}>{one}</option>
      ))}
    </select>
  );
}

function Several({ argument, about }: { argument: Argument; about: About }) {
  const taken = severalOf(argument);
  const set = (choice: string, on: boolean) =>
    give(argument, JSON.stringify(argument.choices.filter((one) => (one === choice ? on : taken.includes(one)))));
  return (
    <fieldset class="several" aria-describedby={about["aria-describedby"]}>
      <legend>{argument.label}</legend>
      {argument.choices.map((one, place) => (
        <label class="check" key={one}>
          <input
            id={place === 0 ? about.id : undefined}
            type="checkbox"
            checked={taken.includes(one)}
            onInput={(event) => set(one, event.currentTarget.checked)}
          />
          {one}
        </label>
      ))}
    </fieldset>
  );
}

/** The values of an axis as text, with what is known to pick from. */
function AxisValues({ argument, value, about, on }: { argument: Argument; value: string; about: About; on: (event: Written) => void }) {
  const known = axisOf(argument)?.choices ?? [];
  const typed = typedValues(argument);
  const put = (values: string[]) => give(argument, textOf(values));
  const toggle = (one: string) => put(typed.includes(one) ? typed.filter((other) => other !== one) : [...typed, one]);
  return (
    <>
      <textarea rows={2} spellcheck={false} placeholder={known.length ? "pick below, or write" : argument.help} value={value} onInput={on} {...about} />
      {known.length > 0 && (
        <>
          <div class="row picks">
            <button type="button" class="quiet" aria-label={`${argument.label}: fill in all`} onClick={() => put(known)}>Fill</button>
            <button type="button" class="quiet" aria-label={`${argument.label}: clear`} disabled={value === ""} onClick={() => put([])}>Clear</button>
            <span class="count">{typed.length} of {known.length}</span>
          </div>
          <div class="chips" role="group" aria-label={`${argument.label}: known values`}>
            {known.map((one) => (
              <button type="button" class="chip" key={one} aria-pressed={typed.includes(one)} onClick={() => toggle(one)}>{one}</button>
            ))}
          </div>
        </>
      )}
    </>
  );
}
