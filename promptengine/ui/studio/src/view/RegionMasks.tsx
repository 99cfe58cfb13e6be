// Masks that are painted, each with a text that acts where it is.
import { useEffect, useMemo } from "preact/hooks";
import { source } from "../inpaint";
import { onStage } from "../onStage";
import {
  addRegion,
  chosen,
  fieldsOf,
  ids,
  maskOf,
  maskPath,
  maskSize,
  mostRegions,
  removeRegion,
  shownRegion,
} from "../regions";
import { faults, form, startsFromImage } from "../state";
import { FieldView } from "./FieldView";
import { Icon } from "./Icon";
import { MaskEditor } from "./MaskEditor";

export function RegionMasks() {
  const list = ids.value;
  return (
    <div class="region-masks" data-empty={list.length === 0}>
      {list.length > 0 && <Canvas id={shownRegion.value} />}
      <div class="region-list">
        <ol>
          {list.map((id, index) => (
            <Card key={id} id={id} number={index + 1} />
          ))}
        </ol>
        <button type="button" class="quiet" data-action="add-region" disabled={list.length >= mostRegions.value} onClick={addRegion}>
          Add region
        </button>
        <p class="help">
          Each text acts where its mask is; the prompt holds for the rest. Masks stay in this browser: an image tells the texts of
          its regions, and not where they were.
        </p>
      </div>
    </div>
  );
}

function Card({ id, number }: { id: string; number: number }) {
  const fields = useMemo(() => fieldsOf(id), [id, form.value]);
  const fault = faults.value[maskPath(id)];
  const isShown = shownRegion.value === id;
  const show = () => (chosen.value = id);
  return (
    <li class="region" data-shown={isShown} data-region={id} onFocusIn={show}>
      <div class="region-head">
        <button type="button" class="quiet" aria-pressed={isShown} title="Paint its mask" onClick={show}>
          <Icon name="brush" /> Region {number}
        </button>
        <button
          type="button"
          class="icon"
          title="Remove"
          aria-label={`Remove region ${number}`}
          onClick={() => removeRegion(id)}
        >
          <Icon name="trash" />
        </button>
      </div>
      {fault && !isShown && <p class="fault" role="alert">{fault}</p>}
      <div class="fields">
        {fields.map((field) => (
          <FieldView key={field.path} field={field} lastSeed={null} />
        ))}
      </div>
    </li>
  );
}

/** The image that a mask is painted over: img2img's, or else the one on the stage. */
function under(): string | null {
  if (startsFromImage.value) return source.image.value?.url ?? null;
  const here = onStage();
  return here?.job.result?.images[here.image]?.url ?? null;
}

function Canvas({ id }: { id: string }) {
  const size = maskSize.value;
  const list = ids.value;
  useEffect(() => {
    for (const one of list) void maskOf(one).open(size);
  }, [list.join(" "), size]);
  const mask = maskOf(id);
  const painting = mask.painting.value;
  const others = list.filter((one) => one !== id).map((one) => maskOf(one).painting.value?.canvas);
  const seen = useMemo(() => others.filter((one) => one !== undefined), [painting, ...others]);
  if (!painting) return <div class="mask-editor" />;
  return <MaskEditor key={id} url={under()} painting={painting} kept={mask.kept.value} path={maskPath(id)} others={seen} />;
}
