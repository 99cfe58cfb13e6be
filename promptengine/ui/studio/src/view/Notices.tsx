// What was just done, over what is shown; it stays until it is closed or something else is done.
import { useEffect } from "preact/hooks";
import { words } from "../api";
import { notice, type Notice } from "../notices";
import { Icon } from "./Icon";
import "./notices.css";

const SHORT_MS = 8000;

export function Notices() {
  const told = notice.value;
  useEffect(() => {
    // What asks for nothing goes by itself.
    if (!told || told.bad || told.undo || told.notes?.length) return;
    const timer = setTimeout(() => notice.value === told && (notice.value = null), SHORT_MS);
    return () => clearTimeout(timer);
  }, [told]);
  if (!told) return null;
  return (
    <section class={`notice ${told.bad ? "bad" : ""}`} role={told.bad ? "alert" : "status"}>
      <div class="row">
        <p>{told.text}</p>
        {told.undo && (
          <button type="button" class="quiet" onClick={() => void takeBack(told)}>Undo</button>
        )}
        <button type="button" class="icon" aria-label="Close this note" onClick={() => (notice.value = null)}>
          <Icon name="close" />
        </button>
      </div>
      {told.notes && told.notes.length > 0 && <Notes notes={told.notes} />}
    </section>
  );
}

/** Remarks, each with its severity. */
export function Notes({ notes }: { notes: NonNullable<Notice["notes"]> }) {
  return (
    <ul class="notes all" aria-label="Notes" tabIndex={0}>
      {notes.map((one) => (
        <li class={`note ${one.severity}`}>
          <span class="severity">{one.severity}</span> {one.message}
          {one.hint && <em> {one.hint}</em>}
        </li>
      ))}
    </ul>
  );
}

async function takeBack(told: Notice): Promise<void> {
  try {
    await told.undo?.();
    if (notice.value === told) notice.value = null;
  } catch (error) {
    notice.value = { text: words(error), bad: true };
  }
}
