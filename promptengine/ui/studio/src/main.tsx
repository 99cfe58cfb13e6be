import { render } from "preact";
import { effect } from "@preact/signals";
import { loadPages } from "./cards/pages";
import { loadDataset } from "./dataset";
import { resume, running } from "./jobs";
import { followRoute } from "./route";
import { followScript } from "./scriptCount";
import { loadForm, loadNetworks } from "./state";
import { showTheme } from "./store";
import { loadStyles } from "./styles";
import { App } from "./view/App";
import "./style.css";

showTheme();
followRoute();
resume();
followScript();
void loadForm();
void loadNetworks();
void loadDataset();
void loadPages();
void loadStyles();
effect(() => {
  const percent = Math.round((running.value?.status?.progress ?? 0) * 100);
  document.title = running.value ? `${percent} % · promptengine` : "promptengine";
});
window.addEventListener("focus", () => void loadNetworks());
const place = document.getElementById("app");
if (place) render(<App />, place);
