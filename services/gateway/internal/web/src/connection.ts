// One WebSocket to the gateway that served the page, kept alive for ever: see sections 3.3 and 8 of proto/PROTOCOL.md.

export type State = "connecting" | "live" | "stale" | "reconnecting" | "closed";

export interface Message {
  type: string;
  [member: string]: unknown;
}

/** Why a connection is not live. */
export interface Detail {
  retryAt?: number;
  /** Of a close frame; 1006 where there was none. */
  code?: number;
  /** The `error` that came right before the close, if one did. */
  said?: { code: string; message: string };
  /** The token that the gateway was shown last, if it was shown one. */
  shown?: string | undefined;
}

export interface Events {
  state(state: State, detail: Detail): void;
  /** The connection may be used. `again`: it could be before, and the gateway has taken another token. */
  ready(m: Message, again: boolean): void;
  message(m: Message): void;
  /** The gateway did not take another token. The connection goes on with the one before. */
  refused(token: string, message: string): void;
}

const backoffBase = 500;
const backoffMost = 20_000;
/** A connection that lived this long has earned a fresh backoff. */
const settled = 5_000;
/** The classes of close codes in PROTOCOL.md section 8. Whatever is in neither set is "back off". */
const stopCodes = new Set([1003, 1007, 1008, 1009, 4401, 4403]);
const reconnectCodes = new Set([1001, 1005, 1006, 1012]);
const backOffFrom = 1_000;
const backOffMost = 5_000;
/** How long after an `error` a close is taken for what follows from it. */
const lastWords = 1_000;

export class Connection {
  private socket?: WebSocket | undefined;
  private attempt = 0;
  private openedAt = 0;
  private silence?: number;
  private retry?: number | undefined;
  private hintMs?: number | undefined;
  private heartbeatMs = 15_000;
  private said?: { code: string; message: string; at: number } | undefined;
  private shown?: string | undefined;
  /** A token that was sent on a connection that had one, and is not answered yet. */
  private offered?: string | undefined;

  constructor(
    private readonly url: string,
    private readonly token: () => string | undefined,
    private readonly events: Events,
  ) {
    // A laptop that wakes up, a network that comes back, a page out of the back-forward cache: dial at once.
    addEventListener("online", () => this.hurry());
    addEventListener("pageshow", () => this.hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.hurry();
    });
  }

  open(): void {
    this.events.state(this.attempt === 0 ? "connecting" : "reconnecting", {});
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.hintMs = this.said = this.shown = this.offered = undefined;
    this.openedAt = 0;
    socket.onopen = () => this.introduce(socket);
    socket.onmessage = (e) => this.received(socket, String(e.data));
    socket.onclose = (e) => this.lost(socket, e.code);
    this.watchSilence();
  }

  send(m: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m));
  }

  /** Drops this connection and dials anew, for an answer that cannot be believed. */
  again(): void {
    this.socket?.close();
  }

  /** Shows the token of now: on this connection if that is good and somebody's own, on a new one otherwise. */
  renew(): void {
    const token = this.token();
    if (!this.socket || !this.openedAt || subject(token) !== subject(this.shown)) {
      const socket = this.socket;
      this.socket = undefined; // what becomes of it is of no interest any more
      socket?.close();
      clearTimeout(this.retry);
      this.retry = undefined;
      this.attempt = 0;
      this.open();
    } else if (token && token !== this.shown) {
      this.offered = token;
      this.send({ type: "auth", token });
    }
  }

  /**
   * Says who is there, as the first message. Who has no token knocks instead, by asking for nothing: a gateway that wants
   * one says so at once, where it would wait some seconds for it.
   */
  private introduce(socket: WebSocket): void {
    if (socket !== this.socket) return;
    this.shown = this.token();
    this.send(this.shown ? { type: "auth", token: this.shown } : { type: "subscribe", links: [] });
  }

  private received(socket: WebSocket, data: string): void {
    if (socket !== this.socket) return;
    this.watchSilence();
    const m = JSON.parse(data) as Message;
    switch (m.type) {
      case "ready":
        return this.ready(m);
      case "error":
        return this.erred(m);
      case "goodbye":
        this.hintMs = Number(m["reconnect_after_ms"]);
    }
    if (!this.openedAt) return; // without `ready` the epoch of a number is not known
    this.events.state("live", {});
    this.events.message(m);
  }

  private ready(m: Message): void {
    const again = this.openedAt !== 0;
    if (!again) this.openedAt = Date.now();
    if (this.offered) [this.shown, this.offered] = [this.offered, undefined];
    this.heartbeatMs = Number(m["heartbeat_ms"]);
    this.events.state("live", {});
    this.events.ready(m, again);
  }

  private erred(m: Message): void {
    const [code, message] = [String(m["code"]), String(m["message"])];
    this.said = { code, message, at: Date.now() };
    const offered = this.offered;
    if (offered && code === "bad_token") {
      this.offered = undefined;
      return this.events.refused(offered, message);
    }
    if (offered && code === "overloaded") {
      this.offered = undefined;
      setTimeout(() => this.openedAt && this.renew(), between(backOffFrom, backOffMost));
      return;
    }
    if (this.openedAt) this.events.message(m); // else a close follows, which says it
  }

  /** The gateway says something at every heartbeat. Silence for two of them is a dead connection. */
  private watchSilence(): void {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.silence = setTimeout(() => {
      this.events.state("stale", {});
      if (socket) this.lost(socket, 1006);
      socket?.close();
    }, 2 * this.heartbeatMs);
  }

  private lost(socket: WebSocket, code: number): void {
    if (socket !== this.socket) return;
    this.socket = undefined;
    clearTimeout(this.silence);
    const detail: Detail = { code, shown: this.offered ?? this.shown };
    if (this.said && Date.now() - this.said.at < lastWords) detail.said = this.said;
    if (this.openedAt && Date.now() - this.openedAt > settled) this.attempt = 0;
    this.openedAt = 0;
    if (stopCodes.has(code) || (code === 4408 && !this.shown)) {
      this.attempt = 0;
      return this.events.state("closed", detail);
    }
    const wait = this.hintMs ?? this.backoff(code);
    this.attempt++;
    this.events.state("reconnecting", { ...detail, retryAt: Date.now() + wait });
    this.dialIn(wait);
  }

  private backoff(code: number): number {
    if (this.attempt === 0 && !reconnectCodes.has(code)) return between(backOffFrom, backOffMost);
    return between(0, Math.min(backoffMost, backoffBase * 2 ** this.attempt));
  }

  private hurry(): void {
    if (this.retry !== undefined) this.dialIn(between(0, 250)); // everybody's network comes back at the same moment
  }

  private dialIn(wait: number): void {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.open();
    }, wait);
  }
}

/** Whose a token says that it is: a connection cannot change hands. Whether it is true is for the gateway to say. */
function subject(token: string | undefined): unknown {
  try {
    return JSON.parse(atob(token!.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {
    return undefined;
  }
}

function between(from: number, to: number): number {
  return from + Math.random() * (to - from);
}
