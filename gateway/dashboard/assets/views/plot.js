// A breaker's recent past: calls by outcome as bars, and a ribbon of its states below them. And its time axis.

import { make, number, plural } from "../model/format.js";
import { BUCKET, marks, spanInWords } from "../model/span.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 44;
const RIBBON = 4;
const GAP = 3;
// A short state has this part of the drawing's width.
const SHORTEST = 300;
// From bottom to top. Important outcomes have a minimum height.
const LAYERS = [
  ["success", [1], 0],
  ["neutral", [3, 4], 0.8],
  ["failure", [2], 3],
  ["rejected", [5], 3],
];
// Calls per second at full height: few sizes, so that the scale changes rarely.
const SIZES = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

function element(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The calls in one bucket at full height, if the fullest bucket has `most`. */
function scale(most) {
  const rate = Math.max(1, most / BUCKET);
  const power = 10 ** Math.floor(Math.log10(rate));
  return BUCKET * power * SIZES.find((size) => size * power >= rate);
}

export class Plot {
  constructor() {
    this.svg = element("svg", {
      class: "plot", preserveAspectRatio: "none", role: "img",
    });
    this.grid = this.svg.appendChild(element("g", {}));
    this.base = this.svg.appendChild(element("line", { class: "base", x1: 0, y1: HEIGHT, y2: HEIGHT }));
    this.span = 0;
    this.layers = LAYERS.map(([name]) => this.svg.appendChild(element("path", { class: `bar ${name}` })));
    this.ribbon = this.svg.appendChild(element("g", {}));
  }

  /** Draw; return the scale: the calls in one bucket at full height. */
  draw(model, breaker) {
    const begin = model.begin();
    this.#stretch(model.span());
    const shown = breaker.calls_by_time.filter((bucket) => bucket[0] >= begin);
    const most = scale(Math.max(0, ...shown.map(([, ...counts]) => counts.reduce((a, b) => a + b))));
    this.#drawBars(shown, begin, most);
    this.#drawRibbon(model.periods(breaker), begin);
    this.#describe(model.counts(breaker));
    return most;
  }

  /** Let a unit of the drawing be a second, and the drawing `span` seconds wide. */
  #stretch(span) {
    if (span === this.span) return;
    this.span = span;
    this.svg.setAttribute("viewBox", `0 0 ${span} ${HEIGHT + GAP + RIBBON}`);
    this.base.setAttribute("x2", span);
    this.grid.replaceChildren(...marks(span).slice(1).map(([ago]) =>
      element("line", { class: "grid", x1: span - ago, x2: span - ago, y1: 0, y2: HEIGHT })));
  }

  #drawBars(shown, begin, most) {
    const paths = LAYERS.map(() => "");
    for (const bucket of shown) {
      let y = HEIGHT;
      LAYERS.forEach(([, places, least], layer) => {
        const count = places.reduce((sum, place) => sum + bucket[place], 0);
        if (!count) return;
        const height = Math.min(Math.max((count / most) * HEIGHT, least), y);
        y -= height;
        paths[layer] += `M${bucket[0] - begin} ${y.toFixed(2)}h${BUCKET}v${height.toFixed(2)}h-${BUCKET}z`;
      });
    }
    this.layers.forEach((path, layer) => path.setAttribute("d", paths[layer]));
  }

  #drawRibbon(periods, begin) {
    const rects = periods.map(([from, until, state], place) => {
      const x = Math.max(0, from - begin);
      const end = place === periods.length - 1 ? this.span : until - begin;
      // A short state is drawn, a short gap is not.
      const width = Math.max(end - x, state === "UNKNOWN" ? 0 : this.span / SHORTEST);
      return element("rect", { class: `stay ${state}`, x, width, y: HEIGHT + GAP, height: RIBBON });
    });
    this.ribbon.replaceChildren(...rects);
  }

  #describe([succeeded, failed, ignored, cancelled, rejected]) {
    const neutral = ignored + cancelled;
    const label = `Last ${spanInWords(this.span)}: ${number(succeeded)} answered, ${number(failed)} failed, ${number(rejected)} rejected`;
    this.svg.setAttribute("aria-label", neutral ? `${label}, ${plural(neutral, "neutral call")}` : label);
  }
}

export class Axis {
  /** element: it is filled with a label below each line of the grid. */
  constructor(element) {
    this.element = element;
    this.span = 0;
  }

  draw(span) {
    if (span === this.span) return;
    this.span = span;
    this.element.replaceChildren(...[...marks(span), [0, "now"]].map(([ago, text]) => {
      const label = make("span", "", {}, text);
      label.style.left = `${100 * (1 - ago / span)}%`;
      return label;
    }));
  }
}
