// What was done to a mask, one mark after the other, and how it is undone. Nothing here draws.

/** Something that was done; `resets` says that nothing before it shows any more. */
export interface Mark {
  readonly resets: boolean;
}

export interface History<M extends Mark> {
  readonly marks: readonly M[];
  /** How many of them hold; the others were undone. */
  readonly done: number;
}

export const MOST_MARKS = 100;

export function noHistory<M extends Mark>(): History<M> {
  return { marks: [], done: 0 };
}

/** Do something: what was undone is gone, and of too long a history the beginning is given back for good. */
export function add<M extends Mark>(history: History<M>, mark: M): { history: History<M>; settled: M[] } {
  const marks = [...history.marks.slice(0, history.done), mark];
  const settled = marks.splice(0, Math.max(0, marks.length - MOST_MARKS));
  return { history: { marks, done: marks.length }, settled };
}

export function undone<M extends Mark>(history: History<M>): History<M> {
  return { ...history, done: Math.max(0, history.done - 1) };
}

export function redone<M extends Mark>(history: History<M>): History<M> {
  return { ...history, done: Math.min(history.marks.length, history.done + 1) };
}

/** What has to be drawn to show a history, and whether it begins on what was settled. */
export function replay<M extends Mark>(history: History<M>): { marks: readonly M[]; onBase: boolean } {
  const holding = history.marks.slice(0, history.done);
  const last = holding.findLastIndex((mark) => mark.resets);
  return last < 0 ? { marks: holding, onBase: true } : { marks: holding.slice(last), onBase: false };
}
