// What the hashes in an infotext belong to, asked of Civitai by the server when somebody wants to know.
import { useSignal } from "@preact/signals";
import { api, words, type HashedFile } from "../api";

export function AskCivitai({ infotext }: { infotext: string }) {
  const told = useSignal<HashedFile[] | null>(null);
  const fault = useSignal("");
  const busy = useSignal(false);
  const ask = async () => {
    busy.value = true;
    fault.value = "";
    try {
      told.value = await api.askHashes(infotext);
    } catch (error) {
      fault.value = words(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <section class="asked" aria-label="Models" aria-busy={busy.value}>
      <button type="button" class="quiet ask-civitai" disabled={busy.value} onClick={() => void ask()}>
        {busy.value ? "Asking…" : "Ask Civitai what was used"}
      </button>
      {fault.value && <p class="fault" role="alert">{fault.value}</p>}
      {told.value && <Answers told={told.value} />}
    </section>
  );
}

function Answers({ told }: { told: HashedFile[] }) {
  if (told.length === 0) return <p class="help" role="status">It names no file by a hash.</p>;
  return (
    <ul role="status">
      {told.map((one) => (
        <li key={one.digest}>
          {[one.kind, one.name, one.digest].filter(Boolean).join(" ")}:{" "}
          {one.page ? (
            <a href={one.page} target="_blank" rel="noreferrer">{[one.model, one.version].filter(Boolean).join(" – ")}</a>
          ) : (
            "not known there"
          )}
        </li>
      ))}
    </ul>
  );
}
