// How many images the chosen script will make, as the server counts them.
import { effect, signal } from "@preact/signals";
import { ApiError, api } from "./api";
import { route } from "./route";
import { chosen, script, tab } from "./scripts";
import { form } from "./state";
import { values } from "./store";
import { fields } from "./submit";

const PAUSE_MS = 400;

/** In words; empty where there is nothing to count, or it is not known yet. */
export const count = signal("");

let pause: ReturnType<typeof setTimeout> | undefined;
let asked: AbortController | undefined;

/** Count again after each change; call once. */
export function followScript(): void {
  effect(() => {
    // Whatever is shown may change what is made.
    void [values.value, route.value, form.value];
    clearTimeout(pause);
    asked?.abort();
    if (chosen.value) pause = setTimeout(() => void ask(), PAUSE_MS);
    else count.value = "";
  });
}

async function ask(): Promise<void> {
  if (Object.keys({ ...fields.faults(), ...script.faults() }).length > 0) {
    count.value = "";
    return;
  }
  asked = new AbortController();
  const { signal } = asked;
  try {
    const body = { ...(await fields.body()), ...(await script.body()), tab: tab.value };
    const { images } = await api.countScript(body, signal);
    count.value = images === null ? "as many images as it takes" : `${images} ${images === 1 ? "image" : "images"}`;
  } catch (error) {
    if (signal.aborted) return;
    count.value = error instanceof ApiError && error.status !== 0 ? error.message : "";
  }
}
