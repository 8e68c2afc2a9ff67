// Who ordered what: the page asks the admin API, which tells it admins alone, and forgets it when they sign out.

export class Names {
  /** learned(): called when there are new names, or none any more. */
  constructor(admin, learned) {
    this.admin = admin;
    this.learned = learned;
    this.forget();
  }

  forget() {
    this.byId = new Map();
    this.asked = new Set();
  }

  of(order) {
    return this.byId.get(order.id) ?? "an operator";
  }

  /** Ask for the names of new orders, once for each breaker. breakers: all of the page. */
  async learn(orders, breakers) {
    if (!this.admin.token) return;
    const news = orders.filter((one) => !this.asked.has(one.id) && !one.by_signal);
    news.forEach((one) => this.asked.add(one.id));
    // The process of a reload reports it with each of its breakers.
    const name = (one) => one.breaker || breakers.find((breaker) => breaker.owner === one.process)?.name;
    const wanted = new Set(news.map(name).filter(Boolean));
    await Promise.all([...wanted].map((breaker) => this.#ask(breaker)));
  }

  async #ask(breaker) {
    const { byId } = this;
    const report = await this.admin.send("GET", `/${breaker}`).catch(() => null);
    for (const { id, who } of report?.commands ?? []) byId.set(id, who);
    // After a sign-out meanwhile these are not shown.
    if (byId === this.byId && report?.commands?.length) this.learned();
  }
}
