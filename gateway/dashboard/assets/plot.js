// A breaker's last quarter of an hour: calls by outcome as bars, and below them its states as a ribbon.

import { BUCKET, SPAN } from "./model.js";
import { number, plural } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 44;
const RIBBON = 4;
const GAP = 3;
// Bottom to top; what must not be overlooked has a least height.
const LAYERS = [
  ["success", [1], 0],
  ["neutral", [3, 4], 0.8],
  ["failure", [2], 3],
  ["rejected", [5], 3],
];

function element(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class Plot {
  constructor() {
    const total = HEIGHT + GAP + RIBBON;
    this.svg = element("svg", {
      class: "plot", viewBox: `0 0 ${SPAN} ${total}`, preserveAspectRatio: "none", role: "img",
    });
    for (const minutes of [5, 10]) {
      const x = SPAN - minutes * 60;
      this.svg.append(element("line", { class: "grid", x1: x, x2: x, y1: 0, y2: total }));
    }
    this.svg.append(element("line", { class: "base", x1: 0, x2: SPAN, y1: HEIGHT, y2: HEIGHT }));
    this.layers = LAYERS.map(([name]) => this.svg.appendChild(element("path", { class: `bar ${name}` })));
    this.ribbon = this.svg.appendChild(element("g", {}));
  }

  /** Returns the height of the scale: calls in one bucket. */
  draw(model, breaker) {
    const start = model.now() - SPAN;
    const shown = breaker.calls_by_time.filter((bucket) => bucket[0] + BUCKET > start);
    const most = Math.max(5, ...shown.map((bucket) => bucket[1] + bucket[2] + bucket[3] + bucket[4] + bucket[5]));
    const paths = LAYERS.map(() => "");
    for (const bucket of shown) {
      let y = HEIGHT;
      LAYERS.forEach(([, places, least], layer) => {
        const count = places.reduce((sum, place) => sum + bucket[place], 0);
        if (!count) return;
        const height = Math.min(Math.max((count / most) * HEIGHT, least), y);
        y -= height;
        paths[layer] += `M${(bucket[0] - start).toFixed(1)} ${y.toFixed(2)}h${BUCKET - 1}v${height.toFixed(2)}h-${BUCKET - 1}z`;
      });
    }
    this.layers.forEach((path, layer) => path.setAttribute("d", paths[layer]));
    this.#drawRibbon(model.stays(breaker), start);
    this.#describe(model.counts(breaker, start));
    return most;
  }

  #drawRibbon(stays, start) {
    const rects = stays.map(([from, until, state]) => {
      const x = Math.max(0, from - start);
      // A short stay is one all the same.
      const width = Math.max(until - start - x, 3);
      return element("rect", { class: `stay ${state}`, x, width, y: HEIGHT + GAP, height: RIBBON });
    });
    this.ribbon.replaceChildren(...rects);
  }

  #describe([succeeded, failed, ignored, cancelled, rejected]) {
    const neutral = ignored + cancelled;
    const said = `Last 15 minutes: ${number(succeeded)} answered, ${number(failed)} failed, ${number(rejected)} rejected`;
    this.svg.setAttribute("aria-label", neutral ? `${said}, ${plural(neutral, "neutral call")}` : said);
  }
}
