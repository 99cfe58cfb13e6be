// What there is to say about a prompt, in words, with what mends it.
import type { Field } from "../schema";
import { boxes, mend } from "./mend";
import { notes } from "./reading";

export function NoteList({ field }: { field: Field }) {
  const told = notes.value[field.path];
  const found = told?.reading.diagnostics ?? [];
  return (
    <ul class="notes" aria-label={`Notes on the ${field.label.toLowerCase()}`} tabIndex={found.length ? 0 : -1}>
      {found.map(({ severity, message, hint, remedy }) => (
        <li class={`note ${severity}`} title={`${message} ${hint}`}>
          {remedy && (
            <button
              type="button"
              class="remedy"
              disabled={!told?.current}
              onClick={() => told && mend(boxes.get(field.path), remedy, told.question.prompt)}
            >
              {remedy.label}
            </button>
          )}
          <span class="said">
            <span class="severity">{severity}</span> {message}
            {hint && <em> {hint}</em>}
          </span>
        </li>
      ))}
    </ul>
  );
}
