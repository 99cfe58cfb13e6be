// Settings of an infotext without a control of their own: seen, and dropped by a click, as in WebUI.
import { dropOverride, overrides } from "../overrides";
import { Icon } from "./Icon";
import "./overrides.css";

export function Overrides() {
  const entries = Object.entries(overrides());
  if (entries.length === 0) return null;
  return (
    <section class="group" aria-label="Override settings" data-group="options">
      <div class="group-head"><h2>Override settings</h2></div>
      <ul class="overrides">
        {entries.map(([name, value]) => (
          <li key={name}>
            <span>{name}: {String(value)}</span>
            <button type="button" class="icon" aria-label={`Drop ${name}`} onClick={() => dropOverride(name)}>
              <Icon name="close" />
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
