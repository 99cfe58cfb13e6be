// The buttons over the mask editor.
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { words } from "../api";
import { CLEAR, FILL, INVERT } from "../mask/marks";
import type { MaskPainting } from "../mask/painting";
import { MOST_BRUSH, setTools, tools } from "../mask/tools";
import { save } from "../save";
import { decoded, readSource } from "../source";
import { setFault } from "../state";
import { Icon, type IconName } from "./Icon";

interface Props {
  painting: MaskPainting;
  /** Of the field that it is for. */
  path: string;
  fit(): void;
  zoom(steps: number): void;
}

export function MaskTools({ painting, path, fit, zoom }: Props) {
  const { erases, brush, opacity } = tools.value;
  const { marks, done } = painting.history.value;
  return (
    <div class="mask-tools" role="toolbar" aria-label="Mask tools">
      <div class="tools">
        <Tool icon="brush" name="Brush (B)" pressed={!erases} act={() => setTools({ erases: false })} />
        <Tool icon="eraser" name="Eraser (E)" pressed={erases} act={() => setTools({ erases: true })} />
      </div>
      <Amount name="Brush size" unit="px" low={1} high={MOST_BRUSH} value={brush} give={(value) => setTools({ brush: value })} />
      <Amount name="Opacity" unit="%" low={5} high={100} value={opacity} give={(value) => setTools({ opacity: value })} />
      <div class="tools">
        <Tool icon="undo" name="Undo (Ctrl+Z)" disabled={done === 0} act={() => painting.undo()} />
        <Tool icon="redo" name="Redo (Ctrl+Y)" disabled={done === marks.length} act={() => painting.redo()} />
        <Tool icon="trash" name="Clear mask" act={() => painting.mark(CLEAR)} />
        <Tool icon="invert" name="Invert mask" act={() => painting.mark(INVERT)} />
        <Tool icon="fill" name="Fill mask" act={() => painting.mark(FILL)} />
        <LoadMask painting={painting} path={path} />
        <Tool icon="download" name="Download mask" act={() => void painting.file().then(({ png }) => save(png, "mask.png"))} />
      </div>
      <div class="tools">
        <Tool icon="minus" name="Zoom out (−)" act={() => zoom(-1)} />
        <Tool icon="fit" name="Show all (0)" act={fit} />
        <Tool icon="plus" name="Zoom in (+)" act={() => zoom(1)} />
      </div>
    </div>
  );
}

interface ToolProps {
  icon: IconName;
  name: string;
  act(): void;
  pressed?: boolean;
  disabled?: boolean;
}

function Tool({ icon, name, act, pressed, disabled }: ToolProps) {
  const state = pressed === undefined ? {} : { "aria-pressed": pressed };
  return (
    <button type="button" class="icon" title={name} aria-label={name.replace(/ \(.*\)$/, "")} disabled={disabled ?? false} onClick={act} {...state}>
      <Icon name={icon} />
    </button>
  );
}

interface AmountProps {
  name: string;
  unit: string;
  low: number;
  high: number;
  value: number;
  give(value: number): void;
}

function Amount({ name, unit, low, high, value, give }: AmountProps): ComponentChildren {
  return (
    <label class="amount">
      <span>{name}</span>
      <input
        type="range"
        aria-label={name}
        aria-valuetext={`${value} ${unit}`}
        min={low}
        max={high}
        value={value}
        onInput={(event) => give(Number(event.currentTarget.value))}
      />
      <output>{value} {unit}</output>
    </label>
  );
}

function LoadMask({ painting, path }: { painting: MaskPainting; path: string }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Tool icon="upload" name="Load mask from file" act={() => input.current?.click()} />
      <input
        ref={input}
        class="sr"
        type="file"
        accept="image/*"
        tabIndex={-1}
        aria-label="Mask file to load"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file) void load(painting, path, file);
        }}
      />
    </>
  );
}

async function load(painting: MaskPainting, path: string, file: Blob): Promise<void> {
  try {
    const { url } = await readSource(file);
    painting.load(await decoded(url));
    URL.revokeObjectURL(url);
  } catch (error) {
    setFault(path, words(error));
  }
}
