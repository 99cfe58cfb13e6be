// Tags of networks as chips: a click tells of one and opens its card, the wheel moves its multiplier, × takes it out.
import { isolateHistory } from "@codemirror/commands";
import { Prec, StateEffect, StateField, type EditorState, type Extension } from "@codemirror/state";
import { EditorView, ViewPlugin, keymap, showTooltip, type Tooltip, type TooltipView } from "@codemirror/view";
import { cardOf, openCard } from "../cards_open";
import { marks } from "./marks";
import { STEP, readTag, removal, shown, withMultiplier } from "./tags";

interface Place {
  from: number;
  to: number;
}

/** A wheel that turns less than this has not turned by a notch. */
const NOTCH = 40;

const open = StateEffect.define<Place | null>();

/** The chip that is told about. */
const opened = StateField.define<Place | null>({
  create: () => null,
  update(place, transaction) {
    for (const effect of transaction.effects) if (effect.is(open)) return effect.value;
    if (!place || !transaction.docChanged) return place;
    const from = transaction.changes.mapPos(place.from, 1);
    const to = transaction.changes.mapPos(place.to, -1);
    return from < to && readTag(transaction.newDoc.sliceString(from, to)) ? { from, to } : null;
  },
  provide: (field) => showTooltip.from(field, (place) => (place ? tooltip(place) : null)),
});

/**
 * The tag that a position is in or beside, as it was last read.
 *
 * @param side Where one ends and another begins: below 0 the one that ends.
 */
function tagAt(state: EditorState, position: number, side = 1): Place | null {
  const found: Place[] = [];
  state.field(marks).between(position, position, (from, to, mark) => {
    if (mark.spec.kind === "tag" && readTag(state.sliceDoc(from, to))) found.push({ from, to });
  });
  return found.at(side < 0 ? 0 : -1) ?? null;
}

/** Move a tag's multiplier by some steps, as one step to undo; false where it has none that is one number. */
function move(view: EditorView, place: Place, steps: number): boolean {
  const multiplier = readTag(view.state.sliceDoc(place.from, place.to))?.multiplier;
  return typeof multiplier === "number" && setMultiplier(view, place, multiplier + steps * STEP);
}

function setMultiplier(view: EditorView, { from, to }: Place, multiplier: number): boolean {
  const before = view.state.sliceDoc(from, to);
  const after = withMultiplier(before, multiplier);
  // Only the number is replaced, so that a caret in the tag stays where it is.
  let start = 0;
  while (start < before.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  view.dispatch({
    changes: { from: from + start, to: to - end, insert: after.slice(start, after.length - end) },
    annotations: isolateHistory.of("full"),
    userEvent: "input.multiplier",
  });
  return true;
}

function takeOut(view: EditorView, { from, to }: Place): void {
  view.dispatch({
    changes: removal(view.state.doc.toString(), from, to),
    effects: open.of(null),
    annotations: isolateHistory.of("full"),
    userEvent: "delete.tag",
  });
  view.focus();
}

function tooltip(place: Place): Tooltip {
  // Always the same function, by which the editor knows that it is the same tooltip.
  return { pos: place.from, above: false, create: popover };
}

function close(view: EditorView): boolean {
  if (!view.state.field(opened)) return false;
  view.dispatch({ effects: open.of(null) });
  return true;
}

/** What is told of a chip. */
function popover(view: EditorView): TooltipView {
  const kind = element("span", "pe-kind");
  const name = element("b", "pe-name");
  const slider = Object.assign(element("input", "pe-slider"), { type: "range", step: String(STEP) });
  slider.setAttribute("aria-label", "Multiplier");
  const value = element("output", "pe-value");
  const card = button("Card", () =>
    told((_, tag) => {
      const entry = cardOf(tag.word, tag.name);
      close(view);
      if (entry) openCard(entry);
    }),
  );
  const out = button("Take out", () => told((place) => takeOut(view, place)));
  const dom = element("div", "pe-popover");
  dom.setAttribute("role", "dialog");
  dom.append(row(kind, name), row(slider, value), row(card, out));

  function told(act: (place: Place, tag: NonNullable<ReturnType<typeof readTag>>) => void): void {
    const place = view.state.field(opened);
    const tag = place && readTag(view.state.sliceDoc(place.from, place.to));
    if (place && tag) act(place, tag);
  }
  function show(): void {
    told((_, { word, name: own, multiplier }) => {
      dom.setAttribute("aria-label", `${word} ${own}`);
      kind.textContent = word;
      name.textContent = own;
      card.hidden = cardOf(word, own) === null;
      slider.hidden = multiplier === null;
      value.textContent = multiplier === null ? "its multiplier is not one number" : shown(multiplier);
      slider.min = String(Math.min(-1, Math.floor(multiplier ?? 0)));
      slider.max = String(Math.max(2, Math.ceil(multiplier ?? 0)));
      slider.value = String(multiplier ?? 1);
    });
  }
  slider.addEventListener("input", () => (value.textContent = shown(Number(slider.value))));
  slider.addEventListener("change", () => told((place) => setMultiplier(view, place, Number(slider.value))));
  dom.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Escape") return;
    event.preventDefault();
    close(view);
    view.focus();
  });
  show();
  return { dom, update: (update) => update.docChanged && show() };
}

