// The time span of the chart: the stack's uptime in a few steps, so that it rarely jumps, up to a quarter of an hour.

export const BUCKET = 5;
/** Seconds of history that the page keeps: the longest span. */
export const SPAN = 900;

// By span, the marked times in seconds before now, and the unit of their labels.
const MARKS = {
  60: [[60, 40, 20], 1, "s"],
  120: [[120, 60], 60, "min"],
  180: [[180, 120, 60], 60, "min"],
  300: [[300, 240, 180, 120, 60], 60, "min"],
  600: [[600, 300], 60, "min"],
  [SPAN]: [[SPAN, 600, 300], 60, "min"],
};

/** The span for a stack that runs since `started`; null: unknown. A step may cut its first bucket. */
export function spanOf(started, now) {
  const age = started === null ? SPAN : Math.floor(now / BUCKET) * BUCKET - started;
  return Object.keys(MARKS).map(Number).find((span) => age <= span) ?? SPAN;
}

/** [seconds before now, label] of each mark, oldest first. */
export function marks(span) {
  const [times, unit, name] = MARKS[span];
  return times.map((ago, place) => [ago, `−${ago / unit}${place ? "" : ` ${name}`}`]);
}

/** 3 minutes · 1 minute */
export const spanInWords = (span) => (span === 60 ? "1 minute" : `${span / 60} minutes`);
