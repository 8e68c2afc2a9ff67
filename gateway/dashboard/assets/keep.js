// What the browser keeps for this page. Where it may keep nothing, the page remembers as long as it is open.

const memory = new Map();

export function recall(area, key) {
  try {
    return window[area].getItem(key);
  } catch {
    return memory.get(key) ?? null;
  }
}

/** value: null forgets it. */
export function keep(area, key, value) {
  try {
    if (value === null) window[area].removeItem(key);
    else window[area].setItem(key, value);
  } catch {
    memory.set(key, value);
  }
}
