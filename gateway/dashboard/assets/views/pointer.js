// Marks the time under the pointer or finger in all rows, with its values.

import { STATES, make, number, time } from "../model/format.js";
import { BUCKET } from "../model/span.js";

const FAR = 16;
const EDGE = 8;

export class Pointer {
  constructor(area, crosshair, tip, model) {
    Object.assign(this, { area, crosshair, tip, model });
    this.at = null;
    area.addEventListener("pointermove", (event) => this.#follow(event));
    area.addEventListener("pointerdown", (event) => this.#follow(event));
    // Lifting a finger is a leave event too; the values stay until the next tap elsewhere.
    area.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#hide());
    document.addEventListener("pointerdown", (event) => area.contains(event.target) || this.#hide());
    addEventListener("scroll", () => this.#hide(), { passive: true });
  }

  #follow(event) {
    const svg = event.target.closest?.(".past")?.querySelector("svg");
    if (!svg) return this.#hide();
    this.at = { x: event.clientX, y: event.clientY, finger: event.pointerType !== "mouse", svg };
    this.draw();
  }

  #hide() {
    this.at = null;
    this.crosshair.hidden = true;
    this.tip.hidden = true;
  }

  /** Redraw while the pointer rests, since the plot moves below it. */
  draw() {
    if (this.at === null) return;
    const { x, svg } = this.at;
    const box = svg.getBoundingClientRect();
    const share = Math.min(Math.max((x - box.left) / box.width, 0), 1);
    const breaker = this.model.breakers.get(svg.closest(".row").dataset.name);
    this.crosshair.hidden = false;
    this.crosshair.style.left = `${x - this.area.getBoundingClientRect().left}px`;
    this.tip.replaceChildren(...this.#words(breaker, this.model.begin() + share * this.model.span()));
    this.tip.hidden = false;
    this.#place();
  }

  #words(breaker, moment) {
    const at = Math.min(moment, this.model.now());
    const bucket = breaker.calls_by_time.find((one) => one[0] <= at && at < one[0] + BUCKET) ?? [0, 0, 0, 0, 0, 0];
    const period = this.model.periods(breaker).find(([from, until]) => from <= at && at <= until);
    const counts = [
      ["answered", bucket[1]],
      ["failed", bucket[2]],
      ["rejected", bucket[5]],
      ["neutral", bucket[3] + bucket[4]],
    ].filter(([, count]) => count);
    const text = counts.length ? counts.map(([what, count]) => `${number(count)} ${what}`).join(", ") : "no calls";
    return [
      make("strong", "", {}, time(at)),
      ` ${period ? STATES[period[2]].toLowerCase() : "not known"}`,
      make("br"),
      `${text} in ${BUCKET} s`,
    ];
  }

  /** Below the pointer if there is room; never below a finger. */
  #place() {
    const { x, y, finger } = this.at;
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const below = y + FAR + height + EDGE <= innerHeight && !finger;
    this.tip.style.left = `${Math.max(EDGE, Math.min(x + FAR, innerWidth - width - EDGE))}px`;
    this.tip.style.top = `${Math.max(EDGE, below ? y + FAR : y - height - FAR)}px`;
  }
}
