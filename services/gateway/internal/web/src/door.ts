// The form for a token: what is asked for, why, and what a person pastes.

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

export class Door {
  private readonly section = find("door");
  private readonly why = find("door-why");
  private readonly wrong = find("door-wrong");
  private readonly input = find<HTMLInputElement>("token");
  private readonly toggle = find<HTMLButtonElement>("renew");
  private readonly cancel = find<HTMLButtonElement>("door-cancel");
  private must = false;

  /** `use` takes what was pasted, and says whether it is a token. `offer` says what a new token is good for now. */
  constructor(use: (text: string) => boolean, offer: () => string) {
    find<HTMLFormElement>("door-form").addEventListener("submit", (e) => {
      e.preventDefault();
      if (use(this.input.value)) return this.close();
      this.complain("This is not a token. Tokens are long, begin with eyJ as a rule, and have two dots in them.");
    });
    this.input.addEventListener("input", () => this.complain(""));
    this.toggle.addEventListener("click", () => (this.section.hidden ? this.suggest(offer()) : this.close()));
    this.cancel.addEventListener("click", () => this.close());
    this.section.addEventListener("keydown", (e) => {
      if (e.key === "Escape" && !this.must) this.close();
    });
  }

  /** Asks for a token without which nothing goes on. */
  ask(why: string): void {
    this.open(why, true);
  }

  /** Asks for a token, which may wait. */
  suggest(why: string): void {
    this.open(why, false);
  }

  /** There is one that is good: nothing needs to be asked for any more. */
  admitted(): void {
    if (this.must) this.close();
  }

  private close(): void {
    const inside = this.section.contains(document.activeElement);
    this.must = false;
    this.input.value = "";
    this.complain("");
    this.section.hidden = true;
    document.body.classList.remove("shut");
    this.toggle.setAttribute("aria-expanded", "false");
    if (inside) (this.toggle.hidden ? find("main") : this.toggle).focus();
  }

  /** Whether a new token may be given though the one before is good. */
  offerable(yes: boolean): void {
    this.toggle.hidden = !yes;
  }

  private open(why: string, must: boolean): void {
    this.must = must;
    this.cancel.hidden = must;
    this.section.hidden = false;
    document.body.classList.toggle("shut", must);
    this.toggle.setAttribute("aria-expanded", "true");
    this.why.textContent = why; // after it can be seen, so that it is read aloud
    const typing = document.activeElement instanceof HTMLInputElement && document.activeElement.value !== "";
    if (!typing) this.input.focus();
  }

  private complain(text: string): void {
    this.wrong.textContent = text;
    this.input.setAttribute("aria-invalid", String(text !== ""));
  }
}
