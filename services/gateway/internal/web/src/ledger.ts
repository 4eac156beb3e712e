// The client rules of proto/PROTOCOL.md for counts: pure, so that tests feed it messages and look at what it shows.

/** A count and where in the log it is true. Two of a link are ordered by (epoch, seq) alone. */
export interface Reading {
  epoch: number;
  seq: number;
  count: number;
  bots: number;
}

export interface Subscribed {
  links: { link: string; count: number; bots: number; seq: number }[];
  denied: string[];
  syncing: string[];
}

export interface Update {
  link: string;
  count: number;
  delta: number;
  bots: number;
  seq: number;
  at: number;
}

export interface Unsubscribed {
  links: string[];
  reason?: string;
}

export type Status = "waiting" | "syncing" | "live" | "denied";

/** What is known of a watched link. */
export interface Entry {
  status: Status;
  /** What is shown: it survives reconnects and never goes back within an epoch. */
  shown?: Reading;
  /**
   * The count received last on this connection, against which the next delta is checked. It is apart from what is
   * shown: a gateway that lags tells an older count, which is not shown and yet is what its deltas build on.
   * Undefined until the `subscribed` of this connection.
   */
  told?: number;
}

/** What a message changed. `gained` is how much the shown count went up; `wrong` asks for a new subscribe. */
export interface Change {
  link: string;
  gained: number;
  wrong: boolean;
}

export class Ledger {
  readonly entries = new Map<string, Entry>();
  private epoch = 0;

  add(link: string): void {
    if (!this.entries.has(link)) this.entries.set(link, { status: "waiting" });
  }

  remove(link: string): void {
    this.entries.delete(link);
  }

  /** A connection is ready. False: its epoch is older than one seen before, so it must not be believed. */
  ready(epoch: number): boolean {
    if (epoch < this.epoch) return false;
    for (const e of this.entries.values()) {
      e.told = undefined;
      e.status = "waiting";
      if (epoch > this.epoch) e.shown = undefined;
    }
    this.epoch = epoch;
    return true;
  }

  subscribed(m: Subscribed): Change[] {
    const changes: Change[] = [];
    for (const r of m.links) {
      const e = this.entries.get(r.link);
      if (!e) continue;
      e.status = "live";
      e.told = r.count;
      // At the same place of the log it is the same number: equal is accepted.
      changes.push(this.show(r.link, e, r, (shown) => r.seq >= shown));
    }
    for (const link of m.syncing) this.mark(link, "syncing", changes);
    for (const link of m.denied) this.mark(link, "denied", changes);
    return changes;
  }

  /** Ends subscriptions. Only those that a token no longer covers are news: the others were asked for. */
  unsubscribed(m: Unsubscribed): Change[] {
    const changes: Change[] = [];
    if (m.reason === "grant") for (const link of m.links) this.mark(link, "denied", changes);
    return changes;
  }

  /** The links that the token did not cover. Another one may. */
  denied(): string[] {
    return [...this.entries].filter(([, e]) => e.status === "denied").map(([link]) => link);
  }

  /** What a person may see of a link now. One that is denied looks the same whether it exists or not, whatever was before. */
  visible(link: string): Reading | undefined {
    const e = this.entries.get(link);
    return e?.status === "denied" ? undefined : e?.shown;
  }

  update(u: Update): Change | undefined {
    const e = this.entries.get(u.link);
    if (!e || e.told === undefined) return undefined; // not subscribed, or its answer is still on the way
    const wrong = e.told + u.delta !== u.count;
    e.told = wrong ? undefined : u.count;
    if (wrong) e.status = "waiting";
    return { ...this.show(u.link, e, u, (shown) => u.seq > shown), wrong };
  }

  private mark(link: string, status: Status, changes: Change[]): void {
    const e = this.entries.get(link);
    if (!e) return;
    e.status = status;
    e.told = undefined;
    changes.push({ link, gained: 0, wrong: false });
  }

  private show(
    link: string,
    e: Entry,
    r: { seq: number; count: number; bots: number },
    accepts: (shownSeq: number) => boolean,
  ): Change {
    const before = e.shown;
    if (before && !accepts(before.seq)) return { link, gained: 0, wrong: false };
    e.shown = { epoch: this.epoch, seq: r.seq, count: r.count, bots: r.bots };
    return { link, gained: before ? r.count - before.count : 0, wrong: false };
  }
}
