// Cards as they are listed: ordered, searched, and by folders.
import { computed, effect, signal } from "@preact/signals";
import type { NetworkEntry } from "../api";
import { networks } from "../state";
import { keep, kept } from "../store";

const ORDER = "promptengine.studio.cards";

type Compare = (one: NetworkEntry, other: NetworkEntry) => number;

const words = new Intl.Collator(undefined, { numeric: true });
const byName: Compare = (one, other) => words.compare(one.name, other.name);

/** WebUI's orders and its words for them. */
export const ORDERS: readonly { id: string; label: string; compare: Compare }[] = [
  { id: "name", label: "Name", compare: byName },
  { id: "path", label: "Path", compare: (one, other) => words.compare(one.folder, other.folder) || byName(one, other) },
  { id: "created", label: "Date Created", compare: (one, other) => one.created - other.created || byName(one, other) },
  { id: "modified", label: "Date Modified", compare: (one, other) => one.modified - other.modified || byName(one, other) },
  { id: "size", label: "Size", compare: (one, other) => one.bytes - other.bytes || byName(one, other) },
];

interface Order {
  by: string;
  descending: boolean;
}

function readOrder(): Order {
  const found = kept<Partial<Order> | null>(ORDER, null);
  const known = ORDERS.some((one) => one.id === found?.by);
  return { by: known && found?.by ? found.by : "name", descending: found?.descending === true };
}

export const order = signal<Order>(readOrder());

export function setOrder(some: Partial<Order>): void {
  order.value = { ...order.value, ...some };
  keep(ORDER, order.value);
}

/** What is looked for, and in which folder, by the kind of the cards. */
export const asked = signal<Record<string, { search: string; folder: string | null }>>({});

const NOTHING = { search: "", folder: null };

export function askedOf(kind: string) {
  return asked.value[kind] ?? NOTHING;
}

export function ask(kind: string, some: Partial<{ search: string; folder: string | null }>): void {
  asked.value = { ...asked.value, [kind]: { ...askedOf(kind), ...some } };
}

export interface Listed {
  entry: NetworkEntry;
  /** All that a search looks at, in lower case. */
  text: string;
}

/** The cards of every kind in their order; made when files or the order change, not with every key of a search. */
const ordered = computed<Map<string, Listed[]>>(() => {
  const { by, descending } = order.value;
  const compare = ORDERS.find((one) => one.id === by)?.compare ?? byName;
  const found = [...networks.value].sort(descending ? (one, other) => compare(other, one) : compare);
  const kinds = new Map<string, Listed[]>();
  for (const entry of found) {
    const text = [entry.name, ...entry.aliases, entry.folder, entry.description].join("\n").toLowerCase();
    const list = kinds.get(entry.kind);
    if (list) list.push({ entry, text });
    else kinds.set(entry.kind, [{ entry, text }]);
  }
  return kinds;
});

/** Put the cards in order while nothing else is to do, so that they open at once. */
export function prepare(): void {
  effect(() => {
    if (networks.value.length > 0) setTimeout(() => ordered.peek());
  });
}

export function allOf(kind: string): Listed[] {
  return ordered.value.get(kind) ?? [];
}

/** The cards that have all words of the search, in the chosen folder and those below it. */
export function found(kind: string): NetworkEntry[] {
  const { search, folder } = askedOf(kind);
  const parts = search.toLowerCase().split(/\s+/).filter(Boolean);
  return allOf(kind)
    .filter(({ entry, text }) => within(entry.folder, folder) && parts.every((part) => text.includes(part)))
    .map((one) => one.entry);
}

function within(folder: string, chosen: string | null): boolean {
  return chosen === null || folder === chosen || folder.startsWith(`${chosen}/`);
}

/** Every folder that cards of a kind lie in, and those above. */
export function foldersOf(kind: string): string[] {
  const all = new Set<string>();
  for (const { entry } of allOf(kind)) {
    const parts = entry.folder.split("/");
    if (entry.folder) parts.forEach((_, depth) => all.add(parts.slice(0, depth + 1).join("/")));
  }
  return [...all].sort(words.compare);
}
