import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Connection, type Detail, type State } from "./connection";

/** A socket in the test's hands. */
class Socket {
  static OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  sent: { type: string; [member: string]: unknown }[] = [];
  onopen?: () => void;
  onmessage?: (e: { data: string }) => void;
  onclose?: (e: { code: number; reason: string }) => void;

  constructor(readonly url: string) {
    Socket.all.push(this);
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  says(m: object): void {
    this.onmessage?.({ data: JSON.stringify(m) });
  }
  ready(): void {
    this.says({ type: "ready", protocol: 1, gateway: "gw", heartbeat_ms: 15000, epoch: 1 });
  }
  ends(code: number): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.ends(1005);
  }
}

/** A page with a token, or none, and what its connection tells it. */
function page(t: TestContext, token?: string) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_769_860_804_250 });
  Object.assign(globalThis, { WebSocket: Socket, addEventListener() {}, document: { hidden: false, addEventListener() {} } });
  Socket.all = [];
  const it = {
    token,
    states: [] as [State, Detail][],
    readies: [] as boolean[],
    messages: [] as string[],
    refused: [] as string[],
    connection: undefined as unknown as Connection,
    /** The latest socket. */
    get socket(): Socket {
      return Socket.all.at(-1)!;
    },
    get state(): State {
      return it.states.at(-1)![0];
    },
    get detail(): Detail {
      return it.states.at(-1)![1];
    },
    wait: (ms: number) => t.mock.timers.tick(ms),
  };
  it.connection = new Connection("ws://gw/ws", () => it.token, {
    state: (s, d) => it.states.push([s, d]),
    ready: (_, again) => it.readies.push(again),
    message: (m) => it.messages.push(m.type),
    refused: (offered, message) => it.refused.push(`${offered}: ${message}`),
  });
  it.connection.open();
  return it;
}

const auth = (token: string) => ({ type: "auth", token });

test("a token is the first message, and nothing is believed before ready", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  assert.deepEqual(it.socket.sent, [auth("t1")]);
  it.socket.says({ type: "click_update", link: "a" });
  assert.deepEqual(it.messages, []);
  it.socket.ready();
  it.socket.says({ type: "heartbeat" });
  assert.deepEqual([it.readies, it.messages, it.state], [[false], ["heartbeat"], "live"]);
});

test("who has no token knocks, so that a gateway that wants one says so at once", (t) => {
  const it = page(t);
  it.socket.open();
  assert.deepEqual(it.socket.sent, [{ type: "subscribe", links: [] }]);
  it.socket.says({ type: "error", code: "bad_message", message: "the first message must be an auth" });
  it.socket.ends(4401);
  assert.deepEqual([it.state, it.messages], ["closed", []], "what the error says, the page says better");
  assert.equal(it.detail.shown, undefined);
  it.wait(60_000);
  assert.equal(Socket.all.length, 1, "it does not come back by itself");
});

test("a new token is shown on the connection, and ready comes again", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ready();
  it.connection.renew();
  assert.equal(it.socket.sent.length, 1, "the same token is not shown twice");
  it.token = "t2";
  it.connection.renew();
  assert.deepEqual(it.socket.sent[1], auth("t2"));
  it.socket.ready();
  assert.deepEqual(it.readies, [false, true]);
  assert.equal(Socket.all.length, 1);
});

// {"sub":"ada","x":"??>"} has both characters that URLs have in place of base64's; {"sub":"bob"}.
const [ada1, ada2, bob] = ["h.eyJzdWIiOiJhZGEiLCJ4IjoiPz8-In0.s", "h.eyJzdWIiOiJhZGEifQ.s", "h.eyJzdWIiOiJib2IifQ.s"];

test("a token of somebody else opens another connection", (t) => {
  const it = page(t, ada1);
  it.socket.open();
  it.socket.ready();
  it.token = ada2;
  it.connection.renew();
  assert.deepEqual([Socket.all.length, it.socket.sent[1]], [1, auth(ada2!)]);
  it.socket.ready();
  it.token = bob;
  it.connection.renew();
  it.socket.open();
  assert.deepEqual([Socket.all.length, it.socket.sent[0]], [2, auth(bob!)]);
});

