// The stream of events. It reconnects by itself, also after a silent loss of the connection.

const SILENCE = 4000;
const PAUSES = [500, 1000, 2000, 5000];

export class Stream {
  /** on: {hello, tick, report}, each called with its data; link(isLive) is called when that changes. */
  constructor(on, link) {
    this.on = on;
    this.link = link;
    this.failures = 0;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.retry !== undefined) this.open();
    });
    this.open();
  }

  open() {
    clearTimeout(this.retry);
    this.retry = undefined;
    this.source?.close();
    this.source = new EventSource("/dashboard/events");
    for (const [kind, take] of Object.entries(this.on)) {
      this.source.addEventListener(kind, (event) => {
        this.#received();
        take(JSON.parse(event.data));
      });
    }
    this.source.onerror = () => this.#lost();
    this.#watch();
  }

  #received() {
    this.failures = 0;
    this.link(true);
    this.#watch();
  }

  #watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#lost(), SILENCE);
  }

  #lost() {
    clearTimeout(this.silence);
    this.source.close();
    const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
    this.link(false);
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), pause);
  }
}
