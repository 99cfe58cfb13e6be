// The declared fields of a request, as the server tells them, and how what is shown becomes what is sent.
import { Exact, type Sent } from "./api";

/** What a person sees in a control: text as typed, or whether a box is checked. */
export type Shown = string | boolean;
export type Values = Record<string, Shown>;

export type Control = "prompt" | "seed" | "number" | "slider" | "choice" | "checkbox" | "pair" | "text";

export interface Field {
  /** Its name with those of the groups around it, such as `hires.scale`. */
  path: string;
  label: string;
  help: string;
  control: Control;
  whole: boolean;
  optional: boolean;
  /** What it means where nothing is chosen. */
  usual: string;
  choices: string[];
  /** What its values are called: the choices in their order, or no and yes; empty for the values themselves. */
  labels: string[];
  min: number | null;
  max: number | null;
  step: number | null;
  initial: Shown;
  /** The heading that it belongs under; none leaves that to the page. */
  group?: string;
}

export interface Group {
  /** Empty for the request's own fields; else the field that is null where the group is off. */
  path: string;
  label: string;
  help: string;
  fields: Field[];
  /** The paths of its images, without which it cannot be sent. */
  images: string[];
  /** How many of it there may be, where that is more than one. */
  most: number | null;
}

export interface Form {
  own: Field[];
  /** Those that are switched on and off. */
  groups: Group[];
  /** Those that need an image; one inside of another follows it. */
  imageGroups: Group[];
  /** Those of which there may be several. */
  lists: Group[];
  /** The dialects whose prompts divide the image. */
  dividing: string[];
}

