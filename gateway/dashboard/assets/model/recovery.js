// When and how a breaker leaves its present state, for its row and its sheet.

import { duration, moment } from "./format.js";

const HELD = new Set(["FORCED_OPEN", "DISABLED", "OBSERVING"]);

/**
 * {short, sentence, left}: for the row, for the sheet, and the share of the wait that remains; null: no wait that
 * ends by itself. Empty texts: there is nothing to say.
 */
export function recovery(model, breaker, state) {
  const now = model.now();
  if (state === "OPEN" && breaker.probe_at !== null) return probe(breaker, now);
  if (state === "HALF_OPEN") return out(model, breaker, now);
  if (HELD.has(state)) return held(model.orders.hold(breaker), now);
  return { short: "", sentence: "", left: null };
}

function probe({ probe_at: at, since }, now) {
  const wait = Math.max(0, at - now);
  const short = wait < 0.5 ? "probe is due" : `probe in ${duration(Math.ceil(wait))}`;
  return { short, sentence: "", left: Math.min(1, wait / Math.max(at - since, 1)) };
}

function out(model, breaker, now) {
  const begin = model.outage(breaker);
  const short = `out for ${duration(now - begin)}`;
  return { short, sentence: `Out for ${duration(now - begin)}, since ${moment(begin, now)}`, left: null };
}

function held(order, now) {
  const never = "It won’t recover by itself: it stays so until";
  if (!order?.until) return { short: "stays so until it is reset", sentence: `${never} it is reset`, left: null };
  const end = moment(order.until, now);
  const left = Math.min(1, Math.max(0, (order.until - now) / Math.max(order.until - order.time, 1)));
  return { short: `stays so until ${end}, or a reset`, sentence: `${never} ${end}, or until it is reset`, left };
}
