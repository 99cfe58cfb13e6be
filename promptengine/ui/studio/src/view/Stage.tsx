// The middle: the image, or another tab that stands in its place.
import { running } from "../jobs";
import { STAGE_TABS, stageTab } from "./stageTabs";

export function Stage() {
  const open = STAGE_TABS.find((one) => one.id === stageTab.value) ?? STAGE_TABS[0];
  return (
    <section class="stage" aria-label={open.label} aria-busy={running.value !== null}>
      {STAGE_TABS.length > 1 && (
        <div class="tabs">
          {STAGE_TABS.map((one) => (
            <button type="button" key={one.id} data-tab={one.id} aria-pressed={one === open} onClick={() => (stageTab.value = one.id)}>
              {one.label}
            </button>
          ))}
        </div>
      )}
      <div class="stage-body">
        <open.Body />
      </div>
    </section>
  );
}
