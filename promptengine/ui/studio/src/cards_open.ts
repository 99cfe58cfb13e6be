// How a network's card is opened from anywhere.
import type { NetworkEntry } from "./api";
import { edited } from "./cards/edited";
import { pages } from "./cards/pages";
import { stageTab } from "./onStage";
import { networks } from "./state";

/** The file that a tag names, where it has a card. */
export function cardOf(word: string, name: string): NetworkEntry | null {
  const named = networks.value.filter((one) => one.tag !== null && [one.name, ...one.aliases].includes(name));
  const found = named.find((one) => one.tag === word) ?? named[0];
  return found && pages.value.some((page) => page.kind === found.kind) ? found : null;
}

/** Show a file's card, among those of its kind. */
export function openCard(entry: NetworkEntry): void {
  stageTab.value = entry.kind;
  edited.value = entry;
}
