// The page: its state, its frame and its two tabs.

import "./compare.js";
import { html, render } from "./vendor/lit-html.js";
import { DegradeTab } from "./degrade.js";
import { listen } from "./drop.js";
import { RestoreTab } from "./restore.js";
import { LANGUAGES, languageCode, listed, setLanguage, t } from "./texts.js";

const root = document.getElementById("app");
const REMOVED = { denoise: "noise", derain: "rain", dehaze: "haze", deblur: "blur" };

class Page {
  tab = "restore";
  problems = [];
  over = false;
  said = "";

  async start() {
    setLanguage(localStorage.getItem("unveil-language"));
    const kind = document.documentElement.dataset.engine;
    try {
      this.engine = await (await import(kind === "browser" ? "./local.js" : "./server.js")).create();
    } catch (error) {
      root.textContent = error.message;
      return;
    }
    this.samples = await this.engine.samples().catch(() => []);
    this.tabs = { restore: new RestoreTab(this), ...(this.engine.degrades && { degrade: new DegradeTab(this) }) };
    root.textContent = "";
    listen((files) => this.tabs[this.tab].take(files), (over) => {
      if (over !== this.over) this.change(() => (this.over = over));
    });
    this.draw();
    await this.tabs.restore.revive();
  }

  // Change the state, then show it.
  change(act) {
    act?.();
    this.scheduled ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (this.scheduled) cancelAnimationFrame(this.scheduled);
    this.scheduled = null;
    render(this.view(), root);
    this.tabs[this.tab].drawn();
  }

  complain(text) {
    this.change(() => this.problems.push(text));
  }

  // Say something to those who do not see the page.
  announce(text) {
    this.change(() => (this.said = text));
  }

  focus(selector) {
    this.draw();
    document.querySelector(selector)?.focus();
  }

  view() {
    const removed = this.engine.removes.filter((task) => REMOVED[task]).map((task) => t(REMOVED[task]));
    const place = { machine: "placeMachine", server: "placeServer", browser: "placeBrowser" }[this.engine.place];
    return html`<header>
        <svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="9.5" /><path d="M12 2.5a9.5 9.5 0 0 1 0 19z" /></svg>
        <h1>unveil</h1>
        <p>${t("about", { removed: listed(removed) })} ${t(place)}</p>
        <label class="language"><span class="unseen">${t("language")}</span>
          <select @change=${(e) => this.choose(e.target.value)}>${Object.entries(LANGUAGES).map(
            ([code, name]) => html`<option value=${code} lang=${code} ?selected=${code === languageCode()}>${name}</option>`)}</select>
        </label>
      </header>
      <main class=${this.over ? "over" : ""}>
        ${this.engine.degrades ? this.tabList() : ""}
        <div role="alert"><ul class="problems">${this.problems.map((text, i) => html`<li><span>${text}</span>
          <button type="button" aria-label=${t("dismiss")} @click=${() => this.change(() => this.problems.splice(i, 1))}>×</button></li>`)}</ul></div>
        ${this.engine.degrades ? html`<div id="panel" role="tabpanel" aria-labelledby="tab-${this.tab}">${this.tabs[this.tab].view()}</div>`
          : this.tabs[this.tab].view()}
      </main>
      <div class="unseen" role="status">${this.said}</div>
      ${this.foot()}`;
  }

  tabList() {
    const names = { restore: "tabRestore", degrade: "tabDegrade" };
    const move = (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      this.open(this.tab === "restore" ? "degrade" : "restore");
      this.focus(`#tab-${this.tab}`);
    };
    return html`<div role="tablist" aria-label=${t("tabs")} @keydown=${move}>${Object.keys(this.tabs).map(
      (name) => html`<button type="button" role="tab" id="tab-${name}" aria-selected=${String(name === this.tab)}
        aria-controls="panel" tabindex=${name === this.tab ? 0 : -1} @click=${() => this.open(name)}>${t(names[name])}</button>`)}</div>`;
  }

  open(name) {
    this.change(() => (this.tab = name));
  }

  choose(code) {
    localStorage.setItem("unveil-language", code);
    this.change(() => setLanguage(code));
  }

  foot() {
    const kept = this.engine.place === "browser" ? t("footBrowser")
      : t("footServer", { minutes: Math.max(1, Math.round(this.engine.limits.keep_s / 60)) });
    const api = this.engine.place === "browser" ? "" : html` <a href="docs">${t("footApi")}</a>.`;
    return html`<footer>${kept}${api}</footer>`;
  }
}

const page = new Page();
page.start();
navigator.serviceWorker?.register("sw.js").catch(() => {});