test("a new token that is refused leaves the connection as it was", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ready();
  it.token = "t2";
  it.connection.renew();
  it.socket.says({ type: "error", code: "bad_token", message: "signed by nobody" });
  assert.deepEqual(it.refused, ["t2: signed by nobody"]);
  assert.deepEqual([it.messages, it.state], [[], "live"]);
  it.socket.ends(4401);
  assert.equal(it.detail.shown, "t1", "which is what the connection had");
});

test("a gateway that is too busy for a new token is shown it again", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ready();
  it.token = "t2";
  it.connection.renew();
  it.socket.says({ type: "error", code: "overloaded", message: "later" });
  it.wait(5_000);
  assert.deepEqual(it.socket.sent.slice(1), [auth("t2"), auth("t2")]);
});

test("a close says what the error before it said, and not one of long ago", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ready();
  it.socket.says({ type: "error", code: "token_expired", message: "it has expired" });
  it.socket.ends(4401);
  assert.equal(it.detail.said?.code, "token_expired");
  it.connection.renew();
  it.socket.open();
  it.socket.ready();
  it.socket.says({ type: "error", code: "rate_limited", message: "slowly" });
  it.wait(2_000);
  it.socket.ends(4403);
  assert.deepEqual([it.state, it.detail.said], ["closed", undefined]);
});

test("a new token opens a connection where there is none, and replaces one that is not ready", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ends(4401);
  it.token = "t2";
  it.connection.renew();
  assert.equal(Socket.all.length, 2);
  it.socket.open();
  assert.deepEqual(it.socket.sent, [auth("t2")]);
  it.token = "t3";
  it.connection.renew();
  assert.equal(Socket.all.length, 3);
  it.socket.open();
  assert.deepEqual(it.socket.sent, [auth("t3")]);
  assert.equal(it.state, "connecting", "and what became of the one before is not told");
  it.wait(20_000);
  assert.equal(Socket.all.length, 3);
});

test("codes that pass are waited for, those that do not are not", (t) => {
  for (const code of [1003, 1007, 1008, 1009, 4401, 4403]) {
    const it = page(t, "t1");
    it.socket.open();
    it.socket.ends(code);
    it.wait(60_000);
    assert.deepEqual([it.state, Socket.all.length], ["closed", 1], String(code));
    t.mock.timers.reset();
  }
  for (const [code, from, to] of [[1006, 0, 500], [1012, 0, 500], [1013, 1000, 5000], [4408, 1000, 5000], [4429, 1000, 5000], [4999, 1000, 5000]] as const) {
    const it = page(t, "t1");
    it.socket.open();
    it.socket.ends(code);
    const wait = it.detail.retryAt! - Date.now();
    assert.ok(it.state === "reconnecting" && wait >= from && wait <= to, `${code} waits ${wait}`);
    it.wait(wait + 1);
    assert.equal(Socket.all.length, 2, String(code));
    t.mock.timers.reset();
  }
});

test("a page that did not say who it is in time wants a token, not another try", (t) => {
  const it = page(t);
  it.socket.open();
  it.socket.ends(4408);
  assert.equal(it.state, "closed");
});

test("a goodbye says when to come back, and silence is an end", (t) => {
  const it = page(t, "t1");
  it.socket.open();
  it.socket.ready();
  it.socket.says({ type: "goodbye", reason: "drain", reconnect_after_ms: 4200 });
  it.socket.ends(1012);
  it.wait(4_199);
  assert.equal(Socket.all.length, 1);
  it.wait(1);
  assert.equal(Socket.all.length, 2);
  it.socket.open();
  it.socket.ready();
  it.wait(29_999);
  assert.equal(it.state, "live");
  it.wait(1);
  assert.equal(it.state, "reconnecting");
});
