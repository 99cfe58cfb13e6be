// One card: what a file looks like, its name, what its user wrote, and a click that takes it.
import type { NetworkEntry, NetworkPage } from "../api";
import { edited } from "../cards/edited";
import { choose, isChosen, isUsable } from "../cards/pages";
import { Icon } from "./Icon";
import { Preview } from "./Preview";

interface Props {
  page: NetworkPage;
  entry: NetworkEntry;
  /** Which of all cards it is, from 1. */
  place: number;
  of: number;
}

export function Card({ page, entry, place, of }: Props) {
  const usable = isUsable(page, entry);
  return (
    <li class="card" data-name={entry.name} aria-setsize={of} aria-posinset={place}>
      <button
        type="button"
        class="face"
        aria-pressed={isChosen(page, entry)}
        disabled={!usable}
        title={usable ? entry.name : `No tag can hold the name “${entry.name}”; rename the file.`}
        onClick={() => choose(page, entry)}
      >
        <Preview key={entry.preview} entry={entry} />
        <span class="card-name">{entry.name}</span>
        <span class="card-text">{entry.description || entry.folder}</span>
      </button>
      <button type="button" class="icon card-edit" title="Edit" aria-label={`Edit ${entry.name}`} onClick={() => (edited.value = entry)}>
        <Icon name="edit" />
      </button>
    </li>
  );
}
