// One WebSocket to the gateway that served the page, kept alive for ever: see "Client rules" in proto/PROTOCOL.md.

export type State = "connecting" | "live" | "stale" | "reconnecting" | "closed";

export interface Events {
  state(state: State, detail: { retryAt?: number; reason?: string }): void;
  message(m: { type: string } & Record<string, unknown>): void;
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

export class Connection {
  private socket?: WebSocket;
  private attempt = 0;
  private openedAt = 0;
  private silence?: number;
  private retry?: number;
  private hintMs?: number;
  private heartbeatMs = 15_000;

  constructor(
    private readonly url: string,
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
    this.hintMs = undefined;
    socket.onmessage = (e) => this.received(socket, String(e.data));
    socket.onclose = (e) => this.lost(socket, e.code, e.reason);
    this.watchSilence();
  }

  send(m: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(m));
  }

  /** Drops this connection and dials anew, for an answer that cannot be believed. */
  again(): void {
    this.socket?.close();
  }

  private received(socket: WebSocket, data: string): void {
    if (socket !== this.socket) return;
    this.watchSilence();
    const m = JSON.parse(data);
    if (m.type === "ready") {
      this.openedAt = Date.now();
      this.heartbeatMs = m.heartbeat_ms;
    }
    if (m.type === "goodbye") this.hintMs = m.reconnect_after_ms;
    this.events.state("live", {});
    this.events.message(m);
  }

  /** The gateway says something at every heartbeat. Silence for two of them is a dead connection. */
  private watchSilence(): void {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.silence = setTimeout(() => {
      this.events.state("stale", { reason: "the gateway is silent" });
      if (socket) this.lost(socket, 1006, "silence");
      socket?.close();
    }, 2 * this.heartbeatMs);
  }

  private lost(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.socket) return;
    this.socket = undefined;
    clearTimeout(this.silence);
    if (stopCodes.has(code)) {
      this.events.state("closed", { reason: reason || String(code) });
      return;
    }
    if (this.openedAt && Date.now() - this.openedAt > settled) this.attempt = 0;
    this.openedAt = 0;
    const wait = this.hintMs ?? this.backoff(code);
    this.attempt++;
    this.events.state("reconnecting", { retryAt: Date.now() + wait, reason });
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.open();
    }, wait);
  }

  private backoff(code: number): number {
    if (this.attempt === 0 && !reconnectCodes.has(code)) {
      return backOffFrom + Math.random() * (backOffMost - backOffFrom);
    }
    return Math.random() * Math.min(backoffMost, backoffBase * 2 ** this.attempt);
  }

  private hurry(): void {
    if (this.retry === undefined) return;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.open();
    }, Math.random() * 250); // everybody's network comes back at the same moment
  }
}
