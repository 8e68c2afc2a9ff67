// Which actions are possible in a breaker's present state. Pure.

const HELD = { force_open: ["FORCED_OPEN", "forced open"], disable: ["DISABLED", "disabled"], observe: ["OBSERVING", "observing"] };

/** Why an action is impossible now; empty if it is possible. state: the breaker's, or UNKNOWN. */
export function impossible(action, breaker, state) {
  if (state === "UNKNOWN") return `${breaker.owner} doesn’t answer`;
  // An order is for all instances.
  const everywhere = (wanted) => [{ state }, ...breaker.others].every((one) => one.state === wanted);
  if (action === "reset") return everywhere("CLOSED") && !hasCounted(breaker) ? "It is closed, and has counted nothing" : "";
  if (action === "trip") return everywhere("OPEN") ? "It is open already" : "";
  const [held, word] = HELD[action] ?? [];
  return held && everywhere(held) ? `It is ${word} already` : "";
}

function hasCounted(breaker) {
  const { failure_count: failed, slow_count: slow, learned, others } = breaker;
  return Boolean(failed || slow || learned?.evidence > 0 || others.some((one) => one.failure_count));
}
