// A prompt's reading, asked of the server after each change: one request at a time, the last text wins.
import { signal } from "@preact/signals";
import { api, type PromptForm, type Reading } from "../api";

export interface Notes {
  /** Whether what is shown is of the text as it stands. */
  current: boolean;
  reading: Reading;
  /** What was read. */
  question: Question;
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
  diagnostics: [],
  tokens: { count: 0, limit: 75, chunks: [0] },
};

export type Question = Omit<PromptForm, "comments" | "hires_steps">;

export class Reader {
  private asked: AbortController | null = null;
  private next: Question | null = null;

  /**
   * @param path Of the prompt's field.
   * @param onRead Called with a reading of the newest text.
   */
  constructor(
    private readonly path: string,
    private readonly onRead: (reading: Reading, question: Question) => void,
  ) {}

  read(question: Question): void {
    if (question.prompt === "") {
      this.close();
      this.onRead(NOTHING, question);
      this.tell(true, NOTHING, question);
      return;
    }
    this.next = question;
    const before = notes.peek()[this.path];
    this.tell(false, before?.reading ?? NOTHING, before?.question ?? question);
    void this.ask();
  }

  close(): void {
    this.next = null;
    this.asked?.abort();
  }

  private async ask(): Promise<void> {
    if (this.asked || !this.next) return;
    const question = this.next;
    this.asked = new AbortController();
    try {
      const reading = await api.parse({ ...question, comments: true }, this.asked.signal);
      if (this.next === question) {
        this.next = null;
        this.onRead(reading, question);
        this.tell(true, reading, question);
      }
    } catch {
      // Without an answer the marks of before stay, and are shown as old; the next key asks again.
      if (this.next === question) this.next = null;
    } finally {
      this.asked = null;
      if (this.next) void this.ask();
    }
  }

  private tell(current: boolean, reading: Reading, question: Question): void {
    notes.value = { ...notes.peek(), [this.path]: { current, reading, question } };
  }
}
