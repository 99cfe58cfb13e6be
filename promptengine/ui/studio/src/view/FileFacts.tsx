// What a file of a model is, as the server reads it without running anything in it.
import type { NetworkDetail, NetworkEntry } from "../api";
import { sizeWords } from "../cards/size";

interface Props {
  entry: NetworkEntry;
  detail: NetworkDetail | null;
  /** Why there is no more to tell, or empty. */
  fault: string;
}

export function FileFacts({ entry, detail, fault }: Props) {
  const metadata = Object.entries(detail?.metadata ?? {});
  return (
    <div class="facts">
      <dl>
        <Fact label="File" value={entry.path} />
        <Fact label="Size" value={sizeWords(entry.bytes)} />
        <Fact label="Modified" value={new Date(entry.modified * 1000).toLocaleString()} />
        {detail && <Fact label="Format" value={detail.format} />}
        {detail && <Fact label="Safe to load" value={detail.safe ? "yes" : "no: it would run code, and is not loaded"} />}
        {detail?.sha256 && <Fact label="SHA-256" value={detail.sha256} />}
        {detail && detail.layers.length > 0 && <Fact label="Layers" value={detail.layers.join(", ")} />}
      </dl>
      {!detail && !fault && <p class="help">Reading the file…</p>}
      {fault && <p class="fault" role="alert">{fault}</p>}
      {[...(detail?.notes ?? []), ...entry.problems].map((note) => (
        <p class="note warning" key={note}>{note}</p>
      ))}
      {metadata.length > 0 && (
        <details>
          <summary>Metadata</summary>
          <dl>
            {metadata.map(([name, value]) => <Fact key={name} label={name} value={value} />)}
          </dl>
        </details>
      )}
    </div>
  );
}

function Fact({ label, value }: { label: string; value: string }) {
  return <div><dt>{label}</dt><dd>{value}</dd></div>;
}
