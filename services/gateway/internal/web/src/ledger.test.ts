import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "./ledger";

const sub = (link: string, count: number, seq: number) => ({ links: [{ link, count, bots: 0, seq }], denied: [], syncing: [] });
const up = (link: string, count: number, delta: number, seq: number) => ({ link, count, delta, bots: 0, seq, at: 0 });
const shown = (l: Ledger, link: string) => l.entries.get(link)?.shown?.count;

function ready(): Ledger {
  const l = new Ledger();
  l.add("a");
  assert.equal(l.ready(1), true);
  return l;
}

test("deltas add up and counts move", () => {
  const l = ready();
  l.subscribed(sub("a", 10, 100));
  assert.deepEqual(l.update(up("a", 14, 4, 104)), { link: "a", gained: 4, wrong: false });
  assert.equal(shown(l, "a"), 14);
});

test("an update before the answer is ignored", () => {
  const l = ready();
  assert.equal(l.update(up("a", 5, 1, 7)), undefined);
  assert.equal(shown(l, "a"), undefined);
});

test("a delta that does not add up asks to subscribe anew", () => {
  const l = ready();
  l.subscribed(sub("a", 10, 100));
  assert.equal(l.update(up("a", 14, 3, 104))?.wrong, true);
  assert.equal(l.update(up("a", 15, 1, 105)), undefined, "updates are ignored until the answer");
  l.subscribed(sub("a", 15, 105));
  assert.equal(l.update(up("a", 16, 1, 106))?.wrong, false);
});

// A gateway that lags answers a resumed client with less than it has shown, and goes on from there. The screen never goes
// back, and the deltas are right on the wire although they do not add up on the screen.
test("a lagging gateway never takes a shown count back", () => {
  const l = ready();
  l.subscribed(sub("a", 1, 1));
  l.ready(1);
  l.subscribed(sub("a", 0, 0));
  assert.equal(shown(l, "a"), 1);
  assert.deepEqual(l.update(up("a", 2, 2, 2)), { link: "a", gained: 1, wrong: false });
  assert.equal(shown(l, "a"), 2);
});

test("an equal place of the log is accepted in an answer and refused in an update", () => {
  const l = ready();
  l.subscribed(sub("a", 3, 9));
  l.subscribed(sub("a", 3, 9));
  assert.equal(l.entries.get("a")?.status, "live");
  assert.equal(l.update(up("a", 3, 0, 9))?.gained, 0);
});

test("a higher epoch starts afresh, a lower one is refused", () => {
  const l = ready();
  l.subscribed(sub("a", 50, 500));
  assert.equal(l.ready(2), true);
  assert.equal(shown(l, "a"), undefined);
  l.subscribed(sub("a", 3, 4));
  assert.equal(shown(l, "a"), 3);
  assert.equal(l.ready(1), false);
  assert.equal(shown(l, "a"), 3);
});

test("a syncing link keeps what was shown, a denied one shows nothing", () => {
  const l = ready();
  l.subscribed(sub("a", 7, 70));
  l.ready(1);
  l.subscribed({ links: [], denied: [], syncing: ["a"] });
  assert.equal(l.entries.get("a")?.status, "syncing");
  assert.equal(l.visible("a")?.count, 7);
  l.subscribed({ links: [], denied: ["a"], syncing: [] });
  assert.equal(l.entries.get("a")?.status, "denied");
  assert.equal(l.visible("a"), undefined);
});

// Also where a link was seen before: it must look like one that does not exist.
test("a link that a new token does not cover is gone, and back with one that does", () => {
  const l = ready();
  l.add("b");
  l.subscribed({ links: [{ link: "a", count: 7, bots: 1, seq: 70 }, { link: "b", count: 3, bots: 0, seq: 9 }], denied: [], syncing: [] });
  assert.deepEqual(l.unsubscribed({ links: ["b"], reason: "request" }), [], "asked for");
  assert.deepEqual(l.unsubscribed({ links: ["a", "x"], reason: "grant" }), [{ link: "a", gained: 0, wrong: false }]);
  assert.equal(l.visible("a"), undefined);
  assert.equal(l.visible("b")?.count, 3);
  assert.deepEqual(l.denied(), ["a"]);
  assert.equal(l.update(up("a", 8, 1, 80)), undefined, "an update that should not have come");
  l.subscribed(sub("a", 6, 60)); // by a gateway that lags
  assert.equal(l.visible("a")?.count, 7, "it never goes back");
  assert.deepEqual(l.denied(), []);
});
