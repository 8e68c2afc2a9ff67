// The light and dark themes.

import { capital, put } from "../model/format.js";
import { keep, recall } from "../model/storage.js";

const THEMES = ["auto", "light", "dark"];
const LABELS = { auto: "as the system has them", light: "light", dark: "dark" };

export function offerThemes(button) {
  let theme = recall("localStorage", "theme") ?? "auto";
  paint(button, theme);
  button.onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep("localStorage", "theme", theme);
    paint(button, theme);
  };
}

function paint(button, theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  put(button, capital(theme));
  button.setAttribute("aria-label", `Colours: ${LABELS[theme]}`);
}
