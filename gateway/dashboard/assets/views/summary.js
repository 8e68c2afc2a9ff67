// The page's headline, and the line below it.

import { commonCauses } from "../model/cause.js";
import { capital, duration, inWords, plural, time } from "../model/format.js";
import { SPAN } from "../model/span.js";

/** [headline, subline, kind]; kind: open, watch, well or unknown. */
export function summary(model) {
  if (!model.hasReports) return [model.lostAt === null ? "Asking every process…" : "Nothing is known yet.", "\u00a0", "unknown"];
  const all = model.all();
  const of = (...states) => all.filter((one) => states.includes(model.state(one)));
  const [outage, forced, probing, unknown] = [of("OPEN"), of("FORCED_OPEN"), of("HALF_OPEN"), of("UNKNOWN")];
  const open = [...outage, ...forced];
  const held = of("DISABLED", "OBSERVING");
  const text = open.length ? opened(model, all, outage, forced, probing) : otherwise(all, probing, unknown, held);
  const below = open.length ? cost(model, outage.length + probing.length ? [...outage, ...probing] : forced) : traffic(model, all);
  // An old report must not look like the present.
  if (model.lostAt !== null) return ["No connection to the gateway.", `At ${time(model.lostAt)}: ${text} ${below}`, "unknown"];
  return [text, below, kind(open, probing, unknown, held)];
}

function kind(open, probing, unknown, held) {
  if (open.length) return "open";
  return probing.length || unknown.length || held.length ? "watch" : "well";
}

function some(all, list, one, many) {
  return list.length === 1 ? `${list[0].name} ${one}` : `${capital(inWords(list.length))} of ${inWords(all.length)} breakers ${many}`;
}

/** What is open, and what the breakers of the outage have in common. One that is forced open is no outage. */
function opened(model, all, outage, forced, probing) {
  const half = probing.length ? `, ${inWords(probing.length)} half-open` : "";
  if (!outage.length) return `${some(all, forced, "is forced open", "are forced open")}${half}.`;
  const verb = forced.length === 1 ? "is" : "are";
  const besides = `${half}${forced.length ? `, and ${inWords(forced.length)} more ${verb} forced open` : ""}`;
  const text = some(all, outage, `is open${besides}`, `are open${besides}`);
  const causes = commonCauses(all.map((one) => ({ ...one, state: model.state(one) })));
  if (!causes.length) return `${text}.`;
  const [{ count, target }] = causes;
  if (count === outage.length) return `${text}. ${count === 2 ? "Both" : `All ${inWords(count)}`} depend on ${target}.`;
  const groups = causes.map((one, place) => `${inWords(one.count)} ${place ? "" : "depend "}on ${one.target}`);
  return `${text}: ${groups.join(", ")}.`;
}

function otherwise(all, probing, unknown, held) {
  if (probing.length) return `${some(all, probing, "is half-open", "are half-open")}.`;
  if (unknown.length) return `${some(all, unknown, "can’t be seen", "can’t be seen")}.`;
  if (held.length) return `${some(all, held, "is held by an operator", "are held by operators")}.`;
  return `All ${inWords(all.length)} breakers are closed.`;
}

function cost(model, out) {
  const now = model.now();
  const first = Math.min(...out.map((one) => model.outage(one)));
  const rejected = out.reduce((sum, one) => sum + model.counts(one, Math.max(model.outage(one), now - SPAN))[4], 0);
  const next = Math.min(...out.map((one) => one.probe_at ?? Infinity));
  const parts = [
    `Out for ${duration(now - first)}`,
    // The history covers no longer time.
    `${plural(rejected, "call")} rejected in ${now - first > SPAN ? "the last 15 minutes" : "that time"}`,
  ];
  if (next < Infinity) parts.push(next - now < 1 ? "next probe now" : `next probe in ${duration(Math.ceil(next - now))}`);
  return parts.join(" · ");
}

function traffic(model, all) {
  const edges = all.filter((one) => one.edge);
  const calls = edges.reduce((sum, one) => sum + model.perMinute(one), 0);
  const failed = all.reduce((sum, one) => sum + model.counts(one)[1], 0);
  const rejected = all.reduce((sum, one) => sum + model.counts(one)[4], 0);
  const past = failed + rejected
    ? `${plural(failed, "failure")} and ${plural(rejected, "rejection")} in 15 minutes`
    : "no failure and no rejection in 15 minutes";
  return `${plural(calls, "request")} in the last minute · ${past}`;
}
