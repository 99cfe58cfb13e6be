// The views of the page. A new one is a file of its own and a line here.
import { computed } from "@preact/signals";
import type { ComponentType } from "preact";
import { route } from "../route";
import { Extras } from "./Extras";
import { Generate } from "./Generate";
import { History } from "./History";
import { PngInfo } from "./PngInfo";
import { Train } from "./Train";

export interface View {
  /** Its address behind the "#". */
  id: string;
  /** WebUI's word for it. */
  label: string;
  Body: ComponentType;
}

/** The first is shown where the address names none. Views of the same body share what stands in it. */
export const VIEWS: readonly [View, ...View[]] = [
  { id: "txt2img", label: "txt2img", Body: Generate },
  { id: "img2img", label: "img2img", Body: Generate },
  { id: "extras", label: "Extras", Body: Extras },
  { id: "png-info", label: "PNG Info", Body: PngInfo },
  { id: "train", label: "Train", Body: Train },
  { id: "history", label: "History", Body: History },
];

export const shownView = computed<View>(() => VIEWS.find((one) => one.id === route.value) ?? VIEWS[0]);
