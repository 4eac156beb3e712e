// What the page says when a gateway refuses: in plain words, and with what to do about it.

import type { Detail } from "./connection";

export interface Advice {
  text: string;
  /** A token is what is missing. */
  ask: boolean;
}

/** What to tell about a close, undefined where there is nothing to tell but that the page connects again. */
export function advise({ code, said, shown }: Pick<Detail, "code" | "said" | "shown">): Advice | undefined {
  switch (code) {
    case 4401:
      if (said?.code === "token_expired") return { ask: true, text: "Your token has expired, so the counts have stopped. Paste a new one to go on." };
      if (shown) return { ask: true, text: `The gateway did not accept your token${because(said)}` };
      return { ask: true, text: "This gateway shows its counts to people who have a token." };
    case 4403:
      return { ask: true, text: "Your token was revoked. Ask whoever gave it to you for another one." };
    case 4408:
      if (!shown) return { ask: true, text: "This gateway shows its counts to people who have a token." };
      return { ask: false, text: "The token did not reach the gateway in time. The network may be slow; the page tries again." };
    case 4429:
      if (said?.code === "too_many_connections")
        return { ask: false, text: "You have as many pages open as your token allows. Close some; this one tries again." };
      return { ask: false, text: "This page asked for more than the gateway allows. It tries again, slower." };
    case 1013:
      return { ask: false, text: "The gateway has too many tokens to check at the moment. The page tries again." };
    case 1003:
    case 1007:
    case 1008:
    case 1009:
      return { ask: false, text: `The gateway and this page do not understand each other. Reload the page; if that does not help, tell whoever runs the gateway (close code ${code}).` };
  }
  return undefined;
}

/** A reason in the gateway's words, as the end of a sentence. */
function because(said: Detail["said"]): string {
  return said?.message ? `: ${said.message.replace(/\.$/, "")}.` : ".";
}

/** How near the end of a token must be to be shown. */
export const nearMs = 10 * 60_000;
/** How near it must be to be said aloud, and shown as a warning. */
export const soonMs = 2 * 60_000;

/** A time of day, with the day where that is not today. */
export function moment(ms: number): string {
  const at = new Date(ms);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

/** How long a token is good for, where that is worth telling. */
export function left(ms: number): string {
  if (ms > nearMs) return "";
  if (ms <= 0) return "access is ending";
  if (ms < 60_000) return `access ends in ${Math.ceil(ms / 1000)} s`;
  return `access ends in ${Math.ceil(ms / 60_000)} min`;
}
