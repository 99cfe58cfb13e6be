// The script of a job: which one, its arguments, and how much it makes.
import { useEffect } from "preact/hooks";
import type { Argument } from "../api";
import { count } from "../scriptCount";
import { choose, chosen, chosenName, counts, loadScripts, offered, swap } from "../scripts";
import { faults } from "../state";
import { ArgumentView } from "./ArgumentView";
import "./script.css";

export function ScriptSection() {
  // Files that arguments choose from come and go.
  useEffect(() => void loadScripts(), []);
  const name = chosenName.value;
  const fault = faults.value["script.name"] ?? faults.value["script.arguments"] ?? faults.value["script"];
  return (
    <section class="group script" aria-label="Script" data-script={name}>
      <div class="group-head">
        <h2><label for="field-script.name">Script</label></h2>
        {chosen.value && <output class="count" aria-label="What it makes">{count.value}</output>}
      </div>
      <select
        id="field-script.name"
        value={name}
        aria-invalid={fault ? true : undefined}
        aria-describedby={fault ? "script-fault" : undefined}
        onChange={(event) => choose(event.currentTarget.value)}
      >
        <option value="" selected={name === ""}>None</option>
        {name && !chosen.value && <option value={name} selected>{name}</option>}
        {offered.value.map((one) => (
          <option key={one.name} value={one.name} selected={one.name === name}>{one.name}</option>
        ))}
      </select>
      {fault && <p class="fault" id="script-fault" role="alert">{fault}</p>}
      {chosen.value && <Arguments list={chosen.value.arguments} />}
    </section>
  );
}

function Arguments({ list }: { list: Argument[] }) {
  const varied = list.filter((one) => one.control === "axis");
  const plain = list.filter((one) => one.control !== "axis" && one.axis === null);
  return (
    <div class="fields">
      {varied.map((axis) => (
        <div class="varied" key={axis.name} role="group" aria-label={axis.label}>
          {list
            .filter((one) => (one === axis || one.axis === axis.name) && counts(one))
            .map((one) => <ArgumentView key={one.name} argument={one} />)}
        </div>
      ))}
      {varied.length > 1 && <Swaps list={varied} />}
      {plain.map((one) => <ArgumentView key={one.name} argument={one} />)}
    </div>
  );
}

/** WebUI's word for an axis is its letter, with which its label begins. */
const letter = (axis: Argument) => axis.label.split(" ")[0] ?? axis.label;

function Swaps({ list }: { list: Argument[] }) {
  const pairs = list.flatMap((one, place) => list.slice(place + 1).map((other) => [one, other] as const));
  return (
    <div class="swaps" role="group" aria-label="Swap axes">
      {pairs.map(([one, other]) => (
        <button type="button" class="quiet" key={`${one.name} ${other.name}`} onClick={() => swap(one, other)}>
          Swap {letter(one)}/{letter(other)}
        </button>
      ))}
    </div>
  );
}
