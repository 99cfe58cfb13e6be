// What can stand where the image stands. A new one is a file of its own and a line here.
import type { ComponentType } from "preact";
import { startsFromImage } from "../state";
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
  { id: "source", label: "Source", Body: Source, fits: () => startsFromImage.value },
];
