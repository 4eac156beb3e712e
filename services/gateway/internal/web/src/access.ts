// The token that this page shows to its gateway, and where it comes from: pure, so that tests can play the browser.

/** What a browser has that a token can be in. Of the storage, which a browser may refuse, only this tab sees anything. */
export interface Places {
  hash: string;
  /** Takes the token out of the address, before anybody copies that or it ends up in a history. */
  clearHash(): void;
  storage: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** What the gateway wrote into the page: only `linkpulse dev` does. */
  embedded: string;
}

const key = "linkpulse-token";

export class Access {
  private given?: string | undefined;
  private before?: string | undefined;
  private readonly spent = new Set<string>();

  constructor(private readonly places: Places) {
    const fromAddress = this.fromAddress(places.hash);
    if (fromAddress !== undefined) this.keep(fromAddress);
    else this.given = attempt(() => places.storage.getItem(key)) ?? undefined;
  }

  /** The token to show now. What a person gave comes before what the gateway wrote into the page. */
  get token(): string | undefined {
    return [this.given, this.places.embedded].find((t) => t && !this.spent.has(t));
  }

  /** Whether the gateway writes a token into its page, and a person has given none. */
  get brought(): boolean {
    return this.places.embedded !== "" && !this.given;
  }

  /** Takes the token of an address, if it has one, and removes it there. False: it has none. */
  readdress(hash: string): boolean {
    const token = this.fromAddress(hash);
    if (token !== undefined) this.keep(token);
    return token !== undefined;
  }

  /** Takes what a person pasted: a token, an address that has one, or a line of a header. False: it is none of these. */
  use(text: string): boolean {
    const token = inAddress(text) ?? text.trim().replace(/^(authorization:\s*)?bearer\s+/i, "");
    if (!isToken(token)) return false;
    this.keep(token);
    return true;
  }

  /** Takes what the gateway writes into its page now. False: it is what was there before, or nothing. */
  embed(token: string): boolean {
    const other = token !== "" && token !== this.places.embedded;
    if (other) this.places.embedded = token;
    return other;
  }

  /** The gateway does not take a token, or no longer. Where another one was given before, that is shown again. */
  refused(token: string | undefined): void {
    if (!token) return;
    this.spent.add(token);
    if (this.given !== token) return;
    this.given = this.before;
    this.before = undefined;
    const given = this.given;
    attempt(() => (given ? this.places.storage.setItem(key, given) : this.places.storage.removeItem(key)));
  }

  private keep(token: string): void {
    if (token !== this.given) [this.given, this.before] = [token, this.given];
    this.spent.delete(token); // whoever gives it again wants it tried again
    attempt(() => this.places.storage.setItem(key, token));
  }

  private fromAddress(hash: string): string | undefined {
    const token = inAddress(hash);
    if (token !== undefined) this.places.clearHash();
    return token !== undefined && isToken(token) ? token : undefined;
  }
}

/** What stands behind #token= in an address. */
function inAddress(address: string): string | undefined {
  const found = /#(?:.*&)?token=([^&]*)/.exec(address);
  return found ? (attempt(() => decodeURIComponent(found[1]!)) ?? "").trim() : undefined;
}

/** A token has three parts (RFC 7515 section 3.1). Whether it is good is for the gateway to say. */
export function isToken(text: string): boolean {
  return text.length <= 4096 && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text);
}

function attempt<T>(f: () => T): T | undefined {
  try {
    return f();
  } catch {
    return undefined; // a browser without storage, an address with a stray %
  }
}
