// When a process ran, by its reports and by the silences that this page has seen.

const MOST_STARTS = 20;

export class Uptime {
  constructor() {
    /** Whether it answered last; null before the first report. */
    this.answers = null;
    this.starts = [];
    /** The time of its last report. */
    this.lastReport = Infinity;
    this.silences = new Map();
  }

  /** Update from a report. Silences that ended before `oldest` are deleted. */
  take(message, now, oldest) {
    const first = !this.starts.length;
    const news = message.starts.filter((start) => first || start > this.lastReport);
    // The gateway's history begins with a start that is new to this page: the time before is unknown.
    if (!first && news.length && news[0] === message.starts[0]) this.silences.set(this.lastReport, news[0]);
    this.starts = [...this.starts, ...news].slice(-MOST_STARTS);
    for (const [from, until] of message.gaps) this.silences.set(from, until);
    for (const [from, until] of this.silences) if (until < oldest) this.silences.delete(from);
    this.answers = message.answers;
    if (message.answers) this.lastReport = now;
    else if (this.lastReport === Infinity) this.lastReport = message.gaps.at(-1)[0];
  }

  /** [from, until] of each silence, oldest first. */
  gaps(now) {
    const gaps = [...this.silences].sort((a, b) => a[0] - b[0]);
    if (this.answers === false && gaps.length) gaps.at(-1)[1] = now;
    return gaps;
  }
}
