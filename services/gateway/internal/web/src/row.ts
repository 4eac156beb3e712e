// One link of the list: its elements, and what they show. Painted at most once per frame.

import type { Reading, Status } from "./ledger";

const number = new Intl.NumberFormat("en-US");
/** Two minutes of history, two seconds a step. */
const steps = 60;
const stepMs = 2_000;

export class Row {
  readonly element: HTMLTableRowElement;
  private readonly count: HTMLElement;
  private readonly delta: HTMLElement;
  private readonly bots: HTMLElement;
  private readonly rate: HTMLElement;
  private readonly age: HTMLElement;
  private readonly trend: HTMLCanvasElement;
  private readonly history = new Array<number>(steps).fill(0);
  private step = Math.floor(Date.now() / stepMs);
  private movedAt = 0;
  private denied = false;

  constructor(template: HTMLTemplateElement, link: string, remove: () => void) {
    this.element = (template.content.cloneNode(true) as DocumentFragment).querySelector("tr")!;
    const part = (name: string) => this.element.querySelector<HTMLElement>(`[data-part="${name}"]`)!;
    part("link").textContent = link;
    [this.count, this.delta, this.bots] = [part("count"), part("delta"), part("bots")];
    [this.rate, this.age, this.trend] = [part("rate"), part("age"), part("trend") as HTMLCanvasElement];
    const button = part("remove");
    button.setAttribute("aria-label", `Stop watching ${link}`);
    button.addEventListener("click", remove);
  }

  gained(n: number): void {
    this.movedAt = Date.now();
    this.advance();
    this.history[this.step % steps]! += n;
    this.delta.textContent = `+${number.format(n)}`;
    this.delta.classList.remove("fresh");
    void this.delta.offsetWidth; // restarts the fade
    this.delta.classList.add("fresh");
  }

  /** Paints how the link stands and what is to be seen of it, if anything is. */
  paint(status: Status, shown: Reading | undefined): void {
    this.element.dataset["status"] = status;
    this.denied = status === "denied";
    this.count.textContent = shown ? number.format(shown.count) : words[status];
    this.bots.textContent = shown && shown.bots > 0 ? `${number.format(shown.bots)} by bots` : "";
    if (this.denied) {
      this.history.fill(0);
      this.movedAt = 0;
      this.delta.textContent = "";
    }
    this.tick();
  }

  /** What changes with time alone. */
  tick(): void {
    this.advance();
    const lastMinute = this.lastMinute();
    this.rate.textContent = this.denied ? "your token does not cover this link" : lastMinute ? `${number.format(lastMinute)} / min` : "";
    this.age.textContent = this.movedAt ? ago(Date.now() - this.movedAt) : "";
    this.draw();
  }

  private lastMinute(): number {
    let sum = 0;
    for (let i = 0; i < steps / 2; i++) sum += this.history[(this.step - i + steps) % steps]!;
    return sum;
  }

  private advance(): void {
    const now = Math.floor(Date.now() / stepMs);
    for (let i = Math.max(this.step + 1, now - steps + 1); i <= now; i++) this.history[i % steps] = 0;
    this.step = now;
  }

  private draw(): void {
    const scale = devicePixelRatio || 1;
    const [w, h] = [this.trend.clientWidth * scale, this.trend.clientHeight * scale];
    if (w === 0) return;
    if (this.trend.width !== w || this.trend.height !== h) [this.trend.width, this.trend.height] = [w, h];
    const ink = this.trend.getContext("2d")!;
    const most = Math.max(...this.history, 1);
    const width = w / steps;
    ink.clearRect(0, 0, w, h);
    ink.fillStyle = getComputedStyle(this.trend).color;
    for (let i = 0; i < steps; i++) {
      const value = this.history[(this.step + 1 + i) % steps]!;
      const height = value === 0 ? scale : Math.max(2 * scale, (value / most) * h);
      ink.globalAlpha = value === 0 ? 0.25 : 1;
      ink.fillRect(i * width, h - height, Math.max(width - scale, scale), height);
    }
  }
}

const words = { waiting: "…", syncing: "reading", live: "0", denied: "no access" };

export function ago(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 2) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return `${Math.floor(s / 3600)} h ago`;
}
