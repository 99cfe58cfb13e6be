// A prompt's reading, asked of the server after each change: one request at a time, the last text wins.
import { signal } from "@preact/signals";
import { ApiError, api, type PromptForm, type Reading } from "../api";

export interface Notes {
  /** Whether what is shown is of the text as it stands. */
  current: boolean;
  reading: Reading;
  /** What was read. */
  question: Question;
  /** Whether the tokens are of the text as it stands; counting them takes as long as all else. */
  counted: boolean;
}

/** What there is to say about each prompt, by its field's path. */
export const notes = signal<Record<string, Notes>>({});

/** What an empty prompt says. */
const NOTHING: Reading = {
  text: "",
  tags: [],
  networks: [],
  multipliers: {},
  subprompts: [],
  marks: [],
  regions: null,
  diagnostics: [],
  tokens: { count: 0, limit: 75, chunks: [0] },
};

export type Question = Omit<PromptForm, "comments" | "hires_steps" | "tokens">;

/** How a prompt is read, for what else is asked about it. */
export type Syntax = Pick<Question, "negative" | "dialect" | "steps"> & { dynamic: boolean };

/** Until tokens are counted, where nothing more is typed. */
const COUNT_MS = 100;

/** Until a server that gave no answer is asked again. */
const PAUSE_MS = 2000;

export class Reader {
  private asked: AbortController | null = null;
  private counting: AbortController | null = null;
  private next: Question | null = null;
  private again: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param path Of the prompt's field.
   * @param onRead Called with a reading of the newest text.
   */
  constructor(
    private readonly path: string,
    private readonly onRead: (reading: Reading, question: Question) => void,
  ) {}

  read(question: Question): void {
    clearTimeout(this.again);
    this.counting?.abort();
    if (question.prompt === "") {
      this.close();
      this.onRead(NOTHING, question);
      this.tell({ current: true, reading: NOTHING, question, counted: true });
      return;
    }
    this.next = question;
    this.tell({ reading: NOTHING, question, ...notes.peek()[this.path], current: false, counted: false });
    void this.ask();
  }

  close(): void {
    clearTimeout(this.again);
    this.next = null;
    this.counting?.abort();
    this.asked?.abort();
  }

  private async ask(): Promise<void> {
    if (this.asked || !this.next) return;
    const question = this.next;
    this.asked = new AbortController();
    try {
      const form = { ...question, comments: true, tokens: false };
      const { tokens: _, ...read } = await api.parse(form, this.asked.signal);
      if (this.next === question) {
        this.next = null;
        const reading = { ...read, tokens: notes.peek()[this.path]?.reading.tokens ?? null };
        this.onRead(reading, question);
        this.tell({ current: true, reading, question, counted: false });
        this.again = setTimeout(() => void this.count(question), COUNT_MS);
      }
    } catch (error) {
      // Without an answer the marks of before stay, and are shown as old; the next key asks again.
      if (this.next === question) this.next = null;
      const isRefused = error instanceof ApiError && error.status >= 400 && error.status < 500;
      if (error instanceof ApiError && !isRefused) this.again = setTimeout(() => this.read(question), PAUSE_MS);
    } finally {
      this.asked = null;
      if (this.next) void this.ask();
    }
  }

  private async count(question: Question): Promise<void> {
    this.counting = new AbortController();
    try {
      const reading = await api.parse({ ...question, comments: true, tokens: true }, this.counting.signal);
      this.tell({ current: true, reading, question, counted: true });
    } catch {
      // The next key asks again; until then the tokens of before are shown as old.
    }
  }

  private tell(some: Notes): void {
    notes.value = { ...notes.peek(), [this.path]: some };
  }
}
