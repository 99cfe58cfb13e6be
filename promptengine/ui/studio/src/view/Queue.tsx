// The queue: what is made and what waits, in the order in which the server takes it.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { TargetedKeyboardEvent } from "preact";
import { active, cancel, move, waiting, type Job } from "../jobs";
import { Icon } from "./Icon";
import { Progress } from "./Progress";
import "./queue.css";

export function Queue() {
  const list = active.value;
  const place = useRef<HTMLOListElement>(null);
  const focused = useRef<{ job: string; button: string } | null>(null);
  useLayoutEffect(() => {
    // A row that is moved loses the focus, and so does a button that has no further place to move it to.
    const now = document.activeElement;
    const lost = now === document.body || (now instanceof HTMLButtonElement && now.disabled);
    if (!lost || !focused.current) return;
    const row = place.current?.querySelector(`[data-job="${CSS.escape(focused.current.job)}"]`);
    const button = row?.querySelector<HTMLButtonElement>(`[data-button="${focused.current.button}"]`);
    const other = row?.querySelector<HTMLButtonElement>("button:enabled");
    (button?.disabled ? other : button)?.focus();
  }, [list]);
  const remember = (event: FocusEvent) => {
    const button = event.target instanceof HTMLElement ? event.target.dataset["button"] : undefined;
    const job = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-job]")?.dataset["job"] : undefined;
    focused.current = job && button ? { job, button } : null;
  };
  return (
    <section class="group" aria-label="Queue">
      <div class="group-head">
        <h2>Queue</h2>
        <span class="count">{list.length || "empty"}</span>
      </div>
      <ol class="queue" ref={place} onFocusIn={remember}>
        {list.map((job) => <Row key={job.id} job={job} />)}
      </ol>
    </section>
  );
}

function Row({ job }: { job: Job }) {
  const line = waiting.value;
  const at = line.indexOf(job);
  const name = `“${job.prompt.slice(0, 60)}”`;
  return (
    <li data-job={job.id} data-state={job.status.state} onKeyDown={(event) => hear(event, job)}>
      <div class="queued">
        <span class="words">{job.prompt || "(no prompt)"}</span>
        <Progress job={job} />
      </div>
      {at >= 0 && line.length > 1 && (
        <span class="moves">
          <button type="button" class="icon" data-button="up" title="Earlier (Alt+↑)" aria-label={`Earlier: ${name}`} disabled={at === 0} onClick={() => void move(job, -1)}>
            <Icon name="up" />
          </button>
          <button type="button" class="icon" data-button="down" title="Later (Alt+↓)" aria-label={`Later: ${name}`} disabled={at === line.length - 1} onClick={() => void move(job, 1)}>
            <Icon name="down" />
          </button>
        </span>
      )}
      <button type="button" class="icon" data-button="cancel" title="Cancel" aria-label={`Cancel ${name}`} onClick={() => void cancel(job.id)}>
        <Icon name="close" />
      </button>
    </li>
  );
}

function hear(event: TargetedKeyboardEvent<HTMLElement>, job: Job): void {
  const by = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
  if (by === 0 || !event.altKey || job.status.state !== "waiting") return;
  event.preventDefault();
  void move(job, by);
}
