// What can stand where the image stands. A new one is a file of its own and a line here.
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { ShownImage } from "./ShownImage";

export interface StageTab {
  id: string;
  /** WebUI's word for it. */
  label: string;
  Body: ComponentType;
}

export const STAGE_TABS: readonly [StageTab, ...StageTab[]] = [{ id: "image", label: "Image", Body: ShownImage }];

/** The id of the tab that is open. */
export const stageTab = signal("image");
