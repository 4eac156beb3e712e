// The page of a gateway: live counts of the links named in its address, ?links=a,b. Everything it does goes through the
// public protocol; nothing here is a special case of the gateway that served it.

import { Connection, type State } from "./connection";
import { Ledger, type Subscribed, type Update } from "./ledger";
import { Row, ago } from "./row";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const linkRule = /^[A-Za-z0-9._~:-]{1,128}$/;

const ledger = new Ledger();
const rows = new Map<string, Row>();
const changed = new Set<string>();
let state: State = "connecting";
let detail: { retryAt?: number; reason?: string } = {};
let completeTo = 0; // the watermark, by the gateway's clock
let clockAhead = 0; // how far the gateway's clock is ahead of ours
let spokenAt = 0;

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const connection = new Connection(`${scheme}//${location.host}/ws`, {
  state(next, why) {
    if (next === state && !why.retryAt) return;
    [state, detail] = [next, why];
    paintState();
  },
  message: receive,
});

function receive(m: { type: string } & Record<string, unknown>): void {
  switch (m.type) {
    case "ready":
      find("gateway").textContent = String(m["gateway"]);
      if (!ledger.ready(Number(m["epoch"]))) return connection.again();
      subscribe([...ledger.entries.keys()]);
      break;
    case "subscribed":
      for (const c of ledger.subscribed(m as unknown as Subscribed)) touch(c.link, c.gained);
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
      notice(String(m["message"]));
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
  row.paint(ledger.entries.get(link)!);
  paintEmpty();
}

function unwatch(link: string): void {
  rows.get(link)?.element.remove();
  rows.delete(link);
  ledger.remove(link);
  connection.send({ type: "unsubscribe", links: [link] });
  remember();
  paintEmpty();
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
    if (entry) rows.get(link)?.paint(entry);
  }
  changed.clear();
  let total = 0;
  for (const e of ledger.entries.values()) total += e.shown?.count ?? 0;
  find("total").textContent = new Intl.NumberFormat("en-US").format(total);
  document.title = `${find("total").textContent} clicks · Linkpulse`;
  speak(total);
}

/** Screen readers hear the total at most twice a minute; a counter that is read aloud at every click is noise. */
function speak(total: number): void {
  if (Date.now() - spokenAt < 30_000) return;
  spokenAt = Date.now();
  find("spoken").textContent = `${total} clicks on ${rows.size} links`;
}

const stateWords: Record<State, string> = {
  connecting: "connecting",
  live: "live",
  stale: "stale",
  reconnecting: "reconnecting",
  closed: "closed",
};

function paintState(): void {
  document.body.dataset["state"] = state;
  const seconds = detail.retryAt ? Math.max(0, Math.ceil((detail.retryAt - Date.now()) / 1000)) : 0;
  find("state").textContent =
    stateWords[state] +
    (state === "reconnecting" && seconds ? ` in ${seconds} s` : "") +
    (state === "closed" && detail.reason ? `: ${detail.reason}` : "");
  const lag = completeTo ? Date.now() + clockAhead - completeTo : 0;
  find("fresh").textContent = completeTo ? (lag < 20_000 ? "every click up to now" : `every click up to ${ago(lag)}`) : "";
}

function paintEmpty(): void {
  document.body.classList.toggle("empty", rows.size === 0);
}

function notice(text: string): void {
  const n = find("notice");
  n.textContent = text;
  n.hidden = text === "";
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

const asked = new URLSearchParams(location.search).get("links") ?? document.body.dataset["links"] ?? "";
asked.split(",").filter((l) => linkRule.test(l)).forEach(watch);
paintEmpty();
paintState();
setInterval(() => {
  paintState();
  for (const row of rows.values()) row.tick();
}, 1000);
connection.open();
