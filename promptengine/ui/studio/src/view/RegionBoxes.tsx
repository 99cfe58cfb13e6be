// The image as the prompt divides it, drawn from the server's reading; the words that divide it are put in here.
import type { PlacedRegion, PromptRegions, Reading } from "../api";
import { boxes, insertWord } from "../editor/mend";
import { notes } from "../editor/reading";
import { divides } from "../regions";
import { madeSize } from "../start";
import { OtherDialect } from "./RegionNotes";

const PROMPT = "prompt";
const SHADES = 4;

/** What divides a prompt, as the Regional Prompter extension spells it. */
const KEYWORDS = [
  { word: "ADDCOL", label: "Column", help: "what follows is another column" },
  { word: "ADDROW", label: "Row", help: "what follows is another row" },
  { word: "ADDBASE", label: "Base", help: "what stands before it, all regions follow in part" },
  { word: "ADDCOMM", label: "Common", help: "what stands before it is put in front of every text" },
] as const;

export function RegionBoxes() {
  const told = notes.value[PROMPT];
  const regions = told?.reading.regions;
  const placed = regions?.placed ?? [];
  return (
    <>
      <div class="keywords" role="group" aria-label="Put into the prompt">
        {KEYWORDS.map(({ word, label, help }) => (
          <button
            type="button"
            class="quiet"
            key={word}
            data-word={word}
            title={`${word}: ${help}`}
            disabled={!divides.value}
            onClick={() => insertWord(boxes.get(PROMPT), word)}
          >
            {label} <kbd>{word}</kbd>
          </button>
        ))}
      </div>
      {!divides.value && <OtherDialect severity="info" words="In this prompt dialect, ADDCOL and its like are words like others." />}
      {(divides.value ? (regions?.notes ?? []) : []).map((one) => (
        <p class={`note ${one.severity}`}>
          <span class="severity">{one.severity}</span> {one.message}
        </p>
      ))}
      {told && regions && placed.length > 0 ? (
        <Divisions reading={told.reading} regions={regions} current={told.current} />
      ) : (
        <p class="waiting undivided">
          The prompt holds for the whole image.{divides.value && " Put the caret where a region ends, and press Column or Row."}
        </p>
      )}
    </>
  );
}

/** The image once for each operand of AND, which all divide it by themselves. */
function Divisions({ reading, regions, current }: { reading: Reading; regions: PromptRegions; current: boolean }) {
  const parts = [...new Set(regions.placed.map((one) => one.part))];
  return (
    <div class="divisions" data-read={current ? "current" : "pending"}>
      {parts.map((part) => (
        <Division
          key={part}
          title={regions.bases.length > 1 ? `Prompt ${part + 1} of ${regions.bases.length}` : ""}
          base={regions.bases[part] ?? null}
          placed={regions.placed.filter((one) => one.part === part)}
          networks={reading.networks}
        />
      ))}
    </div>
  );
}

interface DivisionProps {
  title: string;
  base: string | null;
  placed: PlacedRegion[];
  networks: Reading["networks"];
}

function Division({ title, base, placed, networks }: DivisionProps) {
  const { width, height } = madeSize.value ?? { width: 1, height: 1 };
  const size = { aspectRatio: `${width} / ${height}`, width: `min(100cqw, ${(100 * width) / height}cqh)` };
  return (
    <figure class="division">
      {(title || base !== null) && (
        <figcaption>
          {title && <b>{title}</b>} {base !== null && <>Base: {base || "nothing"}</>}
        </figcaption>
      )}
      <div class="division-room">
        <ol class="division-image" style={size} aria-label="Regions">
          {placed.map((one) => (
            <Box key={one.number} region={one} networks={networks} />
          ))}
        </ol>
      </div>
    </figure>
  );
}

const percent = (share: number) => `${100 * share}%`;

function Box({ region, networks }: { region: PlacedRegion; networks: Reading["networks"] }) {
  const { number, left, top, right, bottom, text, base_share } = region;
  const place = { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) };
  return (
    <li class={`division-box shade${(number - 1) % SHADES}`} data-region={number} style={place} tabIndex={0}>
      <b>{number}</b> {text || <em>nothing</em>}
      {region.networks.map((at) => (
        <>{" "}<span class="acts">{chipWords(networks[at])}</span></>
      ))}
      {base_share !== null && <span class="share">{Math.round(100 * base_share)} % base</span>}
    </li>
  );
}

function chipWords(network: Reading["networks"][number] | undefined): string {
  return network ? `${String(network["name"])} × ${Number(Number(network["multiplier"]).toFixed(4))}` : "";
}
