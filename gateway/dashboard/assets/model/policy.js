// Formats a policy, and the distance of its breaker from tripping.

import { number, plural } from "./format.js";

const PIPS = 12;
const SECONDS = new Set(["reset_timeout", "half_open_timeout", "ramp", "call_timeout", "queue_timeout", "maximum", "threshold", "last_seconds", "window"]);

/** The distance of a breaker from tripping: {pips: number of segments of the meter, text}. */
export function fuse({ failure_count: count, slow_count: slow, policy, learned }) {
  if (!policy || count === undefined) return { pips: 0, text: "" };
  const { trip } = policy;
  if (!trip) return inRow(count, policy.max_failures);
  const by = `opens at ${percent(trip.rate)} of ${extent(trip.window)}`;
  switch (trip.kind) {
    case "ConsecutiveFailures": return inRow(count, trip.n);
    case "FailureCount": return { pips: pips(trip.n), text: `${count} of ${trip.n} in ${extent(trip.window)}` };
    case "FailureRate": return { pips: 0, text: `${count} failed; ${by}` };
    case "SlowCallRate": return { pips: 0, text: `${slow} slow; ${by}` };
    case "Adaptive": return { pips: 0, text: evidence(learned) };
    case "AnyOf": return { pips: 0, text: `${counted(count, slow, trip)}; any of ${trip.strategies.length} rules opens it` };
    default: return { pips: 0, text: `${count} counted` };
  }
}

/** What an adaptive breaker has learned: the evidence for opening, and what is usual. */
function evidence(learned) {
  if (!learned) return "nothing learned yet";
  const { evidence: now, threshold, usual } = learned;
  const so = `${Math.round(now * 10) / 10} of ${Math.round(threshold * 10) / 10} for opening`;
  return usual === null ? `${so}; the usual isn't known yet` : `${so}; usually ${percent(usual)} fail`;
}

const pips = (most) => (most <= PIPS ? most : 0);
const inRow = (count, most) => ({ pips: pips(most), text: `${count} of ${most} in a row` });
const counted = (count, slow, { strategies }) =>
  strategies.some(({ kind }) => kind === "SlowCallRate") ? `${count} failed, ${slow} slow` : `${count} counted`;
const percent = (rate) => `${Math.round(rate * 1000) / 10} %`;

function extent(window) {
  return window?.last_calls ? `${window.last_calls} calls` : `${window?.last_seconds} s`;
}

/** What the policy in shadow would have done since the process started; "" without one. */
export function inShadow({ shadow, policy }) {
  if (!shadow) return "";
  const who = shadowName(policy?.shadow ?? {});
  if (shadow.stopped) return `${who} beside it has stopped: ${shadow.stopped}`;
  const { admitted, rejected } = shadow.calls;
  const { unseen, ...ended } = rejected;
  const lost = sum(ended);
  const opened = shadow.opened ? `opened ${times(shadow.opened)}` : "stayed closed";
  const spared = lost ? `, rejected ${plural(lost, "call")}, ${number(ended.success)} of them good` : "";
  const parts = [`${who} beside it would have ${opened}${spared}`];
  const missed = unseen + admitted.unseen;
  if (missed) parts.push(`It didn’t see how the ${plural(missed, "call")} that the breaker rejected would have ended`);
  if (shadow.state !== "CLOSED") parts.push(`It would be ${shadow.state === "OPEN" ? "open" : "half-open"} now`);
  return parts.map((part) => `${part}.`).join(" ");
}

function shadowName({ trip, max_failures: most }) {
  if (trip) return `${trip.kind}()`;
  return most ? `${plural(most, "failure")} in a row` : "The policy in shadow";
}

const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0);
const times = (count) => (count === 1 ? "once" : `${number(count)} times`);

/** The policy with the file's keys, without those that have no effect. */
export function plainPolicy(policy) {
  const { backoff, max_concurrent: bulkhead, trip } = policy;
  const mute = new Set();
  if (trip) mute.add("max_failures");
  if (!bulkhead) mute.add("max_queue");
  if (backoff?.factor === 1 && !backoff.jitter) mute.add("backoff");
  return plain(policy, mute);
}

/** max failures 7, reset timeout 20 s: changed keys of a policy. */
export function changesInWords(changes) {
  const parts = Object.entries(changes).map(([key, value]) =>
    `${key.replaceAll("_", " ")} ${value === null ? "off" : inWords(key, value).replaceAll("\n", ", ")}`);
  return parts.join(", ");
}

function plain(table, mute = new Set()) {
  const entries = Object.entries(table).filter(([key, value]) => value !== null && value !== false && !mute.has(key));
  return Object.fromEntries(entries.map(([key, value]) => [key.replaceAll("_", " "), inWords(key, value)]));
}

function inWords(key, value) {
  if (Array.isArray(value)) return value.map((one) => inWords(key, one)).join("\n");
  if (typeof value !== "object") return SECONDS.has(key) ? `${value} s` : String(value);
  if (value.strategies) return `${value.kind}:\n${inWords(key, value.strategies)}`;
  const { kind, ...rest } = value;
  const text = Object.entries(plain(rest)).map(([what, much]) => `${what} ${much}`).join(", ");
  return kind ? `${kind}: ${text}` : text;
}
