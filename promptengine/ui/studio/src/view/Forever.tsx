// The switch beside Generate.
import { forever, toggleForever } from "../forever";
import { form } from "../state";
import { Icon } from "./Icon";

export function Forever() {
  const on = forever.value;
  const label = on ? "Cancel generate forever" : "Generate forever";
  return (
    <button
      type="button"
      class="quiet forever"
      aria-pressed={on}
      aria-label={label}
      title={on ? `${label}; Interrupt ends the image that is made` : `${label}: always one more, as it is shown then`}
      disabled={!form.value}
      onClick={toggleForever}
    >
      <Icon name="forever" />
    </button>
  );
}
