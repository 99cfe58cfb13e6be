// What the page does in the browser itself: cards, weights at the keyboard, light and dark.
(() => {
  "use strict";

  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const promptBox = () => one("#pe-prompt textarea");
  const isShown = (element) => element !== null && element.offsetParent !== null;

  // --- Texts -------------------------------------------------------------------------------------

  /** Replaces a part of a box's text so that the toolkit notices and the browser can undo it. */
  function put(box, start, end, text) {
    const before = document.activeElement;
    box.focus({ preventScroll: true });
    box.setSelectionRange(start, end);
    const done = text
      ? document.execCommand("insertText", false, text)
      : document.execCommand("delete");
    if (!done) {
      box.setRangeText(text, start, end, "end");
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (before && before !== box && before.matches("button, input")) {
      before.focus({ preventScroll: true });
    }
  }

  // --- Cards -------------------------------------------------------------------------------------

  const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  /** Finds what a card has put into a prompt, with the blank in front of it. */
  function pattern(card) {
    const name = quoted(card.dataset.name);
    return card.dataset.kind === "embedding"
      ? new RegExp(`(?:^|[ \\t\\n])?(?<![\\w-])${name}(?![\\w-])`)
      : new RegExp(`[ \\t\\n]?<${card.dataset.kind}:${name}(?::[^<>]*)?>`);
  }

  function insertCard(card) {
    const box = promptBox();
    const text = box.value;
    const found = pattern(card).exec(text);
    if (found) {
      put(box, found.index, found.index + found[0].length, "");
      return;
    }
    const lastLine = text.slice(text.lastIndexOf("\n") + 1);
    // Behind a comment it would be part of that.
    const joint = lastLine.includes("#") ? "\n" : text === "" || /\s$/.test(text) ? "" : " ";
    put(box, text.length, text.length, joint + card.dataset.insert);
  }

  function chooseCheckpoint(card) {
    const box = one("#pe-picked textarea, #pe-picked input");
    box.value = card.dataset.name;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function markCards() {
    const box = promptBox();
    const chosen = one("#pe-checkpoint input");
    for (const card of all(".pe-card")) {
      const on =
        card.dataset.kind === "checkpoint"
          ? chosen !== null && chosen.value.replace(" (default)", "") === card.dataset.name
          : box !== null && card.dataset.insert !== "" && pattern(card).test(box.value);
      const said = String(on);
      if (card.getAttribute("aria-pressed") !== said) card.setAttribute("aria-pressed", said);
    }
  }

  function arrange(cards) {
    const wanted = one("input", cards).value.trim().toLowerCase();
    const newest = one("select", cards).value === "new";
    const grid = one(".pe-cards-grid", cards);
    const sorted = all(".pe-card", grid).sort((a, b) =>
      newest
        ? Number(b.dataset.modified) - Number(a.dataset.modified)
        : a.dataset.name.localeCompare(b.dataset.name)
    );
    for (const card of sorted) {
      card.hidden = !card.textContent.toLowerCase().includes(wanted);
      grid.append(card);
    }
  }

  document.addEventListener("click", (event) => {
    const card = event.target.closest?.(".pe-card");
    if (card) {
      if (card.dataset.kind === "checkpoint") chooseCheckpoint(card);
      else if (card.dataset.insert) insertCard(card);
      markCards();
    }
    if (event.target.closest?.("#pe-theme")) setDark(!document.body.classList.contains("dark"));
  });

  document.addEventListener("click", (event) => {
    // On a phone the picture may be far from the button.
    if (event.target.closest?.("#pe-generate") && window.innerWidth <= 820) {
      one("#pe-output").scrollIntoView({ behavior: "smooth", block: "start" });
    }
  });

  for (const kind of ["input", "change"]) {
    document.addEventListener(kind, (event) => {
      const cards = event.target.closest?.(".pe-cards-bar")?.parentElement;
      if (cards) arrange(cards);
    });
  }

  // Prompts and cards also change without a key being pressed.
  setInterval(markCards, 400);

  // --- Weights -----------------------------------------------------------------------------------

  const rounded = (number) => String(Math.round(number * 100) / 100);

  /** The tag around a place, with where its multiplier stands, or null. */
  function tagAround(text, place) {
    for (const match of text.matchAll(/<(\w+):([^<>:]+)(?::([^<>:]*))?([^<>]*)>/g)) {
      const end = match.index + match[0].length;
      if (match.index <= place && place <= end) {
        const start = match.index + match[1].length + match[2].length + 2;
        return { start, end: start + (match[3] === undefined ? 0 : match[3].length + 1), match };
      }
    }
    return null;
  }

  function wordAround(text, place) {
    const inside = (index) => index >= 0 && index < text.length && !/[\s()[\]:|,<>]/.test(text[index]);
    let start = place;
    let end = place;
    while (inside(start - 1)) start -= 1;
    while (inside(end)) end += 1;
    return [start, end];
  }

  /** Changes the weight of what is selected, or of the word or tag at the caret, by a step. */
  function weigh(box, step) {
    const text = box.value;
    let [start, end] = [box.selectionStart, box.selectionEnd];
    const tag = tagAround(text, start);
    if (tag && end <= tag.match.index + tag.match[0].length) {
      const now = tag.match[3] === undefined ? 1 : parseFloat(tag.match[3]);
      if (Number.isFinite(now)) {
        put(box, tag.start, tag.end, `:${rounded(now + step)}`);
        box.setSelectionRange(tag.start + 1, tag.start + 1);
      }
      return;
    }
    if (start === end) [start, end] = wordAround(text, start);
    while (start < end && /\s/.test(text[start])) start += 1;
    while (end > start && /\s/.test(text[end - 1])) end -= 1;
    if (start === end) return;
    let inner = text.slice(start, end);
    let weight = 1;
    const whole = /^\(([^()]*):\s*(-?\d*\.?\d+)\s*\)$/.exec(inner);
    const after = /^:\s*(-?\d*\.?\d+)\s*\)/.exec(text.slice(end));
    if (whole) {
      inner = whole[1];
      weight = parseFloat(whole[2]);
    } else if (text[start - 1] === "(" && after) {
      weight = parseFloat(after[1]);
      start -= 1;
      end += after[0].length;
    }
    const next = rounded(weight + step);
    const plain = next === "1";
    put(box, start, end, plain ? inner : `(${inner}:${next})`);
    const from = start + (plain ? 0 : 1);
    box.setSelectionRange(from, from + inner.length);
  }

  document.addEventListener(
    "keydown",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      if (event.key === "Enter") {
        const button = one("#pe-generate");
        if (isShown(button) && !button.disabled) {
          event.preventDefault();
          event.stopPropagation();
          button.click();
        }
      }
      const box = event.target;
      const step = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
      if (step && box.matches?.("#pe-prompts textarea")) {
        event.preventDefault();
        weigh(box, step);
      }
    },
    true
  );

  // --- Light and dark ----------------------------------------------------------------------------

  function setDark(dark) {
    document.body.classList.toggle("dark", dark);
    localStorage.setItem("promptengine-dark", dark ? "yes" : "no");
  }

  const kept = localStorage.getItem("promptengine-dark");
  if (kept !== null) {
    // The toolkit sets the class when it starts; what the visitor chose goes before.
    const started = setInterval(() => {
      if (one("#pe-head") === null) return;
      clearInterval(started);
      setDark(kept === "yes");
    }, 50);
  }
})();
