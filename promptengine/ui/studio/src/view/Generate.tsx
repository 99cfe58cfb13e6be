// Images are made here: prompts, settings, the image, and what is told about it.
import { onStage } from "../onStage";
import { form } from "../state";
import { Compose } from "./Compose";
import { Large } from "./Large";
import { Rail } from "./Rail";
import { Side, seedOf } from "./Side";
import { Stage } from "./Stage";

export function Generate() {
  const here = onStage();
  return (
    <main class="generating">
      <Compose />
      {form.value && <Rail form={form.value} lastSeed={seedOf(here?.job.result?.images[here.image])} />}
      <Stage />
      <Side />
      <Large />
    </main>
  );
}
