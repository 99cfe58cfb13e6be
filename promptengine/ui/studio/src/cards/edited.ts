// Whose card is edited.
import { signal } from "@preact/signals";
import type { NetworkEntry } from "../api";

/** The file that the dialog is about; null where there is none. */
export const edited = signal<NetworkEntry | null>(null);
