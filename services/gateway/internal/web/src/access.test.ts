import assert from "node:assert/strict";
import { test } from "node:test";
import { Access, type Places, isToken } from "./access";

const [a, b, c] = ["aaa.aaa.aaa", "bbb.bbb.bbb", "ccc.ccc.ccc"];

function places(hash = "", stored?: string, embedded = ""): Places & { kept: Map<string, string>; cleared: number } {
  const kept = new Map<string, string>(stored === undefined ? [] : [["linkpulse-token", stored]]);
  return {
    hash,
    embedded,
    kept,
    cleared: 0,
    clearHash() {
      this.cleared++;
    },
    storage: {
      getItem: (k) => kept.get(k) ?? null,
      setItem: (k, v) => void kept.set(k, v),
      removeItem: (k) => void kept.delete(k),
    },
  };
}

test("a token in the address is taken out of it and kept for this tab", () => {
  const p = places(`#token=${a}`, b, c);
  assert.equal(new Access(p).token, a);
  assert.equal(p.cleared, 1);
  assert.equal(p.kept.get("linkpulse-token"), a);
  assert.equal(new Access({ ...p, hash: "" }).token, a, "after a reload");
});

test("without one in the address the tab's own is used, and then the embedded one", () => {
  assert.equal(new Access(places("", b, c)).token, b);
  const p = places("#somewhere", undefined, c);
  assert.equal(new Access(p).token, c);
  assert.equal(p.cleared, 0);
  assert.equal(p.kept.size, 0, "what every load brings along needs not be kept");
  assert.equal(new Access(places()).token, undefined);
});

test("what is no token is removed from the address and not used", () => {
  for (const hash of ["#token=", "#token=%", "#token=a.b", "#token=a.b.c.d", "#x=1&token=<script>"]) {
    const p = places(hash);
    assert.equal(new Access(p).token, undefined, hash);
    assert.equal(p.cleared, 1, hash);
  }
  const p = places(`#x=1&token=${a}&y`);
  assert.equal(new Access(p).token, a);
});

test("a refused token is not shown again, nor kept", () => {
  const p = places("", b, c);
  const access = new Access(p);
  assert.equal(access.brought, false);
  access.refused(b);
  assert.equal(access.token, c, "the embedded one is next");
  assert.equal(p.kept.size, 0);
  access.refused(c);
  assert.equal(access.token, undefined);
  assert.equal(access.brought, true);
  assert.equal(access.embed(c), false);
  assert.equal(access.embed(""), false);
  assert.equal(access.embed(a), true);
  assert.equal(access.token, a, "the gateway has started anew, with another key");
  assert.equal(access.use(b), true);
  assert.equal(access.token, b, "a person may insist");
});

test("a new token that is refused leaves the one before", () => {
  const p = places("", a);
  const access = new Access(p);
  access.use(b);
  assert.equal(access.token, b);
  access.refused(b);
  assert.equal(access.token, a);
  assert.equal(p.kept.get("linkpulse-token"), a, "after a reload too");
  access.refused(a);
  assert.equal(access.token, undefined);
  assert.equal(p.kept.size, 0);
});

test("what people paste is a token, an address with one, or a header", () => {
  for (const text of [a, ` ${a}\n`, `Bearer ${a}`, `Authorization: Bearer ${a}`, `http://127.0.0.1:8081/?links=x#token=${a}`]) {
    const access = new Access(places());
    assert.equal(access.use(text), true, text);
    assert.equal(access.token, a, text);
  }
  for (const text of ["", "x7Kp2", "a.b", `${a} ${b}`, `http://127.0.0.1/#token=`, "a.b.c".padEnd(5000, "c")]) {
    const access = new Access(places("", b));
    assert.equal(access.use(text), false, text);
    assert.equal(access.token, b, "the one before stays");
  }
});

test("an address that changes brings another token", () => {
  const p = places("", b);
  const access = new Access(p);
  assert.equal(access.readdress("#top"), false);
  assert.equal(access.token, b);
  assert.equal(access.readdress(`#token=${a}`), true);
  assert.equal(access.token, a);
  assert.equal(p.cleared, 1);
});

test("a browser that refuses storage keeps the token as long as the page", () => {
  const p = places(`#token=${a}`);
  const refuse = () => {
    throw new DOMException("denied", "SecurityError");
  };
  p.storage = { getItem: refuse, setItem: refuse, removeItem: refuse };
  const access = new Access(p);
  assert.equal(access.token, a);
  access.refused(a);
  assert.equal(access.token, undefined);
  assert.equal(new Access({ ...p, hash: "" }).token, undefined);
});

test("tokens have three parts", () => {
  assert.equal(isToken("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln_-"), true);
  for (const text of ["", "..", "a.b.", "a.b.c ", "a.b.c=", "ä.b.c"]) assert.equal(isToken(text), false, text);
});
