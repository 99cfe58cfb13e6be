import { render } from "preact";
import { resume } from "./jobs";
import { loadForm, loadNetworks } from "./state";
import { showTheme } from "./store";
import { App } from "./view/App";
import "./style.css";

showTheme();
resume();
void loadForm();
void loadNetworks();
window.addEventListener("focus", () => void loadNetworks());
const place = document.getElementById("app");
if (place) render(<App />, place);
