// The page of a gateway: live counts of the links named in its address, ?links=a,b. Everything it does goes through the
// public protocol; nothing here is a special case of the gateway that served it.

import { Access } from "./access";
import { Connection, type Detail, type Message, type State } from "./connection";
import { Door } from "./door";
import { Ledger, type Subscribed, type Unsubscribed, type Update } from "./ledger";
import { Row, ago } from "./row";
import { advise, left, moment, soonMs } from "./words";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const linkRule = /^[A-Za-z0-9._~:-]{1,128}$/;

const ledger = new Ledger();
const rows = new Map<string, Row>();
const changed = new Set<string>();
let state: State = "connecting";
let detail: Detail = {};
let completeTo = 0; // the watermark, by the gateway's clock
let clockAhead = 0; // how far the gateway's clock is ahead of ours
let expiresAt = 0; // of the token, by the gateway's clock; 0: never, as far as is known
let warned = false; // that this is soon
let spokenAt = 0;

const access = new Access({
  hash: location.hash,
  clearHash: () => history.replaceState(null, "", location.pathname + location.search),
  get storage() {
    return sessionStorage;
  },
  embedded: document.body.dataset["token"] ?? "",
});

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const connection = new Connection(`${scheme}//${location.host}/ws`, () => access.token, {
  state(next, why) {
    if (next === state && !why.retryAt) return;
    [state, detail] = [next, why];
    if (next === "closed") void closed(why);
    else if (next === "live") notice("");
    else if (why.code !== undefined) notice(advise(why)?.text ?? "");
    paintState();
  },
  ready,
  message: receive,
  refused(token, message) {
    access.refused(token);
    door.suggest(`The gateway did not accept the new token: ${message}. The one before is still good.`);
  },
});

const door = new Door(
  (text) => {
    if (!access.use(text)) return false;
    connection.renew();
    return true;
  },
  () => `Your token is good until ${moment(expiresAt - clockAhead)}. Paste a new one to take its place.`,
);

function ready(m: Message, again: boolean): void {
  find("gateway").textContent = String(m["gateway"]);
  find("source").hidden = false;
  [expiresAt, warned] = [Number(m["expires_at"] ?? 0), false];
  door.admitted();
  door.offerable(expiresAt > 0 && !access.brought);
  if (again) return subscribe(ledger.denied()); // the other token may cover them
  if (!ledger.ready(Number(m["epoch"]))) return connection.again();
  subscribe([...ledger.entries.keys()]);
}

/** The gateway will not have this page, with the token that it showed or at all. */
async function closed(why: Detail): Promise<void> {
  const advice = advise(why);
  if (!advice?.ask) return notice(advice?.text ?? `The gateway refuses this page: close code ${why.code}.`);
  access.refused(why.shown);
  if (access.token || (await fetchToken())) return connection.renew();
  notice("");
  door.ask(advice.text);
}

/** Looks whether a gateway that writes a token into its page has another one by now. */
async function fetchToken(): Promise<boolean> {
  if (!access.brought) return false;
  try {
    const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    return access.embed(page.body.dataset["token"] ?? "");
  } catch {
    return false; // it is gone: there is nobody to show one to
  }
}

/** Codes of errors that a close follows, which says the same. */
const lastWords = new Set(["bad_token", "token_expired", "token_revoked", "too_many_connections", "overloaded"]);

function receive(m: Message): void {
  switch (m.type) {
    case "subscribed":
      for (const c of ledger.subscribed(m as unknown as Subscribed)) touch(c.link, c.gained);
      break;
    case "unsubscribed":
      for (const c of ledger.unsubscribed(m as unknown as Unsubscribed)) touch(c.link, c.gained);
      break;
    case "click_update": {
      const c = ledger.update(m as unknown as Update);
      if (!c) break;
      touch(c.link, c.gained);
      if (c.wrong) subscribe([c.link]); // the deltas do not add up: ask anew
      break;
    }
    case "heartbeat":
      completeTo = Number(m["complete_to"]);
      clockAhead = Number(m["at"]) - Date.now();
      break;
    case "error":
      if (!lastWords.has(String(m["code"]))) notice(String(m["message"]));
      break;
  }
}

function subscribe(links: string[]): void {
  // A message holds at most 16 KiB: 100 of the longest ids are below that.
  for (let i = 0; i < links.length; i += 100) connection.send({ type: "subscribe", links: links.slice(i, i + 100) });
}

function watch(link: string): void {
  if (rows.has(link)) return;
  ledger.add(link);
  const row = new Row(find<HTMLTemplateElement>("row"), link, () => unwatch(link));
  rows.set(link, row);
  find("rows").append(row.element);
  row.paint("waiting", undefined);
  paintEmpty();
}

