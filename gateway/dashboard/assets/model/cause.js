// What open breakers have in common, by the topology and by what is open. Pure; without evidence it finds nothing.

const OUT = new Set(["OPEN", "HALF_OPEN"]);

/**
 * The targets that several open breakers depend on: [{target, count}], the largest group first.
 *
 * breakers: [{state, owner, target}]: the process that has it, and the process or database that it guards. A
 * breaker depends on its target, and on what the target's own breakers depend on, if these are open or half-open
 * too. A breaker held open by an operator is no outage, and takes no part. Each breaker is in one group at most.
 */
export function commonCauses(breakers) {
  const out = breakers.filter(({ state }) => OUT.has(state));
  let rest = out.filter(({ state }) => state === "OPEN").map((one) => depths(one, out));
  const groups = [];
  for (let best = deepest(rest); best.count > 1; best = deepest(rest)) {
    groups.push({ target: best.target, count: best.count });
    rest = rest.filter((found) => !found.has(best.target));
  }
  return groups;
}

/** By target, how many breakers are between it and the calls of `breaker`. */
function depths(breaker, out, depth = 0, found = new Map()) {
  if (found.has(breaker.target)) return found;
  found.set(breaker.target, depth);
  for (const behind of out) if (behind.owner === breaker.target) depths(behind, out, depth + 1, found);
  return found;
}

/** The target that most breakers depend on; of several, the one that is furthest behind. */
function deepest(all) {
  const candidates = new Map();
  for (const found of all) {
    for (const [target, depth] of found) {
      const known = candidates.get(target) ?? { target, count: 0, depth: 0 };
      candidates.set(target, { target, count: known.count + 1, depth: Math.max(known.depth, depth) });
    }
  }
  return [...candidates.values()].sort((a, b) => b.count - a.count || b.depth - a.depth)[0] ?? { count: 0 };
}
