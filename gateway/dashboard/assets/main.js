// Builds the page: events from the stream update the model, and the views draw the model.

import { Admin } from "./views/admin.js";
import { Detail } from "./views/detail.js";
import { Events } from "./views/events.js";
import { Names } from "./model/names.js";
import { put, time } from "./model/format.js";
import { Model } from "./model/model.js";
import { Axis } from "./views/plot.js";
import { Pointer } from "./views/pointer.js";
import { Reload } from "./views/reload.js";
import { Row } from "./views/rows.js";
import { Stream } from "./model/stream.js";
import { summary } from "./views/summary.js";
import { offerThemes } from "./views/theme.js";

const $ = (id) => document.getElementById(id);

const model = new Model();
const rows = new Map();
const admin = new Admin($("sign"), $("signing"));
const detail = new Detail($("detail"), model, admin);
const names = new Names(admin, () => events.draw(model));
const events = new Events($("events"), $("no-events"), names);
const axis = new Axis($("ticks"));
const pointer = new Pointer($("breakers"), $("crosshair"), $("tip"), model);
new Reload($("reload"), $("reloading"), admin);
admin.onChange(() => {
  names.forget();
  names.learn(model.orders.all(), model.all());
  events.draw(model);
});
offerThemes($("theme"));

function draw() {
  for (const breaker of model.all()) {
    if (!rows.has(breaker.name)) {
      rows.set(breaker.name, new Row(breaker, (name) => detail.show(name)));
      $("rows").append(rows.get(breaker.name).element);
    }
    rows.get(breaker.name).draw(model, breaker);
  }
  axis.draw(model.span());
  drawSummary();
  drawTab();
  names.learn(model.orders.all(), model.all());
  events.draw(model);
  detail.draw();
  pointer.draw();
}

function drawSummary() {
  const [headline, subline, kind] = summary(model);
  put($("headline"), headline);
  put($("subline"), subline);
  document.documentElement.dataset.kind = kind;
}

/** Show the worst state in the tab's title and icon. */
function drawTab() {
  const open = model.all().filter((one) => model.rejects(one)).length;
  const lost = model.lostAt !== null;
  document.title = lost ? "Disconnected · Breakers" : open ? `${open} open · Breakers` : "Breakers";
  const icon = `/dashboard/assets/icons/${lost ? "unknown" : open ? "open" : "closed"}.svg`;
  if ($("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon);
}

// The connection.

function link(live) {
  if (!live && model.lostAt === null) {
    model.lostAt = model.now();
    draw();
  }
  if (live) model.lostAt = null;
  document.documentElement.classList.toggle("lost", !live);
  document.documentElement.classList.toggle("live", live);
  put($("link-text"), live ? "Live" : lostWords());
}

function lostWords() {
  return model.hasReports
    ? `Disconnected since ${time(model.lostAt)}. Trying again.`
    : "Can’t connect: the gateway is gone, or has too many viewers. Trying again.";
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
// Update clocks and countdowns, but not while disconnected.
setInterval(() => {
  if (model.lostAt === null && rows.size && !document.hidden) draw();
}, 1000);

// The arrow keys move between rows.

$("rows").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
  const buttons = [...$("rows").querySelectorAll("button.name")];
  const place = buttons.indexOf(document.activeElement);
  if (!step || place < 0) return;
  event.preventDefault();
  buttons[Math.min(Math.max(place + step, 0), buttons.length - 1)].focus();
});
