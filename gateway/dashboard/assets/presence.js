// When a process was there, as far as its reports tell and as far as this page has heard itself.

const MOST_STARTS = 20;

export class Presence {
  constructor() {
    /** Whether it answered last; null before any report of it. */
    this.answers = null;
    this.starts = [];
    /** When it answered last. */
    this.heard = Infinity;
    this.silences = new Map();
  }

  /** Takes what a report says of the process; silences that ended before `oldest` are forgotten. */
  take(message, now, oldest) {
    const first = !this.starts.length;
    const news = message.starts.filter((start) => first || start > this.heard);
    // What the gateway knows begins with a start that is new to us: of the time before it nobody knows.
    if (!first && news.length && news[0] === message.starts[0]) this.silences.set(this.heard, news[0]);
    this.starts = [...this.starts, ...news].slice(-MOST_STARTS);
    for (const [from, until] of message.gaps) this.silences.set(from, until);
    for (const [from, until] of this.silences) if (until < oldest) this.silences.delete(from);
    this.answers = message.answers;
    if (message.answers) this.heard = now;
    else if (this.heard === Infinity) this.heard = message.gaps.at(-1)[0];
  }

  /** [from, until] of each time in which nothing was heard of it, oldest first. */
  gaps(now) {
    const gaps = [...this.silences].sort((a, b) => a[0] - b[0]);
    if (this.answers === false && gaps.length) gaps.at(-1)[1] = now;
    return gaps;
  }
}