function unwatch(link: string): void {
  rows.get(link)?.element.remove();
  rows.delete(link);
  ledger.remove(link);
  connection.send({ type: "unsubscribe", links: [link] });
  remember();
  paintEmpty();
  paintTotal();
}

/** The address carries what is watched, so that it can be shared and reloaded. */
function remember(): void {
  history.replaceState(null, "", rows.size ? `?links=${[...rows.keys()].join(",")}` : location.pathname);
}

function touch(link: string, gained: number): void {
  if (gained > 0) rows.get(link)?.gained(gained);
  if (changed.size === 0) schedulePaint();
  changed.add(link);
}

/** Frames come only while the page is seen. A hidden one is painted once a second, for its title in the tab. */
function schedulePaint(): void {
  if (document.hidden) setTimeout(paintChanged, 1000);
  else requestAnimationFrame(paintChanged);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden && changed.size > 0) setTimeout(paintChanged, 1000); // its frame will not come
});

function paintChanged(): void {
  for (const link of changed) {
    const entry = ledger.entries.get(link);
    if (entry) rows.get(link)?.paint(entry.status, ledger.visible(link));
  }
  changed.clear();
  paintTotal();
}

/** The sum of what is seen. Where nothing is, there is none: 0 would be a number. */
function paintTotal(): void {
  const seen = [...ledger.entries.keys()].flatMap((link) => ledger.visible(link)?.count ?? []);
  document.body.classList.toggle("blank", seen.length === 0);
  if (seen.length === 0) {
    document.title = "Linkpulse";
    return;
  }
  const total = seen.reduce((sum, n) => sum + n, 0);
  find("total").textContent = new Intl.NumberFormat("en-US").format(total);
  document.title = `${find("total").textContent} clicks · Linkpulse`;
  if (Date.now() - spokenAt > 30_000) say(`${total} clicks on ${rows.size} links`);
}

/** Screen readers hear the total at most twice a minute; a counter that is read aloud at every click is noise. */
function say(text: string): void {
  spokenAt = Date.now();
  find("spoken").textContent = text;
}

function paintState(): void {
  document.body.dataset["state"] = state;
  const barred = state === "closed" && document.body.classList.contains("shut");
  find("state").textContent = barred ? "no access" : state;
  const seconds = detail.retryAt ? Math.max(0, Math.ceil((detail.retryAt - Date.now()) / 1000)) : 0;
  find("retry").textContent = state === "reconnecting" && seconds ? `in ${seconds} s` : "";
  const lag = completeTo ? Date.now() + clockAhead - completeTo : 0;
  find("fresh").textContent = completeTo ? (lag < 20_000 ? "every click up to now" : `every click up to ${ago(lag)}`) : "";
  paintExpiry();
}

/** Says when the token ends, once that is near, and aloud when it is soon. */
function paintExpiry(): void {
  const ms = expiresAt - clockAhead - Date.now();
  const text = expiresAt && state !== "closed" ? left(ms) : "";
  find("expiry").textContent = text;
  find("expiry").classList.toggle("soon", ms < soonMs);
  if (!text || ms > soonMs || warned) return;
  warned = true;
  void fetchToken().then((other) => (other ? connection.renew() : say(`Your ${text}. Press New token to paste another one.`)));
}

function paintEmpty(): void {
  document.body.classList.toggle("empty", rows.size === 0);
}

function notice(text: string): void {
  const n = find("notice");
  n.hidden = text === "";
  n.textContent = text;
}

find<HTMLFormElement>("add").addEventListener("submit", (e) => {
  e.preventDefault();
  const input = find<HTMLInputElement>("link");
  const links = input.value.split(/[\s,]+/).filter(Boolean);
  const wrong = links.find((l) => !linkRule.test(l));
  if (wrong !== undefined) {
    return notice(`“${wrong}” is no link id: 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -`);
  }
  notice("");
  links.forEach(watch);
  subscribe(links);
  remember();
  input.value = "";
});

// Somebody follows a link with a token while the page is open.
addEventListener("hashchange", () => {
  if (access.readdress(location.hash)) connection.renew();
});

const asked = new URLSearchParams(location.search).get("links") ?? document.body.dataset["links"] ?? "";
asked.split(",").filter((l) => linkRule.test(l)).forEach(watch);
paintEmpty();
paintState();
setInterval(() => {
  paintState();
  for (const row of rows.values()) row.tick();
}, 1000);
connection.open();
