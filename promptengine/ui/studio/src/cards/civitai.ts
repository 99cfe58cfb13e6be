// Civitai as a second source of cards: what is looked for and was found. The server asks; the browser asks nobody else.
import { computed, signal } from "@preact/signals";
import { api, words, type CivitaiModel, type NetworkPage } from "../api";
import { keep, kept } from "../store";
import { follow } from "./downloads";
import { pages } from "./pages";

const SOURCE = "promptengine.studio.cards.source";
const WANTED = "promptengine.studio.civitai";

type Kind = NetworkPage["kind"];

/** Where cards come from. */
export const SOURCES = [
  { id: "here", label: "On this server" },
  { id: "civitai", label: "Civitai" },
] as const;

const source = signal<string>(kept<unknown>(SOURCE, null) === "civitai" ? "civitai" : "here");

/** The source that was chosen; where the server asks nobody there is but one. */
export const chosenSource = computed(() => (isOn.value ? source.value : "here"));

/** Whether the server asks Civitai. */
export const isOn = computed(() => pages.value.some((page) => page.civitai));

export function chooseSource(id: string): void {
  source.value = id;
  keep(SOURCE, id);
  if (id === "civitai") void follow();
}

/** What a person looks for among the cards of a kind. */
export interface Wanted {
  text: string;
  nsfw: boolean;
  /** Whether files of all kinds are looked for. */
  all: boolean;
}

const wanted = signal<Record<string, Partial<Wanted>>>(readWanted());

function readWanted(): Record<string, Partial<Wanted>> {
  const found = kept<unknown>(WANTED, {});
  return found !== null && typeof found === "object" ? (found as Record<string, Partial<Wanted>>) : {};
}

export function wantedOf(kind: Kind): Wanted {
  const { text, nsfw, all } = wanted.value[kind] ?? {};
  return { text: typeof text === "string" ? text : "", nsfw: nsfw === true, all: all === true };
}

export function want(kind: Kind, some: Partial<Wanted>): void {
  wanted.value = { ...wanted.value, [kind]: { ...wantedOf(kind), ...some } };
  keep(WANTED, wanted.value);
}

export interface Found {
  /** What was looked for. */
  wanted: Wanted;
  models: CivitaiModel[];
  /** What the server wants to hear for those that follow; null behind the last. */
  next: string | null;
  busy: boolean;
  fault: string;
}

const searches = signal<Record<string, Found>>({});

/** What was found last among the cards of a kind; null where nothing was looked for. */
export const foundOf = (kind: Kind): Found | null => searches.value[kind] ?? null;

const show = (kind: Kind, found: Found) => (searches.value = { ...searches.value, [kind]: found });

/** Which search of a kind came last. */
const turns = new Map<string, number>();

/** Look for what is wanted now. */
export async function search(kind: Kind): Promise<void> {
  await ask(kind, { wanted: wantedOf(kind), models: [], next: null, busy: true, fault: "" });
}

/** Look for more of what was found. */
export async function searchMore(kind: Kind): Promise<void> {
  const before = foundOf(kind);
  if (before && before.next !== null && !before.busy) await ask(kind, { ...before, busy: true, fault: "" });
}

async function ask(kind: Kind, begun: Found): Promise<void> {
  const turn = (turns.get(kind) ?? 0) + 1;
  turns.set(kind, turn);
  show(kind, begun);
  const { text, nsfw, all } = begun.wanted;
  let found: Found;
  try {
    const told = await api.searchCivitai({ text, nsfw, kind: all ? null : kind, cursor: begun.next ?? "" });
    const known = new Set(begun.models.map((model) => model.id));
    const fresh = told.models.filter((model) => !known.has(model.id));
    found = { ...begun, models: [...begun.models, ...fresh], next: told.next, busy: false };
  } catch (error) {
    found = { ...begun, busy: false, fault: words(error) };
  }
  if (turns.get(kind) === turn) show(kind, found);
}
