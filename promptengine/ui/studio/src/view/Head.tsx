// The bar at the top: the views, and what holds for all of them.
import { useEffect, useRef } from "preact/hooks";
import { connected } from "../jobs";
import { hrefOf } from "../route";
import { setTheme, theme, type Theme } from "../store";
import { Icon } from "./Icon";
import { shownView, VIEWS } from "./views";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };

export function Head() {
  const next = NEXT[theme.value];
  const bar = useRef<HTMLElement>(null);
  const shown = shownView.value;
  useEffect(() => {
    bar.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    window.scrollTo(0, 0);
  }, [shown]);
  return (
    <header>
      <h1>
        <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
          <path d="M12 1c1 7 4 10 11 11-7 1-10 4-11 11-1-7-4-10-11-11 7-1 10-4 11-11z" />
        </svg>
        <span>promptengine</span>
      </h1>
      <nav aria-label="Views" ref={bar}>
        {VIEWS.map((view) => (
          <a key={view.id} href={hrefOf(view.id)} aria-current={view === shown ? "page" : undefined}>
            {view.label}
          </a>
        ))}
      </nav>
      {!connected.value && <span class="lost" role="alert">Connection lost; trying again…</span>}
      <button
        type="button"
        class="icon theme"
        title={`Colors: ${theme.value}`}
        aria-label={`Colors: ${theme.value}; switch to ${next}`}
        onClick={() => setTheme(next)}
      >
        <Icon name={theme.value} />
      </button>
    </header>
  );
}
