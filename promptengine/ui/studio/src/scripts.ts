// The script of a job: which one is chosen in each view, and what its arguments say.
import { computed, signal } from "@preact/signals";
import { ApiError, api, words, type Argument, type Axis, type Script, type ScriptList, type Sent } from "./api";
import { valuesOf } from "./listed";
import { route } from "./route";
import { faultOf, fieldFrom, sentOf, type Field, type Shown, type Values } from "./schema";
import { faults, setFault } from "./state";
import { resetValues, setValue, setValues, values } from "./store";
import type { Part } from "./submit";

type Tab = "txt2img" | "img2img";

const AGAIN_MS = 3000;
const NAME = "script.name";
/** What the server may have against a script as a whole. */
const WHOLE = ["script", NAME, "script.arguments"];

export const list = signal<ScriptList | null>(null);

/** Each view has a script of its own, as in WebUI. */
export const tab = computed<Tab>(() => (route.value === "img2img" ? "img2img" : "txt2img"));

export async function loadScripts(): Promise<void> {
  try {
    list.value = await api.scripts();
  } catch (error) {
    setFault(NAME, words(error));
    if (error instanceof ApiError && error.status === 0) setTimeout(() => void loadScripts(), AGAIN_MS);
  }
}

export const offered = computed<Script[]>(() => list.value?.scripts.filter((one) => one.tabs.includes(tab.value)) ?? []);
export const axes = computed<Axis[]>(() => list.value?.axes[tab.value] ?? []);

const keyOf = (...parts: string[]) => ["script", tab.value, ...parts].join("/");

/** The name of the chosen script; empty for none. */
export const chosenName = computed(() => String(values.value[keyOf()] ?? ""));
export const chosen = computed(() => offered.value.find((one) => one.name === chosenName.value) ?? null);

export function choose(name: string): void {
  setValue(keyOf(), name);
  clearFaults();
}

export const pathOf = (argument: Argument) => `script.arguments.${argument.name}`;

/** Take what was given, and say at once where it cannot be sent so. */
export function give(argument: Argument, shown: Shown): void {
  setValue(placeOf(argument), shown);
  clearFaults();
  setFault(pathOf(argument), argumentFault(argument));
}

/** What an argument shows; an axis is known by its title, since its number differs from view to view. */
export function shownBy(argument: Argument): Shown {
  return values.value[placeOf(argument)] ?? initialOf(argument);
}

/** Values belong to what varies: another axis has others, and finds its own again. */
function placeOf(argument: Argument): string {
  const axis = axisArgumentOf(argument);
  const varied = axis ? [String(shownBy(axis))] : [];
  return keyOf(chosenName.value, argument.name, ...varied);
}

function initialOf(argument: Argument): Shown {
  if (argument.control === "axis") return axes.value.find((one) => one.number === argument.default)?.title ?? "";
  if (typeof argument.default === "boolean") return argument.default;
  return Array.isArray(argument.default) ? JSON.stringify(argument.default) : String(argument.default);
}

/** The argument that says what the values of another one are of. */
export function axisArgumentOf(argument: Argument): Argument | null {
  return chosen.value?.arguments.find((one) => one.name === argument.axis) ?? null;
}

/** The axis that is chosen by an argument, or whose values it holds; null for one that this view does not have. */
export function axisOf(argument: Argument): Axis | null {
  const title = shownBy(axisArgumentOf(argument) ?? argument);
  return axes.value.find((one) => one.title === title) ?? null;
}

/** Whether an argument is shown and sent: values of nothing are not. */
export function counts(argument: Argument): boolean {
  const axis = axisArgumentOf(argument);
  return axis === null || axisOf(argument)?.number !== axis.default;
}

/** What is chosen of several. */
export function severalOf(argument: Argument): string[] {
  try {
    const found: unknown = JSON.parse(String(shownBy(argument)));
    return Array.isArray(found) ? found.map(String) : [];
  } catch {
    return [];
  }
}

/** Give two axes each other's place, with their values. */
export function swap(one: Argument, other: Argument): void {
  const moved = ([from, to]: readonly [Argument, Argument]): Values => {
    const title = String(shownBy(from));
    const [held, free] = [valuesArgumentOf(from), valuesArgumentOf(to)];
    const text = held ? shownBy(held) : "";
    const name = chosenName.value;
    return { [keyOf(name, to.name)]: title, ...(free ? { [keyOf(name, free.name, title)]: text } : {}) };
  };
  setValues({ ...moved([one, other]), ...moved([other, one]) });
  clearFaults();
}

const valuesArgumentOf = (axis: Argument) => chosen.value?.arguments.find((one) => one.axis === axis.name) ?? null;

export function resetScript(): void {
  const place = keyOf();
  resetValues(Object.keys(values.value).filter((one) => one === place || one.startsWith(`${place}/`)));
  clearFaults();
}

/** An argument as a field, for what is the same of both. */
export function fieldOf(argument: Argument): Field {
  const { label, help, type, minimum, maximum, control } = argument;
  // An axis is a number to the server and a title here; several choices are one text.
  const shownType = control === "axis" || type === "array" ? "string" : type;
  const range = { ...(minimum === null ? {} : { minimum }), ...(maximum === null ? {} : { maximum }) };
  const described = { title: label, description: help, type: shownType, ...range, default: initialOf(argument) };
  return fieldFrom(pathOf(argument), described);
}

/** The arguments of the chosen script that count, as fields. */
export const fields = computed<Field[]>(() => shownArguments().map(fieldOf));

const shownArguments = () => chosen.value?.arguments.filter(counts) ?? [];

function argumentFault(argument: Argument): string {
  const shown = shownBy(argument);
  if (argument.control !== "axis") return faultOf(fieldOf(argument), shown);
  return axisOf(argument) ? "" : `${argument.label} “${String(shown)}” is not of ${tab.value}; choose another one.`;
}

function sentBy(argument: Argument): Sent {
  if (argument.control === "axis") return axisOf(argument)?.number ?? 0;
  if (argument.control === "checkboxes") return severalOf(argument);
  return sentOf(fieldOf(argument), shownBy(argument));
}

function clearFaults(): void {
  const others = Object.entries(faults.value).filter(([path]) => path.split(".")[0] !== "script");
  faults.value = Object.fromEntries(others);
}

/** How many values an axis has as typed; ranges count as one. */
export const typedValues = (argument: Argument) => valuesOf(String(shownBy(argument)));

/** What a job says of its script: nothing where none is chosen. */
export const script: Part = {
  faults() {
    if (!chosenName.value) return {};
    if (!chosen.value) {
      const words = list.value ? `There is no script “${chosenName.value}” here; choose another one.` : "The scripts are not listed yet; try again.";
      return { [NAME]: words };
    }
    const found = shownArguments().map((one) => [pathOf(one), argumentFault(one)] as const);
    return Object.fromEntries(found.filter(([, fault]) => fault));
  },
  body() {
    if (!chosen.value) return {};
    const said = shownArguments().map((one) => [one.name, sentBy(one)] as const);
    return { script: { name: chosen.value.name, arguments: Object.fromEntries(said) } };
  },
  paths: () => (chosen.value ? [...WHOLE, ...fields.value.map((one) => one.path)] : []),
};