interface Property {
  title?: string;
  description?: string;
  type?: string;
  enum?: string[];
  anyOf?: Property[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  multipleOf?: number;
  items?: Property;
  minItems?: number;
  maxItems?: number;
  "x-group"?: string;
  "x-dividing"?: string[];
  properties?: Record<string, Property>;
  required?: string[];
  "x-control"?: string;
  "x-usual"?: string;
  "x-choices"?: string[];
  "x-labels"?: string[];
  "x-infotext"?: string;
}

/** Read the schema of a request. */
export function readForm(schema: unknown): Form {
  const told = schema as Property;
  const [request, ...all] = readGroup("", told, {});
  const groups = all.filter((one) => one.most === null);
  return {
    own: request?.fields ?? [],
    groups: groups.filter((one) => one.images.length === 0),
    imageGroups: groups.filter((one) => one.images.length > 0),
    lists: all.filter((one) => one.most !== null),
    dividing: told.properties?.["dialect"]?.["x-dividing"] ?? [],
  };
}

/** A group and those inside of it. */
export function readGroup(path: string, inner: Property, about: Property): Group[] {
  const most = about.items ? (about.maxItems ?? Infinity) : null;
  const group: Group = { path, label: about.title ?? path, help: about.description ?? "", fields: [], images: [], most };
  const others: Group[] = [];
  const required = new Set(inner.required ?? []);
  for (const [name, property] of Object.entries(inner.properties ?? {})) {
    const at = path ? `${path}.${name}` : name;
    const deeper = [...(property.anyOf ?? []), property.items, property].find((one) => one?.properties);
    if (deeper) others.push(...readGroup(at, deeper, property));
    else if (property["x-control"] !== "image") group.fields.push(readField(at, property));
    else if (required.has(name)) group.images.push(at);
  }
  return [group, ...others];
}

/** One field as JSON Schema describes it. */
export function fieldFrom(path: string, property: Property): Field {
  return readField(path, property);
}

function readField(path: string, property: Property): Field {
  const kind = property.anyOf?.find((one) => one.type !== "null") ?? property;
  const number = kind.items ?? kind;
  const choices = kind.enum ?? property["x-choices"] ?? [];
  const control = controlOf(property, kind);
  const labels = property["x-labels"] ?? [];
  const named = kind.type === "boolean" && labels.length > 0;
  const field: Field = {
    path,
    label: (named && property["x-infotext"]) || (property.title ?? path),
    help: property.description ?? "",
    control,
    whole: number.type === "integer",
    optional: property.anyOf?.some((one) => one.type === "null") ?? false,
    usual: property["x-usual"] ?? "",
    choices,
    labels,
    min: number.minimum ?? null,
    max: number.maximum ?? null,
    step: number.multipleOf ?? null,
    initial: "",
    group: property["x-group"] ?? "",
  };
  field.initial = shownOf(field, property.default);
  return field;
}

function controlOf(property: Property, kind: Property): Control {
  const asked = property["x-control"];
  if (kind.type === "array") return kind.minItems === 2 && kind.maxItems === 2 ? "pair" : "text";
  if (kind.type === "boolean") return "checkbox";
  if (asked === "prompt" || asked === "seed" || asked === "choice") return asked;
  // A slider has no place for nothing.
  if (asked === "slider" && kind === property) return asked;
  return kind.type === "integer" || kind.type === "number" ? "number" : "text";
}

/** A value of the API as its control shows it. */
export function shownOf(field: Field, value: unknown): Shown {
  if (field.control === "checkbox") return value === true;
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join("×");
  const text = String(value);
  if (field.control !== "choice") return text;
  // A default may be written otherwise than the list has it.
  return field.choices.find((one) => one.toLowerCase() === text.toLowerCase()) ?? text;
}

/** The two halves of a pair as typed. */
export function halves(shown: Shown): [string, string] {
  const [left = "", right = ""] = String(shown).split("×");
  return [left, right];
}

/** Why a field cannot be sent as it is shown, or an empty string; what it cannot tell the server does. */
export function faultOf(field: Field, shown: Shown): string {
  if (field.control === "pair") {
    const both = halves(shown);
    if (both.every((one) => one.trim() === "")) return field.optional ? "" : needs(field);
    return both.map((one) => numberFault(field, one)).find(Boolean) ?? "";
  }
  if (field.control !== "number" && field.control !== "slider" && field.control !== "seed") return "";
  if (String(shown).trim() === "" && field.optional) return "";
  return numberFault(field, String(shown));
}

function numberFault(field: Field, typed: string): string {
  const text = typed.trim();
  const fits = field.whole ? /^[+-]?\d+$/.test(text) : text !== "" && Number.isFinite(Number(text));
  if (!fits) return needs(field);
  const value = Number(text);
  const low = field.min !== null && value < field.min;
  const high = field.max !== null && value > field.max;
  if (low || high) return needs(field);
  return field.step !== null && value % field.step !== 0 ? needs(field) : "";
}

function needs(field: Field): string {
  const kind = field.whole ? "a whole number" : "a number";
  const range = field.min !== null && field.max !== null ? ` from ${field.min} to ${limit(field.max)}` : "";
  const step = field.step !== null ? ` that ${field.step} divides` : "";
  return `${field.label} must be ${kind}${range}${step}.`;
}

const limit = (value: number) => (value > Number.MAX_SAFE_INTEGER ? "2⁶⁴ − 1" : String(value));

/** What is sent for a field, once it has no fault. */
export function sentOf(field: Field, shown: Shown): Sent {
  if (typeof shown === "boolean") return shown;
  const number = (text: string) => (field.whole ? new Exact(BigInt(text.trim()).toString()) : Number(text));
  switch (field.control) {
    case "pair": {
      const both = halves(shown);
      return both.every((one) => one.trim() === "") ? null : both.map(number);
    }
    case "number":
    case "slider":
    case "seed":
      return shown.trim() === "" ? null : number(shown);
    default:
      return shown === "" && field.optional && field.control !== "prompt" ? null : shown;
  }
}

/** What some fields say, by their names within their group. */
export function saidBy(fields: Field[], values: Values): { [name: string]: Sent } {
  const said = (field: Field) => sentOf(field, values[field.path] ?? field.initial);
  return Object.fromEntries(fields.map((field) => [field.path.slice(field.path.lastIndexOf(".") + 1), said(field)]));
}

/** The body of a job: all that is shown, and nothing else. */
export function bodyOf(own: Field[], groups: Group[], extra: Field[], values: Values): { [name: string]: Sent } {
  const body = saidBy([...own, ...extra], values);
  for (const group of groups)
    body[group.path] = values[group.path] === true ? saidBy(group.fields, values) : null;
  return body;
}

const MORE = "More";
const PLACES: [string, string[]][] = [
  ["Sampling", ["sampler", "scheduler", "steps", "cfg_scale"]],
  ["Size", ["width", "height", "batch_count", "batch_size"]],
  ["Refiner", ["refiner", "refiner_switch_at"]],
  ["Seed", ["seed", "variation_seed", "variation_strength", "seed_resize_from"]],
];

/** The request's own fields in groups as people look for them; what has no place and no heading comes under "More". */
export function sections(own: Field[]): { label: string; fields: Field[] }[] {
  const rest = new Map(own.filter((one) => one.control !== "prompt").map((one) => [one.path, one]));
  const found = PLACES.map(([label, names]) => ({
    label,
    fields: names.flatMap((name) => {
      const field = rest.get(name);
      rest.delete(name);
      return field ? [field] : [];
    }),
  }));
  const others = new Map<string, Field[]>();
  for (const field of rest.values()) {
    const label = field.group || MORE;
    others.set(label, [...(others.get(label) ?? []), field]);
  }
  const last = others.get(MORE) ?? [];
  others.delete(MORE);
  const headed = [...others].map(([label, fields]) => ({ label, fields }));
  return [...found, ...headed, { label: MORE, fields: last }].filter((one) => one.fields.length > 0);
}
