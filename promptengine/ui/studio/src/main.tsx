import { render } from "preact";
import { effect } from "@preact/signals";
import { loadPages } from "./cards/pages";
import { resume, running } from "./jobs";
import { followRoute } from "./route";
import { loadForm, loadNetworks } from "./state";
import { showTheme } from "./store";
import { loadStyles } from "./styles";
import { App } from "./view/App";
import "./style.css";

showTheme();
followRoute();
resume();
void loadForm();
void loadNetworks();
void loadPages();
void loadStyles();
effect(() => {
  const percent = Math.round((running.value?.status?.progress ?? 0) * 100);
  document.title = running.value ? `${percent} % · promptengine` : "promptengine";
});
window.addEventListener("focus", () => void loadNetworks());
const place = document.getElementById("app");
if (place) render(<App />, place);
