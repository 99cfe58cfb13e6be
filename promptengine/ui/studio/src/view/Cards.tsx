// The cards of one kind of files: searched, ordered, by folders, and only those drawn that are seen.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, words, type NetworkEntry, type NetworkPage } from "../api";
import { SOURCES, chooseSource, chosenSource } from "../cards/civitai";
import { allOf, ask, askedOf, foldersOf, found, order, ORDERS, setOrder } from "../cards/list";
import { loadNetworks } from "../state";
import { Card } from "./Card";
import { CardEditor } from "./CardEditor";
import { Civitai } from "./Civitai";
import { Icon } from "./Icon";
import { Segments } from "./Segments";
import "./Cards.css";

/** The least width of a card, the space between two, and the height of its words. */
const LEAST = 148;
const GAP = 8;
const WORDS = 66;
/** Rows that are drawn above and below those that are seen. */
const MORE = 1;

export function Cards({ page }: { page: NetworkPage }) {
  useEffect(() => void loadNetworks(), [page]);
  return (
    <div class="cards" data-kind={page.kind}>
      {page.civitai && (
        <Segments label="Source of the cards" id="cards-source" choices={SOURCES} value={chosenSource.value} give={chooseSource} />
      )}
      {page.civitai && chosenSource.value === "civitai" ? <Civitai key={page.kind} page={page} /> : <Here page={page} />}
      <CardEditor page={page} />
    </div>
  );
}

/** The files of the server's folders. */
function Here({ page }: { page: NetworkPage }) {
  const all = allOf(page.kind).length;
  return (
    <>
      <Bar page={page} all={all} />
      {all > 0 ? <Grid page={page} list={found(page.kind)} /> : <Empty page={page} />}
    </>
  );
}

function Bar({ page, all }: { page: NetworkPage; all: number }) {
  return (
    <div class="cards-bar">
      {all > 0 && <Search page={page} all={all} />}
      <Refresh />
      <Folders page={page} />
    </div>
  );
}

function Search({ page, all }: { page: NetworkPage; all: number }) {
  const { by, descending } = order.value;
  const direction = descending ? "Descending" : "Ascending";
  return (
    <>
      <input
        type="text"
        inputMode="search"
        autoComplete="off"
        placeholder={`Search ${all} ${all === 1 ? page.noun : page.plural}`}
        aria-label={`Search ${page.plural}`}
        value={askedOf(page.kind).search}
        onInput={(event) => ask(page.kind, { search: event.currentTarget.value })}
      />
      <select aria-label="Sort by" value={by} onInput={(event) => setOrder({ by: event.currentTarget.value })}>
        {ORDERS.map((one) => (
          <option key={one.id} value={one.id} selected={one.id === by}>{one.label}</option>
        ))}
      </select>
      <button type="button" class="icon" title={direction} aria-label={`${direction}; turn the order around`} onClick={() => setOrder({ descending: !descending })}>
        <Icon name={descending ? "down" : "up"} />
      </button>
    </>
  );
}

function Refresh() {
  const fault = useSignal("");
  const refresh = async () => {
    try {
      await api.refreshNetworks();
      await loadNetworks(true);
      fault.value = "";
    } catch (error) {
      fault.value = words(error);
    }
  };
  return (
    <>
      <button type="button" class="icon" title="Refresh" aria-label="Refresh: look at the folders again" onClick={() => void refresh()}>
        <Icon name="reuse" />
      </button>
      {fault.value && <p class="fault" role="alert">{fault.value}</p>}
    </>
  );
}

function Folders({ page }: { page: NetworkPage }) {
  const folders = foldersOf(page.kind);
  const { folder } = askedOf(page.kind);
  if (folders.length === 0) return null;
  const chip = (label: string, value: string | null) => (
    <button type="button" key={label} class="folder" aria-pressed={folder === value} onClick={() => ask(page.kind, { folder: value })}>
      {label}
    </button>
  );
  return (
    <div class="folders" role="group" aria-label="Folders">
      {chip("All", null)}
      {folders.map((one) => chip(`${one}/`, one))}
    </div>
  );
}

function Empty({ page }: { page: NetworkPage }) {
  return (
    <div class="cards-empty">
      <h2>No {page.plural} yet</h2>
      <p>Put {page.plural} into <code>{page.folders[0]}</code>; they appear here.</p>
    </div>
  );
}

function Grid({ page, list }: { page: NetworkPage; list: NetworkEntry[] }) {
  const scroller = useRef<HTMLDivElement>(null);
  const seen = useSignal({ top: 0, width: 0, height: 0 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const look = () => {
      seen.value = { top: element.scrollTop, width: element.clientWidth, height: element.clientHeight };
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  const { search, folder } = askedOf(page.kind);
  // Another list is seen from its beginning.
  useEffect(() => scroller.current?.scrollTo(0, 0), [page, search, folder, order.value]);
  const { top, width, height } = seen.value;
  const columns = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
  const row = Math.floor((width - GAP * (columns - 1)) / columns) + WORDS + GAP;
  const rows = Math.ceil(list.length / columns);
  const first = Math.min(Math.max(0, Math.floor(top / row) - MORE), Math.max(0, rows - 1));
  const last = Math.ceil((top + height) / row) + MORE;
  const drawn = width > 0 ? list.slice(first * columns, last * columns) : [];
  return (
    <div class="cards-scroll" ref={scroller}>
      {list.length === 0 && <p class="waiting">Nothing has all of these words. Search for less, or in all folders.</p>}
      <ul
        aria-label={page.label}
        style={{
          height: `${Math.max(0, rows * row - GAP)}px`,
          paddingTop: `${first * row}px`,
          gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
          gridAutoRows: `${row - GAP}px`,
        }}
      >
        {drawn.map((entry, index) => (
          <Card key={entry.name} page={page} entry={entry} place={first * columns + index + 1} of={list.length} />
        ))}
      </ul>
    </div>
  );
}
