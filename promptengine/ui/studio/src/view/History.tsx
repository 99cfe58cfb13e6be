// All images that the server keeps: searched, shown, sent elsewhere, compared, and put into the bin.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect } from "preact/hooks";
import type { SavedImage } from "../api";
import { fault, imageAt, refresh, reload, scanning, search, searchFor, total } from "../history";
import { jobs } from "../jobs";
import { hrefOf } from "../route";
import { Compare, compared } from "./Compare";
import { firstShown, Grid } from "./Grid";
import { Icon } from "./Icon";
import { opened, Viewer } from "./Viewer";
import "./history.css";

/** Characters that the server searches for. */
const MOST_SEARCHED = 500;
const PAUSE_MS = 250;
const AGAIN_MS = 5000;
const SOON_MS = 1000;

/** The image to which another one is to be compared; null where images are opened. */
export const comparing = signal<SavedImage | null>(null);

export function History() {
  const made = jobs.value.filter((job) => job.result).length;
  const pause = scanning.value ? SOON_MS : AGAIN_MS;
  useEffect(() => void refresh(), [made]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || void refresh(), pause);
    return () => clearInterval(timer);
  }, [pause]);
  return (
    <main class="history" aria-label="History">
      <Bar />
      {comparing.value && <Choosing image={comparing.value} />}
      {fault.value && (
        <p class="fault general" role="alert">
          {fault.value} <button type="button" class="quiet" onClick={() => void reload()}>Try again</button>
        </p>
      )}
      {total.value === 0 ? <Empty /> : <Grid onPick={pick} />}
      <Viewer onCompare={choose} />
      <Compare />
    </main>
  );
}

function pick(image: SavedImage): void {
  const first = comparing.value;
  if (!first) {
    opened.value = image;
  } else if (first.id !== image.id) {
    compared.value = [first, image];
    comparing.value = null;
  }
}

function choose(image: SavedImage): void {
  opened.value = null;
  comparing.value = image;
}

let pause: ReturnType<typeof setTimeout> | undefined;

function searchSoon(text: string): void {
  clearTimeout(pause);
  pause = setTimeout(() => void searchFor(text), PAUSE_MS);
}

function Bar() {
  return (
    <div class="bar">
      <input
        type="text"
        class="search"
        aria-label="Search by prompt"
        placeholder="Search by prompt"
        autoComplete="off"
        spellcheck={false}
        maxLength={MOST_SEARCHED}
        value={search.value}
        onInput={(event) => searchSoon(event.currentTarget.value)}
      />
      <p class="day">{dayOf(imageAt(firstShown.value))}</p>
      <p class="total" role="status">{totalWords()}</p>
    </div>
  );
}

function totalWords(): string {
  if (total.value === null) return "Loading…";
  const count = total.value.toLocaleString("en-US");
  const words = `${count} ${total.value === 1 ? "image" : "images"}${search.value ? " found" : ""}`;
  return scanning.value ? `${words}, more to come` : words;
}

/** The day of an image, in the words of who looks at it. */
function dayOf(image: SavedImage | undefined): string {
  if (!image) return "";
  const day = { weekday: "long", year: "numeric", month: "long", day: "numeric" } as const;
  return new Date(image.time * 1000).toLocaleDateString(undefined, day);
}

function Choosing({ image }: { image: SavedImage }) {
  useLayoutEffect(() => {
    // Before the page hears it, to which it means something else.
    document.addEventListener("keydown", stopChoosing, true);
    return () => {
      document.removeEventListener("keydown", stopChoosing, true);
      comparing.value = null;
    };
  }, []);
  return (
    <div class="choosing" role="status">
      <p>Choose the image to compare “{image.name}” with.</p>
      <button type="button" class="quiet" onClick={() => (comparing.value = null)}>Cancel</button>
    </div>
  );
}

function stopChoosing(event: KeyboardEvent): void {
  if (event.key !== "Escape") return;
  event.preventDefault();
  comparing.value = null;
}

function Empty() {
  return (
    <div class="nothing">
      <Icon name="history" />
      {search.value ? (
        <>
          <h2>No image has these words</h2>
          <p>Infotexts are searched: prompts, and all that stands below them.</p>
          <button type="button" class="quiet" onClick={() => void searchFor("")}>Clear the search</button>
        </>
      ) : (
        <>
          <h2>{scanning.value ? "Looking for images…" : "No images yet"}</h2>
          <p>Every image that is made is kept, and found here again.</p>
          <a class="quiet" href={hrefOf("txt2img")}>Make the first one</a>
        </>
      )}
    </div>
  );
}
