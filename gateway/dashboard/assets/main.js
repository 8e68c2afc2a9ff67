// Puts the page together: what arrives on the stream is kept in the model, and drawn from there.

import { Admin } from "./admin.js";
import { Detail } from "./detail.js";
import { STATES, make, moment, number, put, time } from "./format.js";
import { BUCKET, Model, SPAN } from "./model.js";
import { Row, summary } from "./rows.js";
import { Stream } from "./stream.js";

const MOST_EVENTS = 60;
const $ = (id) => document.getElementById(id);

const model = new Model();
const rows = new Map();
const admin = new Admin($("sign"), $("signing"));
const detail = new Detail($("detail"), model, admin);
let lostAt = null;

function draw() {
  for (const breaker of model.all()) {
    if (!rows.has(breaker.name)) {
      rows.set(breaker.name, new Row(breaker, (name) => detail.show(name)));
      $("rows").append(rows.get(breaker.name).element);
    }
    rows.get(breaker.name).draw(model, breaker);
  }
  drawSummary();
  drawEvents();
  detail.draw();
}

function drawSummary() {
  const [headline, subline, kind] = summary(model);
  put($("headline"), headline);
  put($("subline"), subline);
  document.documentElement.dataset.kind = kind;
  const open = model.all().filter((one) => model.rejects(one)).length;
  document.title = open ? `${open} open · Breakers` : "Breakers";
  const icon = `/dashboard/assets/${open ? "open" : "closed"}.svg`;
  if ($("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon);
}

let drawn = "";

function drawEvents() {
  const events = model.events(MOST_EVENTS);
  $("no-events").hidden = events.length > 0;
  const key = events.map((one) => `${one.breaker}${one.time}`).join();
  if (key === drawn) return;
  drawn = key;
  $("events").replaceChildren(
    ...events.map((one) =>
      make("li", one.observed ? "observed" : "", {},
        make("time", "", { dateTime: new Date(one.time * 1000).toISOString() }, moment(one.time, model.now())),
        make("span", "which", {}, one.breaker),
        make("span", `became ${one.new}`, {}, `${one.observed ? "would be " : ""}${STATES[one.new].toLowerCase()}`),
        make("span", "reason", {}, one.reason),
      ),
    ),
  );
}

// The connection.

function link(state, pause) {
  const lost = state === "lost";
  if (lost && lostAt === null) lostAt = model.now();
  if (!lost) lostAt = null;
  document.documentElement.classList.toggle("lost", lost);
  document.documentElement.classList.toggle("live", !lost);
  put(
    $("link-text"),
    lost ? `Disconnected since ${time(lostAt)}. Trying again in ${number(Math.ceil(pause))} s.` : "Live",
  );
}

const on = {
  hello: (cast) => model.hello(cast),
  tick: (message) => model.tick(message),
  report: (message) => {
    model.report(message);
    draw();
  },
};
new Stream(on, link);
// Clocks and countdowns go on; while disconnected what is shown stays as it was.
setInterval(() => {
  if (lostAt === null && rows.size && !document.hidden) draw();
}, 1000);

// Light and dark.

const THEMES = ["auto", "light", "dark"];
const LABELS = { auto: "as the system has them", light: "light", dark: "dark" };

function paint(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  put($("theme"), theme.charAt(0).toUpperCase() + theme.slice(1));
  $("theme").setAttribute("aria-label", `Colours: ${LABELS[theme]}`);
}

let theme = localStorage.getItem("theme") ?? "auto";
paint(theme);
$("theme").onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  localStorage.setItem("theme", theme);
  paint(theme);
};

// By keyboard: arrows go from row to row.

$("rows").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
  const buttons = [...$("rows").querySelectorAll("button.name")];
  const place = buttons.indexOf(document.activeElement);
  if (!step || place < 0) return;
  event.preventDefault();
  buttons[Math.min(Math.max(place + step, 0), buttons.length - 1)].focus();
});

// One moment across all rows, under the pointer.

$("breakers").addEventListener("pointermove", (event) => {
  const svg = event.target.closest?.(".past")?.querySelector("svg");
  if (!svg) return hideMoment();
  const box = svg.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const at = model.now() - SPAN + share * SPAN;
  const breaker = model.breakers.get(svg.closest(".row").dataset.name);
  const board = $("breakers").getBoundingClientRect();
  $("crosshair").hidden = false;
  $("crosshair").style.left = `${event.clientX - board.left}px`;
  showTip(event, breaker, at);
});
$("breakers").addEventListener("pointerleave", hideMoment);

function hideMoment() {
  $("crosshair").hidden = true;
  $("tip").hidden = true;
}

function showTip(event, breaker, at) {
  const bucket = breaker.calls_by_time.find((one) => one[0] <= at && at < one[0] + BUCKET) ?? [0, 0, 0, 0, 0, 0];
  const stay = model.stays(breaker).find(([from, until]) => from <= at && at <= until);
  const counts = [
    ["answered", bucket[1]],
    ["failed", bucket[2]],
    ["rejected", bucket[5]],
    ["neutral", bucket[3] + bucket[4]],
  ].filter(([, count]) => count);
  const said = counts.length ? counts.map(([what, count]) => `${number(count)} ${what}`).join(", ") : "no calls";
  $("tip").replaceChildren(
    make("strong", "", {}, time(at)),
    ` ${stay ? STATES[stay[2]].toLowerCase() : "not known"}`,
    make("br"),
    `${said} in ${BUCKET} s`,
  );
  $("tip").hidden = false;
  const width = $("tip").offsetWidth;
  $("tip").style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
  $("tip").style.top = `${event.clientY + 16}px`;
}