function element<K extends keyof HTMLElementTagNameMap>(name: K, className: string): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(name), { className });
}

function row(...parts: HTMLElement[]): HTMLElement {
  const found = element("div", "pe-row");
  found.append(...parts);
  return found;
}

function button(label: string, act: () => void): HTMLButtonElement {
  const found = Object.assign(element("button", "pe-button"), { type: "button", textContent: label });
  found.addEventListener("click", act);
  return found;
}

function chipUnder(view: EditorView, event: Event, inside: string, side = 1): Place | null {
  const chip = event.target instanceof Element ? event.target.closest(inside) : null;
  return chip && tagAt(view.state, view.posAtDOM(chip), side);
}

let turned = 0;

const pointer = EditorView.domEventHandlers({
  mousedown(event, view) {
    const out = event.button === 0 ? chipUnder(view, event, ".pe-out", -1) : null;
    if (!out) return false;
    takeOut(view, out);
    return true;
  },
  click(event, view) {
    const place = view.state.selection.main.empty ? chipUnder(view, event, ".pe-tag") : null;
    if (place || view.state.field(opened)) view.dispatch({ effects: open.of(place) });
    return false;
  },
  wheel(event, view) {
    const place = view.hasFocus && !event.ctrlKey ? chipUnder(view, event, ".pe-tag") : null;
    if (!place) return false;
    turned = Math.sign(turned) === Math.sign(event.deltaY) ? turned + event.deltaY : event.deltaY;
    if (Math.abs(turned) >= NOTCH) {
      move(view, place, turned < 0 ? 1 : -1);
      turned = 0;
    }
    return true;
  },
});

function atCaret(act: (view: EditorView, place: Place) => boolean) {
  return (view: EditorView): boolean => {
    const place = tagAt(view.state, view.state.selection.main.head);
    return place !== null && act(view, place);
  };
}

const keys = Prec.highest(
  keymap.of([
    { key: "Alt-ArrowUp", run: atCaret((view, place) => move(view, place, 1)) },
    { key: "Alt-ArrowDown", run: atCaret((view, place) => move(view, place, -1)) },
    {
      key: "F2",
      run: atCaret((view, place) => {
        view.dispatch({ effects: open.of(place) });
        requestAnimationFrame(() => view.dom.querySelector<HTMLElement>(".pe-popover :is(input, button):not([hidden])")?.focus());
        return true;
      }),
    },
    { key: "Escape", run: close },
  ]),
);

/** What is told of a chip goes once something else of the page is used. */
const elsewhere = ViewPlugin.define((view) => {
  const leave = (event: Event) => {
    if (!event.composedPath().includes(view.dom)) close(view);
  };
  document.addEventListener("pointerdown", leave);
  document.addEventListener("focusin", leave);
  return {
    destroy() {
      document.removeEventListener("pointerdown", leave);
      document.removeEventListener("focusin", leave);
    },
  };
});

export const chips: Extension = [opened, pointer, keys, elsewhere];
