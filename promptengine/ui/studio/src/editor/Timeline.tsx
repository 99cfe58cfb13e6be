// The steps below a prompt box: who says what when. It is as high when nothing changes, so that nothing moves.
import type { Field } from "../schema";
import type { Notes } from "./reading";
import { rowsOf, span, type CurveRow, type Row, type TextRow } from "./stretches";

const SHADES = 4;
/** A stretch of a smaller share has no room for words. */
const LEAST_NAMED = 0.1;
/** An alternation over many steps is told by its beginning. */
const MOST_TOLD = 40;

export function Timeline({ field, told }: { field: Field; told: Notes | undefined }) {
  const steps = told?.question.steps ?? 1;
  const rows = told ? rowsOf(told.reading, steps) : [];
  if (!told || rows.length === 0) {
    const empty = !told || told.question.prompt.trim() === "";
    return <p class="timeline quiet-line">{empty ? "" : words(told, steps)}</p>;
  }
  return (
    <div class="timeline" role="group" tabIndex={0} aria-label={`${field.label} over ${steps} steps`}>
      <div class="timeline-rows" aria-hidden="true">
        {rows.map((row) => (
          <div class="timeline-row" style={{ height: `${100 / rows.length}%` }}>
            <Drawn row={row} steps={steps} named={rows.length === 1} />
          </div>
        ))}
      </div>
      <div class="timeline-all" tabIndex={0}>
        {rows.map((row) => (row.kind === "text" ? <Texts row={row} /> : <p>{curveWords(row)}</p>))}
      </div>
    </div>
  );
}

function words(told: Notes, steps: number): string {
  const isWhole = told.reading.subprompts.every((one) => one["schedule"]);
  return isWhole ? `constant over all ${steps} steps` : "the schedule is too long to be drawn";
}

function Drawn({ row, steps, named }: { row: Row; steps: number; named: boolean }) {
  if (row.kind === "curve") return <Curve row={row} />;
  return (
    <>
      {row.stretches.map((one) => (
        <span
          class={`stretch shade${one.shade % SHADES}`}
          style={{ flexGrow: one.to - one.from + 1, flexBasis: `${(100 * (one.to - one.from + 1)) / steps}%` }}
          title={`steps ${span(one)}: ${one.text}`}
        >
          {named && (one.to - one.from + 1) / steps >= LEAST_NAMED && one.label}
        </span>
      ))}
    </>
  );
}

/** A multiplier as a line, from the least to the most that it is. */
function Curve({ row }: { row: CurveRow }) {
  const low = Math.min(0, ...row.values);
  const high = Math.max(low + 0.01, ...row.values);
  const last = Math.max(row.values.length - 1, 1);
  const points = row.values.map((value, call) => `${(100 * call) / last},${(20 * (high - value)) / (high - low)}`);
  return (
    <svg class="curve" viewBox="0 -1 100 22" preserveAspectRatio="none">
      <title>{curveWords(row)}</title>
      <polyline points={points.join(" ")} />
    </svg>
  );
}

function curveWords({ label, values }: CurveRow): string {
  const [first = 0] = values;
  const ends = [first, Math.min(...values), Math.max(...values), values.at(-1) ?? first];
  const [begin, low, high, end] = ends.map((one) => String(Number(one.toFixed(2))));
  return `${label}: multiplier from ${begin} to ${end}, ${low} at the least and ${high} at the most`;
}

function Texts({ row }: { row: TextRow }) {
  const more = row.stretches.length - MOST_TOLD;
  return (
    <ol>
      {row.stretches.slice(0, MOST_TOLD).map((one) => (
        <li>
          <b>{span(one)}</b> {one.text}
        </li>
      ))}
      {more > 0 && <li>and {more} more</li>}
    </ol>
  );
}
