// Where an image can be sent within the page; history, PNG Info and the image's details offer the same places.
import { enlarged } from "./extras";
import { source } from "./inpaint";
import { stageTab } from "./onStage";
import { go } from "./route";
import { setMode, type Mode } from "./start";

/** An image on its way to another view. */
export interface SentImage {
  /** Its file. */
  blob(): Promise<Blob>;
  /** Its file's name. */
  name: string;
  /** What it says of itself; empty for nothing. */
  infotext: string;
}

/** A place that takes an image, its infotext, or both. */
export interface Target {
  id: string;
  /** WebUI's words behind "Send to". */
  label: string;
  /** Whether the form takes over what the infotext says before: if it says anything, or it must; never where false. */
  settings?: "needed" | false;
  /** Take what it needs of an image and show the view; what is wrong is thrown in words for a person. */
  take(image: SentImage): Promise<void>;
}

/** In WebUI's order. */
export const TARGETS: readonly Target[] = [
  { id: "txt2img", label: "txt2img", settings: "needed", take: async () => go("txt2img") },
  { id: "img2img", label: "img2img", take: (image) => startFrom(image, "img2img") },
  { id: "inpaint", label: "inpaint", take: (image) => startFrom(image, "inpaint") },
  { id: "extras", label: "extras", settings: false, take: enlarge },
];

async function startFrom(image: SentImage, mode: Mode): Promise<void> {
  await source.receive(await image.blob());
  setMode(mode);
  go("img2img");
  stageTab.value = "source";
}

async function enlarge(image: SentImage): Promise<void> {
  await enlarged.receive(await image.blob());
  go("extras");
}
