import assert from "node:assert/strict";
import { test } from "node:test";
import { advise, left } from "./words";

const say = (code: number, had = true, said?: string) =>
  advise({ code, shown: had ? "a.b.c" : undefined, ...(said ? { said: { code: said, message: "the audience is another one" } } : {}) });

test("a token is asked for where one is missing, refused, expired or revoked", () => {
  for (const refusal of [say(4401, false), say(4401), say(4401, true, "token_expired"), say(4403), say(4408, false)]) {
    assert.equal(refusal?.ask, true, refusal?.text);
  }
  for (const refusal of [say(4408), say(4429), say(1013), say(1008), say(1009)]) {
    assert.equal(refusal?.ask, false, refusal?.text);
  }
});

test("what is told differs where what is to be done does", () => {
  assert.match(say(4401, false)!.text, /people who have a token/);
  assert.match(say(4401, true, "bad_token")!.text, /did not accept your token: the audience is another one\.$/);
  assert.match(say(4401)!.text, /did not accept your token\.$/);
  assert.match(say(4401, true, "token_expired")!.text, /expired/);
  assert.match(say(4403)!.text, /revoked/);
  assert.match(say(4429, true, "too_many_connections")!.text, /Close some/);
  assert.match(say(4429)!.text, /slower/);
  assert.match(say(1008)!.text, /Reload.*1008/);
});

test("nothing is told of what passes by itself", () => {
  for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 4999]) assert.equal(say(code), undefined, String(code));
});

test("the end of a token is told when it is near", () => {
  assert.equal(left(3_600_000), "");
  assert.equal(left(600_000), "access ends in 10 min");
  assert.equal(left(60_001), "access ends in 2 min");
  assert.equal(left(59_500), "access ends in 60 s");
  assert.equal(left(900), "access ends in 1 s");
  assert.equal(left(-5_000), "access is ending");
});
