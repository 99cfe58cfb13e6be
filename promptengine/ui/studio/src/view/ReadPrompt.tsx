// WebUI's arrow: settings are read from an infotext that stands in the prompt box.
import { applyInfotext } from "../infotext";
import { notice } from "../notices";
import { onStage } from "../onStage";
import { shownAt } from "../state";
import { Icon } from "./Icon";

const WORDS = "Read generation parameters from prompt";

export function ReadPrompt() {
  return (
    <button
      type="button"
      class="quiet"
      data-action="read-prompt"
      aria-label={WORDS}
      title={`${WORDS}, or from the image shown where the prompt is empty`}
      onClick={read}
    >
      <Icon name="read" />
    </button>
  );
}

function read(): void {
  const prompt = String(shownAt("prompt"));
  const here = onStage();
  const infotext = prompt.trim() ? prompt : here?.job.result?.images[here.image]?.infotext;
  if (infotext) void applyInfotext({ infotext });
  else notice.value = { text: "Paste an infotext into the prompt first.", bad: true };
}
