// One of a few choices, all of which are seen.
import "./segments.css";

interface Props {
  label: string;
  /** The element's id, which a fault leads to. */
  id: string;
  choices: readonly { id: string; label: string }[];
  value: string;
  give(id: string): void;
  /** The ids of the elements that say more of it. */
  about?: string;
}

export function Segments({ label, id, choices, value, give, about }: Props) {
  return (
    <div class="segments" role="radiogroup" aria-label={label} aria-describedby={about}>
      {choices.map((one, index) => (
        <label key={one.id} class={one.id === value ? "chosen" : ""}>
          <input
            type="radio"
            class="sr"
            name={id}
            id={index === 0 ? id : `${id}-${one.id}`}
            value={one.id}
            checked={one.id === value}
            onChange={() => give(one.id)}
          />
          {one.label}
        </label>
      ))}
    </div>
  );
}
