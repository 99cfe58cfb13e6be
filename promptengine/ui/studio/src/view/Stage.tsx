// The middle: the image, or another tab that stands in its place.
import { running } from "../jobs";
import { STAGE_TABS, cardTabs, stageTab } from "./stageTabs";

export function Stage() {
  const tabs = [...STAGE_TABS.filter((one) => one.fits?.() ?? true), ...cardTabs.value];
  const open = tabs.find((one) => one.id === stageTab.value) ?? STAGE_TABS[0];
  return (
    <section class="stage" aria-label={open.label} aria-busy={running.value !== null}>
      {tabs.length > 1 && (
        <div class="tabs">
          {tabs.map((one) => (
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
