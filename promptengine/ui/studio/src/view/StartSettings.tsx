// The settings of img2img: how much changes, how the image is brought to size, and what of it is painted.
import { source } from "../inpaint";
import type { Field, Group } from "../schema";
import { ownSize, resultSize, scaleField, setSizing, sizing, SIZINGS, startGroups, type Sizing } from "../start";
import { setValues, values } from "../store";
import { FieldView } from "./FieldView";
import { Segments } from "./Segments";
import { Switched } from "./Switched";

const SOFT = "start.inpainting.soft";
/** What of the fields has an effect only as others are. */
const NEEDS: Record<string, (is: (path: string) => boolean) => boolean> = {
  "start.inpainting.padding": (is) => is("start.inpainting.only_masked"),
  "start.inpainting.hard": (is) => !is(SOFT),
};

export function StartSettings() {
  return (
    <>
      {startGroups.value.map((group) => (
        <StartGroup key={group.path} group={group} />
      ))}
    </>
  );
}

function StartGroup({ group }: { group: Group }) {
  const soft = group.fields.find((one) => one.path === SOFT);
  const softs = group.fields.filter((one) => one.path.startsWith(`${SOFT}_`));
  const plain = group.fields.filter((one) => one !== soft && !softs.includes(one));
  return (
    <>
      <section class="group start" aria-label={group.label}>
        <div class="group-head"><h2>{group.label}</h2></div>
        <div class="fields">
          {plain.map((field) => (
            <Depending key={field.path} field={field} />
          ))}
        </div>
      </section>
      {soft && <Switched path={soft.path} label={soft.label} help={soft.help} fields={softs} lastSeed={null} />}
    </>
  );
}

function Depending({ field }: { field: Field }) {
  const is = (path: string) => values.value[path] === true;
  const works = NEEDS[field.path]?.(is) ?? true;
  if (works) return <FieldView field={field} lastSeed={null} />;
  return (
    <fieldset class="bare" disabled>
      <div class="fields"><FieldView field={field} lastSeed={null} /></div>
    </fieldset>
  );
}

/** WebUI's "Resize to" and "Resize by", and the image's own size, with which nothing is resized. */
export function SizeChoice() {
  const image = source.image.value;
  const size = resultSize.value;
  const onlyMasked = startGroups.value.length > 1 && values.value["start.inpainting.only_masked"] === true;
  // What is painted alone is laid over the image, whose size stays.
  const made = onlyMasked ? image : size;
  const take = () => ownSize.value && setValues({ width: String(ownSize.value.width), height: String(ownSize.value.height) });
  return (
    <div class="size-choice">
      <Segments label="Size of the result" id="img2img-sizing" choices={SIZINGS} value={sizing.value} give={(id) => setSizing(id as Sizing)} />
      {sizing.value === "by" && <div class="fields"><FieldView field={scaleField} lastSeed={null} /></div>}
      {sizing.value === "to" && (
        <button type="button" class="quiet" disabled={!image} onClick={take}>Take the image's size</button>
      )}
      <p class="help" data-size>
        {made && image ? `${image.width} × ${image.height} → ${made.width} × ${made.height}` : "The size of the image, once there is one."}
      </p>
    </div>
  );
}
