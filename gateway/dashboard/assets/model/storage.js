// The browser's storage; if it isn't available, values are kept while the page is open.

const memory = new Map();

export function recall(area, key) {
  try {
    return window[area].getItem(key);
  } catch {
    return memory.get(key) ?? null;
  }
}

/** value: null deletes it. */
export function keep(area, key, value) {
  try {
    if (value === null) window[area].removeItem(key);
    else window[area].setItem(key, value);
  } catch {
    memory.set(key, value);
  }
}
