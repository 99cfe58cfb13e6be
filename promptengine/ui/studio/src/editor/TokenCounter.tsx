// How long a prompt is for CLIP, as WebUI counts it, and how full each of its chunks is.
import type { Tokens } from "../api";

const MOST_BARS = 8;
const CHUNK = 75;

export function TokenCounter({ tokens }: { tokens: Tokens | null }) {
  const chunks = tokens?.chunks ?? [];
  const told =
    chunks.length > 1
      ? chunks.map((used, index) => `chunk ${index + 1}: ${used} of ${CHUNK}`).join(", ")
      : "tokens of the prompt, of those that fit into its chunks";
  return (
    <span class="tokens" title={tokens ? told : "the schedule is too long to count its tokens"}>
      {chunks.length > 1 &&
        chunks.slice(0, MOST_BARS).map((used) => (
          <span class="chunk" aria-hidden="true">
            <span style={{ width: `${Math.round((used / CHUNK) * 100)}%` }} />
          </span>
        ))}
      <span class="sr">Tokens: </span>
      {tokens ? `${tokens.count}/${tokens.limit}` : "–"}
    </span>
  );
}
