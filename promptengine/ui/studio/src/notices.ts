// What the page has to say about something that was just done, until it is read, undone, or outdated.
import { signal } from "@preact/signals";
import type { Diagnostic } from "./api";

export interface Notice {
  text: string;
  notes?: readonly Diagnostic[];
  /** Whether something went wrong. */
  bad?: boolean;
  /** Take back what was done. */
  undo?: () => Promise<void>;
}

export const notice = signal<Notice | null>(null);

/** Whether a dialog covers the page, and shows itself what there is to say. */
export const covered = signal(false);
