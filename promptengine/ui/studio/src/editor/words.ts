// Words of prompts: embeddings, and the user's own lists with their aliases.
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { api, type ListedWord, type NetworkEntry } from "../api";

/** Fewer characters begin too many words. */
const LEAST = 2;
const LONGEST = 60;
const MOST_WORDS = 4;
const REST_MS = 60_000;

const SEPARATORS = ",()[\\]<>|:\\n";
const PHRASE = new RegExp(`[^\\s${SEPARATORS}][^${SEPARATORS}]*$`);
const WORD = /[^\s,()[\]<>|:]+$/;

/** A completion that also says where its text begins, since a phrase may begin before the word. */
export interface WordCompletion extends Completion {
  category?: number;
}

/** Until then no list is asked, since there are none. */
let resting = 0;

/**
 * Return a source of completions.
 *
 * @param listed Gives the files as they are known now.
 */
export function wordCompletion(listed: () => NetworkEntry[]) {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const phrase = context.matchBefore(PHRASE);
    const word = context.matchBefore(WORD);
    if (!phrase || !word || (phrase.text.length < LEAST && !context.explicit)) return null;
    const wanted = word.text.toLowerCase();
    const embeddings = (wanted.length < LEAST && !context.explicit ? [] : listed())
      .filter((one) => one.kind === "embedding" && one.name.toLowerCase().includes(wanted))
      .map((one) => embeddingOption(one, word.from));
    const words = await wordsFor(phrase, word);
    if (context.aborted || embeddings.length + words.length === 0) return null;
    return { from: phrase.from, options: [...embeddings, ...words], filter: false };
  };
}

interface Typed {
  from: number;
  text: string;
}

/** Words for the phrase as a whole, or where there are none, for its last word. */
async function wordsFor(phrase: Typed, word: Typed): Promise<WordCompletion[]> {
  const isShort = phrase.text.length <= LONGEST && phrase.text.split(/\s+/).length <= MOST_WORDS;
  const asked = isShort && phrase.from < word.from ? [phrase, word] : [word];
  for (const typed of asked.filter((one) => one.text.length >= LEAST)) {
    const found = await ask(typed.text.slice(0, LONGEST));
    if (found.length > 0) return found.map((one) => wordOption(one, typed.from));
  }
  return [];
}

async function ask(prefix: string): Promise<ListedWord[]> {
  if (Date.now() < resting) return [];
  try {
    const { words, known } = await api.words(prefix);
    if (known === 0) resting = Date.now() + REST_MS;
    return words;
  } catch {
    // Without an answer there is nothing to offer; the next key asks again.
    return [];
  }
}

function embeddingOption(entry: NetworkEntry, start: number): WordCompletion {
  return { label: entry.name, detail: entry.kind, apply: inserting(entry.name, start, "") };
}

function wordOption({ name, text, alias, count, category }: ListedWord, start: number): WordCompletion {
  return {
    label: name,
    ...(alias ? { displayLabel: `${alias} → ${name}` } : {}),
    detail: count > 0 ? short(count) : "",
    category,
    apply: inserting(text, start, ", "),
  };
}

/**
 * Return what writes a word.
 *
 * @param behind What follows it at a line's end.
 */
function inserting(text: string, start: number, behind: string) {
  return (view: EditorView, _completion: Completion, _from: number, to: number) => {
    const line = view.state.doc.lineAt(to);
    const insert = text + (line.to === to ? behind : "");
    view.dispatch({
      changes: { from: start, to, insert },
      selection: { anchor: start + insert.length },
      userEvent: "input.complete",
    });
  };
}

function short(count: number): string {
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)}M`;
  return count >= 1e3 ? `${Math.round(count / 1e3)}k` : String(count);
}
