// What there is to say of the settings of regions, and the way to see what they do.
import { notes } from "../editor/reading";
import { stageTab } from "../onStage";
import { changed, divides } from "../regions";
import { form } from "../state";
import { setValue } from "../store";

export function RegionNotes() {
  const told = notes.value["prompt"]?.reading.regions?.notes ?? [];
  const useless = !divides.value && changed.value.length > 0;
  return (
    <div class="region-notes">
      {useless ? (
        <OtherDialect severity="warning" words="These settings do nothing in this prompt dialect." />
      ) : (
        told.map((one) => (
          <p class={`note ${one.severity}`}>
            <span class="severity">{one.severity}</span> {one.message}
          </p>
        ))
      )}
      <button type="button" class="quiet" data-action="show-regions" onClick={() => (stageTab.value = "regions")}>Show regions</button>
    </div>
  );
}

/** Said where the dialect has no words for regions, with the one that has. */
export function OtherDialect({ severity, words }: { severity: "info" | "warning"; words: string }) {
  const [other] = form.value?.dividing ?? [];
  return (
    <p class={`note ${severity} other-dialect`}>
      <span>
        <span class="severity">{severity}</span> {words}
      </span>
      {other && (
        <button type="button" class="remedy" data-action="other-dialect" onClick={() => setValue("dialect", other)}>
          use “{other}”
        </button>
      )}
    </p>
  );
}
