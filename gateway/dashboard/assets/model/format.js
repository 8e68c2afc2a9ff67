// Formats numbers, times and words for the page. Times are Unix seconds.

const whole = new Intl.NumberFormat("en-GB");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

export const STATES = {
  CLOSED: "Closed",
  HALF_OPEN: "Half-open",
  OPEN: "Open",
  FORCED_OPEN: "Forced open",
  DISABLED: "Disabled",
  OBSERVING: "Observing",
  UNKNOWN: "Unknown",
};

export const number = (value) => whole.format(value);
export const inWords = (count) => WORDS[count] ?? number(count);
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);
export const time = (seconds) => clock.format(seconds * 1000);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function moment(seconds, now) {
  return now - seconds < 43200 ? time(seconds) : `${day.format(seconds * 1000)}, ${time(seconds)}`;
}

const YEAR = 365 * 86400;

/** 42 s · 1 min 12 s · 3 h 12 min · 2 d 4 h · 3 y */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 ? ` ${s % 60} s` : ""}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  if (s < YEAR) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  return s < 100 * YEAR ? `${Math.floor(s / YEAR)} y` : "over 100 y";
}

/** Create an element with classes, properties and children. Strings become text, never markup. */
export function make(tag, classes = "", properties = {}, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set the text only if it differs, so as not to disturb screen readers, selections and animations. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
