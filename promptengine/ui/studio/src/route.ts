// Which view is shown: the address behind the "#", so that reload, back and bookmarks know it.
import { signal } from "@preact/signals";

const PREFIX = "#/";

const read = () => (location.hash.startsWith(PREFIX) ? location.hash.slice(PREFIX.length) : "");

/** The id of the view that the address names; empty or unknown ones mean the first. */
export const route = signal(read());

/** The address of a view. */
export const hrefOf = (id: string) => PREFIX + id;

/** Show a view. */
export function go(id: string): void {
  location.hash = hrefOf(id);
  route.value = id;
}

/** Follow the address; call once. */
export function followRoute(): void {
  window.addEventListener("hashchange", () => (route.value = read()));
}
