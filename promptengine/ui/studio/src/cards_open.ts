// How a network's card is opened from anywhere: the cards fill this in, and who opens one need not know them.
import { signal } from "@preact/signals";

/** Opens the card of a network by its kind and name; null as long as there is nothing to open. */
export const cardOpener = signal<((kind: string, name: string) => void) | null>(null);
