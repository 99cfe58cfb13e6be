// What can stand where the image stands. A new one is a file of its own and a line here.
import { computed } from "@preact/signals";
import { h, type ComponentType } from "preact";
import { pages } from "../cards/pages";
import { startsFromImage } from "../state";
import { Cards } from "./Cards";
import { Regions } from "./Regions";
import { ShownImage } from "./ShownImage";
import { Source } from "./Source";

export { stageTab } from "../onStage";

export interface StageTab {
  id: string;
  /** WebUI's word for it. */
  label: string;
  Body: ComponentType;
  /** Whether it is offered now; by default always. */
  fits?: () => boolean;
}

export const STAGE_TABS: readonly [StageTab, ...StageTab[]] = [
  { id: "image", label: "Image", Body: ShownImage },
  { id: "regions", label: "Regional prompts", Body: Regions },
  { id: "source", label: "Source", Body: Source, fits: () => startsFromImage.value },
];

/** The tabs of cards, one for each kind of files that the server has cards of. */
export const cardTabs = computed<StageTab[]>(() =>
  pages.value.map((page) => ({ id: page.kind, label: page.label, Body: () => h(Cards, { page }) })),
);
