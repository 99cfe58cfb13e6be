// Cards of what Civitai has: looked for by the server, and only when somebody asks for it.
import { useEffect } from "preact/hooks";
import type { NetworkPage } from "../api";
import { foundOf, search, searchMore, want, wantedOf, type Found } from "../cards/civitai";
import { follow } from "../cards/downloads";
import { CivitaiCard } from "./CivitaiCard";
import "./civitai.css";

export function Civitai({ page }: { page: NetworkPage }) {
  useEffect(() => void follow(), []);
  const found = foundOf(page.kind);
  return (
    <>
      <Bar page={page} busy={found?.busy ?? false} />
      {found ? <Results page={page} found={found} /> : <Hint page={page} />}
    </>
  );
}

function Bar({ page, busy }: { page: NetworkPage; busy: boolean }) {
  const { text, nsfw, all } = wantedOf(page.kind);
  const begin = () => void search(page.kind);
  return (
    <div class="cards-bar" role="search" aria-label="Civitai">
      <input
        type="text"
        inputMode="search"
        autoComplete="off"
        maxLength={200}
        placeholder="Search Civitai"
        aria-label="Search Civitai"
        value={text}
        onInput={(event) => want(page.kind, { text: event.currentTarget.value })}
        onKeyDown={(event) => event.key === "Enter" && !event.isComposing && begin()}
      />
      <select aria-label="Kind" onInput={(event) => want(page.kind, { all: event.currentTarget.value === "all" })}>
        <option value="own" selected={!all}>{page.plural}</option>
        <option value="all" selected={all}>all kinds</option>
      </select>
      <button type="button" class="quiet civitai-search" disabled={busy} onClick={begin}>Search</button>
      <label class="check">
        <input type="checkbox" checked={nsfw} onInput={(event) => want(page.kind, { nsfw: event.currentTarget.checked })} />
        Also what is not for all ages
      </label>
    </div>
  );
}

function Hint({ page }: { page: NetworkPage }) {
  return (
    <div class="cards-empty">
      <h2>Search Civitai for {page.plural}</h2>
      <p>
        This server asks, when you press Search; your browser asks nobody else. What is downloaded is kept only if its
        SHA-256 is the one that the site tells and if it runs no code.
      </p>
    </div>
  );
}

function Results({ page, found }: { page: NetworkPage; found: Found }) {
  const { models, next, busy, fault } = found;
  return (
    <div class="cards-scroll" aria-busy={busy}>
      <p class="sr" role="status">{busy ? "Searching" : `${models.length} found`}</p>
      {fault && <p class="fault general" role="alert">{fault}</p>}
      {models.length === 0 && !fault && <p class="waiting">{busy ? "Searching…" : "Civitai finds nothing. Search for other words, or for all kinds."}</p>}
      <ul class="found" aria-label="Found on Civitai">
        {models.map((model) => <CivitaiCard key={model.id} model={model} nsfw={found.wanted.nsfw} />)}
      </ul>
      {models.length > 0 && next !== null && (
        <button type="button" class="quiet more" disabled={busy} onClick={() => void searchMore(page.kind)}>
          {busy ? "Searching…" : "More"}
        </button>
      )}
    </div>
  );
}
